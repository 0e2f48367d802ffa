package manifest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/shape"
	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// Pod is a pod that a file has, or the pod that a workload in it would have.
type Pod struct {
	// Place is that of the document it is from.
	Place
	// From is the workload that the pod was made from; empty for a pod.
	From policy.Workload
	// Guessed is true where From is of a kind that is not in the table of kinds, and
	// is assumed to own its pods.
	Guessed bool
	// Namespace is what the object says, empty where it says nothing.
	Namespace string
	// JSON is the pod with all its fields, those that this build does not know
	// included.
	JSON []byte
	// Pod is what decisions read, with the defaults that the API server fills
	// in before it calls webhooks.
	policy.Pod

	object map[string]any
}

// SetNamespace moves the pod to another namespace.
func (p *Pod) SetNamespace(namespace string) error {
	p.Namespace = namespace
	child(p.object, "metadata")["namespace"] = namespace
	return p.decode()
}

// decode fills in JSON and Pod.
func (p *Pod) decode() error {
	var err error
	if p.JSON, err = json.Marshal(p.object); err != nil {
		return err
	}
	if err := json.Unmarshal(p.JSON, &p.Pod); err != nil {
		return err
	}
	spec := &p.Spec
	if spec.DNSPolicy == "" {
		spec.DNSPolicy = string(corev1.DNSClusterFirst)
	}
	if spec.ServiceAccountName == "" {
		// The old name of the field, which the API server keeps in step.
		spec.ServiceAccountName, _ = child(p.object, "spec")["serviceAccount"].(string)
	}
	return nil
}

// pod makes the pod of a document. unknown are fields that this build does not
// know.
func (d *Document) pod(k kind) (p Pod, unknown []Finding, problems []Problem) {
	if d.isEncrypted() {
		return p, nil, []Problem{d.problem(d.At, "%s", encryptedWithSOPS)}
	}
	wrong, unknown := d.check(k)
	if len(wrong) > 0 {
		return p, nil, d.problems(wrong)
	}
	metadata := child(d.Object, "metadata")
	w := workload{apiVersion: currentVersion(d).String(), kind: d.Kind, object: d.Object}
	w.name, problems = d.name(metadata, k)

	template, specPath := d.Object, d.At.Child("spec")
	if k.template != nil {
		template = child(d.Object, k.template...)
		specPath = d.At.Child(k.template[0], append(slices.Clone(k.template[1:]), "spec")...)
	}
	if containers, _ := child(template, "spec")["containers"].([]any); len(containers) == 0 {
		problems = append(problems, d.problem(specPath.Child("containers"), "is missing: a pod has at least one container"))
	}
	if len(problems) > 0 {
		return p, nil, problems
	}
	p.Place, p.Guessed, p.object = d.Place, k.guessed, d.Object
	p.Namespace, _ = metadata["namespace"].(string)
	if k.template != nil {
		p.From = policy.Workload{Group: d.groupKind().Group, Kind: d.Kind, Name: w.name}
		p.object = podOf(template, p.Namespace, k.pod(w))
	} else {
		p.object["apiVersion"], p.object["kind"] = d.APIVersion, d.Kind // an item of a PodList may lack them
	}
	if err := p.decode(); err != nil {
		return p, nil, []Problem{d.problem(d.At, "%v", err)}
	}
	return p, unknown, nil
}

// check compares the object with its type, or its pod template with that of one.
func (d *Document) check(k kind) (wrong, unknown []Finding) {
	if k.goType != nil {
		return d.Check(k.goType)
	}
	var s shape.Checker
	s.Check(d.Object["metadata"], reflect.TypeFor[metav1.ObjectMeta](), d.At.Child("metadata"))
	last := len(k.template) - 1
	s.Check(child(d.Object, k.template[:last]...)[k.template[last]], reflect.TypeFor[corev1.PodTemplateSpec](), d.At.Child(k.template[0], k.template[1:]...))
	return findings(&s)
}

// name is the object's name; for a workload with generateName it is a name that
// the API server could generate. A placeholder that some tool should have filled
// in, in the name or in the namespace, is a problem.
func (d *Document) name(metadata map[string]any, k kind) (name string, problems []Problem) {
	name, _ = metadata["name"].(string)
	generateName, _ := metadata["generateName"].(string)
	switch {
	case name != "":
	case generateName == "":
		problems = append(problems, d.problem(d.At.Child("metadata", "name"), "is missing"))
	case k.template != nil:
		name = generateName + standInSuffix
	}
	for _, field := range []string{"name", "generateName", "namespace"} {
		if text, _ := metadata[field].(string); yamlstream.TemplateHint(text) != "" {
			problems = append(problems, d.problem(d.At.Child("metadata", field), "got %s%s", shape.Describe(text), strings.Replace(yamlstream.TemplateHint(text), "; it", ", which", 1)))
		}
	}
	return name, problems
}
