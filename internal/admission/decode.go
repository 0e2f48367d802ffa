package admission

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shorthop/shorthop/pkg/policy"
)

// review is the part of an AdmissionReview, v1 or v1beta1, that is read. The
// object is decoded in the same pass, into the few fields that matter; the
// rest of it is only skipped over.
type review struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Request    request `json:"request"`
}

type request struct {
	UID         string               `json:"uid"`
	Resource    groupVersionResource `json:"resource"`
	SubResource string               `json:"subResource"`
	Namespace   string               `json:"namespace"`
	Operation   string               `json:"operation"`
	Object      policy.Pod           `json:"object"`
	OldObject   *policy.Pod          `json:"oldObject"`
}

type groupVersionResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

// String is the usual form, "deployments.apps".
func (r groupVersionResource) String() string {
	return clip(schema.GroupResource{Group: r.Group, Resource: r.Resource}.String())
}

// decodeOptions: the API server is trusted not to send duplicate names, and a
// byte that is not UTF-8 in a field we do not read is no reason to give up.
var decodeOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// errNotReview is why a body is refused before there is a review to answer.
var errNotReview = errors.New("not an AdmissionReview")

// decode reads a review. On an error the review holds what came before the
// fault: the API server writes the UID first, so that a review with an
// unreadable object can still be answered.
func decode(body []byte, r *review) error {
	return describe(json.Unmarshal(body, r, decodeOptions))
}

// describe says what is wrong with a body, and where, in numbers and types:
// the library's own text may repeat keys and values, and a pod may have
// secrets in any of them.
func describe(err error) error {
	semantic, syntactic := new(json.SemanticError), new(jsontext.SyntacticError)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntactic) && errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("JSON that ends too early, at byte %d", syntactic.ByteOffset)
	case errors.As(err, &syntactic):
		return fmt.Errorf("invalid JSON at byte %d", syntactic.ByteOffset)
	case errors.As(err, &semantic):
		return fmt.Errorf("a JSON %s at byte %d, which is no %s", kindName(semantic.JSONKind), semantic.ByteOffset, semantic.GoType)
	}
	return errors.New("JSON that cannot be decoded")
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "object"
	case '[':
		return "array"
	default:
		return kind.String()
	}
}

// maxRepeated bounds, in bytes, how much of a value is repeated in logs and
// warnings: a pod's name is reviewed before anybody has validated it. No valid
// name is longer.
const maxRepeated = 253

func clip(value string) string {
	if len(value) <= maxRepeated {
		return value
	}
	return value[:maxRepeated] + "..."
}

// checkType refuses what is not a review that can be answered.
func (r *review) checkType() error {
	switch {
	case r.Kind != "AdmissionReview":
		return fmt.Errorf("%w: kind is %.40q, want AdmissionReview", errNotReview, r.Kind)
	case r.APIVersion != "admission.k8s.io/v1" && r.APIVersion != "admission.k8s.io/v1beta1":
		return fmt.Errorf("%w: apiVersion is %.40q, want admission.k8s.io/v1 or admission.k8s.io/v1beta1", errNotReview, r.APIVersion)
	case r.Request.UID == "":
		return fmt.Errorf("%w: request.uid is empty", errNotReview)
	case len(r.Request.UID) > maxRepeated: // it is repeated in the answer
		return fmt.Errorf("%w: request.uid has more than %d bytes", errNotReview, maxRepeated)
	}
	return nil
}

// isPod reports whether the review is about pods or a subresource of pods.
func (r *request) isPod() bool {
	return r.Resource.Group == "" && r.Resource.Resource == "pods"
}

// policyOperation says what the API server is about to do.
func (r *request) policyOperation() policy.Operation {
	switch {
	case !r.isPod():
	case r.SubResource == "" && r.Operation == "CREATE":
		return policy.OperationCreatePod
	case r.SubResource == "ephemeralcontainers" && r.Operation == "UPDATE":
		return policy.OperationAddEphemeralContainer
	}
	return policy.OperationOther
}

// isOther reports whether the review is known to be about something that is
// never patched. The API server writes the operation after the resource and
// before the object, so a fault in the object leaves no doubt.
func (r *request) isOther() bool {
	return r.Operation != "" && r.policyOperation() == policy.OperationOther
}

// podName is for logs: on creation a pod may have only the beginning of a
// name.
func podName(pod *policy.Pod) string {
	if pod.Metadata.Name == "" {
		return clip(pod.Metadata.GenerateName)
	}
	return clip(pod.Metadata.Name)
}
