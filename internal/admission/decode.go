package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shorthop/shorthop/internal/loglimit"
	"github.com/shorthop/shorthop/pkg/policy"
)

// review is the part of an AdmissionReview, v1 or v1beta1, that is read. The
// object is decoded in the same pass, into the few fields that matter; the
// rest of it is only skipped over.
type review struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Request    request `json:"request"`

	// What describes the header where the review could not be decoded (lenient):
	// that it was read to the review's end, that something follows there, and that
	// its namespace is no string.
	headerRead, trailing, noNamespace bool
}

type request struct {
	header
	Object    policy.Pod `json:"object"`
	OldObject *oldPod    `json:"oldObject"`
}

// header is what the API server writes before the object.
type header struct {
	UID         string               `json:"uid"`
	Resource    groupVersionResource `json:"resource"`
	SubResource string               `json:"subResource"`
	Namespace   string               `json:"namespace"`
	Operation   string               `json:"operation"`
}

// oldPod is the pod before an update. It takes as many bytes of a review as the
// pod itself, and must not count as the pod's size.
type oldPod struct {
	decoded policy.Pod
	size    int
}

// UnmarshalJSONFrom decodes the pod and measures it.
func (p *oldPod) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	before := dec.InputOffset()
	err := json.UnmarshalDecode(dec, &p.decoded)
	p.size = int(dec.InputOffset() - before)
	return err
}

// pod is nil where there is no old pod.
func (p *oldPod) pod() *policy.Pod {
	if p == nil {
		return nil
	}
	return &p.decoded
}

// bytes is the size of the old pod's JSON, 0 where there is none.
func (p *oldPod) bytes() int {
	if p == nil {
		return 0
	}
	return p.size
}

type groupVersionResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

// String is the usual form, "deployments.apps".
func (r groupVersionResource) String() string {
	return schema.GroupResource{Group: r.Group, Resource: r.Resource}.String()
}

// decodeOptions: the API server sends no name twice, of others the last one
// counts, and a byte that is not UTF-8 in a field we do not read is no reason to
// give up.
var decodeOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// What decoding costs is estimated before it is done: three bytes of JSON, "{},",
// can become an EnvVar of 56 bytes, in a slice that grows by copying.
const (
	// simpleBody is a body, in bytes, of which even the worst is decoded into less
	// than freeReview.
	simpleBody = 8 << 10
	// bytesPerValue is what an entry of a list or map takes.
	bytesPerValue = 112
	// maxDecoding is the most that decoding may cost: some 120,000 values.
	maxDecoding = 12 << 20
)

// decodingCost estimates the memory that decoding takes, in bytes.
func decodingCost(data []byte) int64 {
	values := bytes.Count(data, []byte(",")) + bytes.Count(data, []byte("["))
	return int64(len(data)) + int64(values)*bytesPerValue
}

// errTooManyValues is why a pod is not decoded.
var errTooManyValues = errors.New("JSON with more values than are decoded")

// decode reads a review. Of one that is too long, or has too many values, the pod
// is left out, and the latter is an error. errBusy says that there is no
// memory for it.
func (h *Handler) decode(ctx context.Context, b *body, r *review) error {
	if b.cut {
		if err := decodeHeader(b.data, r); !errors.Is(err, errEndsTooEarly) {
			return err
		}
		return nil
	}
	if len(b.data) > simpleBody {
		cost := decodingCost(b.data)
		if cost > maxDecoding {
			if err := decodeHeader(b.data, r); err != nil {
				return err
			}
			return errTooManyValues
		}
		if cost+2*int64(len(b.data)) > freeReview && !b.grant.take(ctx, claim{n: cost, large: len(b.data) > largeBody}) {
			return errBusy
		}
		// A thousand that are half decoded would be in memory at once.
		select {
		case h.decoding <- struct{}{}:
		default: // a turn that is there is taken, however late it is: the API server waits longer than the deadline
			select {
			case h.decoding <- struct{}{}:
			case <-ctx.Done():
				return errBusy
			}
		}
		defer func() { <-h.decoding }()
	}
	return decode(b.data, r)
}

// decodeHeader reads what the API server writes before the object.
func decodeHeader(data []byte, r *review) error {
	var short struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Request    header `json:"request"`
	}
	err := describe(json.Unmarshal(data, &short, decodeOptions))
	r.APIVersion, r.Kind, r.Request.header = short.APIVersion, short.Kind, short.Request
	return err
}

// lenient reads from a review that could not be decoded what of its header comes
// behind the fault, or beside one of another field.
func (r *review) lenient(data []byte) {
	var loose struct {
		APIVersion jsontext.Value `json:"apiVersion"`
		Kind       jsontext.Value `json:"kind"`
		Request    struct {
			UID         jsontext.Value `json:"uid"`
			Resource    jsontext.Value `json:"resource"`
			SubResource jsontext.Value `json:"subResource"`
			Namespace   jsontext.Value `json:"namespace"`
			Operation   jsontext.Value `json:"operation"`
		} `json:"request"`
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(data), decodeOptions)
	if r.headerRead = json.UnmarshalDecode(decoder, &loose) == nil; r.headerRead {
		_, err := decoder.ReadToken()
		r.trailing = !errors.Is(err, io.EOF)
	}
	of := &loose.Request
	for _, field := range []struct {
		value jsontext.Value
		into  any
	}{
		{loose.APIVersion, &r.APIVersion},
		{loose.Kind, &r.Kind},
		{of.UID, &r.Request.UID},
		{of.Resource, &r.Request.Resource},
		{of.SubResource, &r.Request.SubResource},
		{of.Namespace, &r.Request.Namespace},
		{of.Operation, &r.Request.Operation},
	} {
		// Of what is missing, or cannot be decoded either, what was there stays.
		_ = json.Unmarshal(field.value, field.into, decodeOptions)
	}
	r.noNamespace = len(of.Namespace) > 0 && of.Namespace.Kind() != '"' && of.Namespace.Kind() != 'n'
}

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
		return fmt.Errorf("%w, at byte %d", errEndsTooEarly, syntactic.ByteOffset)
	case errors.As(err, &syntactic):
		return fmt.Errorf("invalid JSON at byte %d", syntactic.ByteOffset)
	case errors.As(err, &semantic):
		return fmt.Errorf("%s at byte %d, where %s belongs", kindName(semantic.JSONKind), semantic.ByteOffset, typeName(semantic.GoType))
	}
	return errors.New("JSON that cannot be decoded")
}

var errEndsTooEarly = errors.New("JSON that ends too early")

func kindName(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "a boolean"
	default:
		return kind.String()
	}
}

// typeName is the JSON that a type is decoded from. Of a pointer, an error has the type
// that it points to.
func typeName(t reflect.Type) string {
	if t == nil {
		return "something else"
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	default:
		return "a number"
	}
}

// maxUID bounds, in bytes, the UID that is repeated in an answer.
const maxUID = 253

// check refuses what is not a review that can be answered. decodeErr is why it
// could not be decoded to its end.
func (r *review) check(decodeErr error) error {
	switch err := r.checkType(); {
	case err != nil && decodeErr != nil:
		return fmt.Errorf("%w: %w", errNotReview, decodeErr)
	case err != nil:
		return err
	case r.trailing:
		return fmt.Errorf("%w: %w", errNotReview, decodeErr)
	}
	// A client of the API server makes a path of it. Only what is cluster-wide, or
	// was cut off before, has none.
	switch namespace := r.Request.Namespace; {
	case r.noNamespace:
		return errNamespace
	case namespace == "" && (decodeErr != nil && !r.headerRead || !r.Request.isPod()):
		return nil
	case !isDNSLabel(namespace):
		return errNamespace
	}
	return nil
}

var errNamespace = errors.New("request.namespace is not a DNS label")

// checkType refuses what is no review, or has nothing to be answered by.
func (r *review) checkType() error {
	switch {
	case r.Kind != "AdmissionReview":
		return fmt.Errorf("%w: kind is %+.40q, want AdmissionReview", errNotReview, r.Kind)
	case r.APIVersion != "admission.k8s.io/v1" && r.APIVersion != "admission.k8s.io/v1beta1":
		return fmt.Errorf("%w: apiVersion is %+.40q, want admission.k8s.io/v1 or admission.k8s.io/v1beta1", errNotReview, r.APIVersion)
	case r.Request.UID == "":
		return fmt.Errorf("%w: request.uid is empty", errNotReview)
	case len(r.Request.UID) > maxUID: // it is repeated in the answer
		return fmt.Errorf("%w: request.uid has more than %d bytes", errNotReview, maxUID)
	}
	return nil
}

// isDNSLabel reports whether a name is one that a namespace can have: a label as
// in RFC 1123, in lower case.
func isDNSLabel(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// missing returns what a review lacks that every review of an API server has, or
// nil. Of a pod that is not there nothing is decided.
func (r *request) missing(b *body) error {
	switch {
	case r.Resource.Resource == "":
		return errors.New("request.resource is missing")
	case r.Operation == "":
		return errors.New("request.operation is missing")
	case !b.cut && isMissing(&r.Object): // as at a deletion, which is none of ours (isOther)
		return errors.New("request.object is missing")
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
	return r.Operation != "" && r.Resource.Resource != "" && r.policyOperation() == policy.OperationOther
}

// isMissing reports whether there was no object, null, or one without a spec. The
// API server fills in a dnsPolicy in every pod before a webhook sees it.
func isMissing(pod *policy.Pod) bool {
	return pod.Spec.DNSPolicy == "" && len(pod.Spec.Containers) == 0
}

// podName is for logs: on creation a pod may have only the beginning of a name,
// and nobody has validated it yet.
func podName(pod *policy.Pod) string {
	name := pod.Metadata.Name
	if name == "" {
		name = pod.Metadata.GenerateName
	}
	return loglimit.Quote(name, quotedName)
}
