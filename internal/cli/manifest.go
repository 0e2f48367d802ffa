package cli

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// What controllers would choose and a manifest cannot know. Zeros, so that
// nobody takes them for real.
const (
	standInHash    = "0000000000"
	standInMinutes = "00000000"
	standInUID     = "00000000-0000-0000-0000-000000000000"
)

// workloadKind is a kind of object that explain takes.
type workloadKind struct {
	apiVersion string
	goType     reflect.Type
	// template is the path to the pod template; empty for a pod.
	template []string
	// metadata returns what controllers add to the metadata of the pods of a
	// workload with this name.
	metadata func(name string) podMetadata
}

// podMetadata is what a controller gives to a pod.
type podMetadata struct {
	name, generateName string
	ownerKind, owner   string
	ownerAPIVersion    string
	labels             map[string]string
}

// workloadKinds maps the kinds that explain takes. The metadata is what the
// controllers of Kubernetes 1.36 give, as far as rules and labels can ask for
// it; the pod's spec is left as the template has it.
var workloadKinds = map[string]workloadKind{
	"Pod": {apiVersion: "v1", goType: reflect.TypeFor[corev1.Pod]()},
	"Deployment": {
		apiVersion: "apps/v1", goType: reflect.TypeFor[appsv1.Deployment](), template: []string{"spec", "template"},
		metadata: func(name string) podMetadata {
			return podMetadata{
				generateName: name + "-" + standInHash + "-",
				ownerKind:    "ReplicaSet", owner: name + "-" + standInHash, ownerAPIVersion: "apps/v1",
				labels: map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: standInHash},
			}
		},
	},
	"ReplicaSet": {
		apiVersion: "apps/v1", goType: reflect.TypeFor[appsv1.ReplicaSet](), template: []string{"spec", "template"},
		metadata: func(name string) podMetadata {
			return podMetadata{generateName: name + "-", ownerKind: "ReplicaSet", owner: name, ownerAPIVersion: "apps/v1"}
		},
	},
	"StatefulSet": {
		apiVersion: "apps/v1", goType: reflect.TypeFor[appsv1.StatefulSet](), template: []string{"spec", "template"},
		metadata: func(name string) podMetadata {
			return podMetadata{
				name:      name + "-0",
				ownerKind: "StatefulSet", owner: name, ownerAPIVersion: "apps/v1",
				labels: map[string]string{
					appsv1.StatefulSetPodNameLabel:  name + "-0",
					appsv1.PodIndexLabel:            "0",
					appsv1.StatefulSetRevisionLabel: name + "-" + standInHash,
				},
			}
		},
	},
	"DaemonSet": {
		apiVersion: "apps/v1", goType: reflect.TypeFor[appsv1.DaemonSet](), template: []string{"spec", "template"},
		metadata: func(name string) podMetadata {
			return podMetadata{
				generateName: name + "-",
				ownerKind:    "DaemonSet", owner: name, ownerAPIVersion: "apps/v1",
				labels: map[string]string{
					appsv1.DefaultDaemonSetUniqueLabelKey: standInHash,
					"pod-template-generation":             "1",
				},
			}
		},
	},
	"Job": {
		apiVersion: "batch/v1", goType: reflect.TypeFor[batchv1.Job](), template: []string{"spec", "template"},
		metadata: jobPodMetadata,
	},
	"CronJob": {
		apiVersion: "batch/v1", goType: reflect.TypeFor[batchv1.CronJob](), template: []string{"spec", "jobTemplate", "spec", "template"},
		metadata: func(name string) podMetadata { return jobPodMetadata(name + "-" + standInMinutes) },
	},
}

func jobPodMetadata(job string) podMetadata {
	return podMetadata{
		generateName: job + "-",
		ownerKind:    "Job", owner: job, ownerAPIVersion: "batch/v1",
		labels: map[string]string{
			batchv1.JobNameLabel:       job,
			batchv1.ControllerUidLabel: standInUID,
			"job-name":                 job,
			"controller-uid":           standInUID,
		},
	}
}

// supportedKinds is for messages.
func supportedKinds() string {
	return strings.Join(slices.Sorted(maps.Keys(workloadKinds)), ", ") + " or a list of them"
}

// manifest is a pod that a file has, or the pod that a workload in it would
// have.
type manifest struct {
	// from is the workload that the pod was made from; empty for a pod.
	from policy.Workload
	// namespace is what the object says, empty where it says nothing.
	namespace string
	// object is the pod with all its fields, those that this build does not
	// know included, and json its encoding.
	object map[string]any
	json   []byte
	// pod is what decisions read, with the defaults that the API server
	// fills in before it calls webhooks.
	pod policy.Pod
}

// readManifests returns the pods of a file. Objects without pods are left out
// with a remark, since a file often holds a Service beside its Deployment; so
// are fields that this build does not know, which stay as they are.
func readManifests(file string, data []byte) (manifests []manifest, remarks []string, err error) {
	documents, problems := readDocuments(file, data)
	var podless []problem
	for i := range documents {
		d := &documents[i]
		kind, known := workloadKinds[d.kind]
		if !known {
			podless = append(podless, d.problem(d.at.Child("kind"), "%s has no pods", d.kind))
			continue
		}
		m, unknown, wrong := d.manifest(kind)
		problems = append(problems, wrong...)
		for _, f := range unknown {
			remarks = append(remarks, problem{d.source, f}.String()+": kept as it is")
		}
		manifests = append(manifests, m)
	}
	if len(manifests) == 0 && len(problems) == 0 {
		for _, p := range podless {
			p.Message += ", want one of " + supportedKinds()
			problems = append(problems, p)
		}
		if len(podless) == 0 {
			problems = []problem{{displayName(file), finding{Message: "is empty, want one of " + supportedKinds()}}}
		}
	}
	if len(problems) > 0 {
		return nil, nil, invalid(lines(problems))
	}
	for _, p := range podless {
		remarks = append(remarks, p.String()+": left out")
	}
	return manifests, remarks, nil
}

// manifest makes the pod of a document.
func (d *document) manifest(kind workloadKind) (m manifest, unknown []finding, problems []problem) {
	if d.apiVersion != kind.apiVersion {
		return m, nil, []problem{d.problem(d.at.Child("apiVersion"), "got %q, want %s for kind %s", d.apiVersion, kind.apiVersion, d.kind)}
	}
	var s shape
	s.check(d.object, kind.goType, d.at)
	if len(s.wrong) > 0 {
		for _, f := range s.wrong {
			problems = append(problems, problem{d.source, f})
		}
		return m, nil, problems
	}
	metadata := child(d.object, "metadata")
	name, _ := metadata["name"].(string)
	generateName, _ := metadata["generateName"].(string)
	if name == "" && (generateName == "" || kind.template != nil) {
		problems = append(problems, d.problem(d.at.Child("metadata", "name"), "is missing"))
	}
	template, specPath := d.object, d.at.Child("spec")
	if kind.template != nil {
		template = child(d.object, kind.template...)
		specPath = d.at.Child(kind.template[0], append(slices.Clone(kind.template[1:]), "spec")...)
	}
	spec := child(template, "spec")
	if containers, _ := spec["containers"].([]any); len(containers) == 0 {
		problems = append(problems, d.problem(specPath.Child("containers"), "is missing: a pod has at least one container"))
	}
	if len(problems) > 0 {
		return m, nil, problems
	}
	m.namespace, _ = metadata["namespace"].(string)
	m.object = d.object
	if kind.template != nil {
		m.from = policy.Workload{Kind: d.kind, Name: name}
		m.object = podOf(template, m.namespace, kind.metadata(name))
	} else {
		m.object["apiVersion"], m.object["kind"] = d.apiVersion, d.kind // an item of a PodList may lack them
	}
	if err := m.decode(); err != nil {
		return m, nil, []problem{d.problem(d.at, "%v", err)}
	}
	return m, s.unknown, nil
}

// podOf is the pod that a controller makes from a template. Of the template's
// metadata controllers take labels, annotations and finalizers.
func podOf(template map[string]any, namespace string, given podMetadata) map[string]any {
	metadata := map[string]any{
		"ownerReferences": []any{map[string]any{
			"apiVersion": given.ownerAPIVersion, "kind": given.ownerKind, "name": given.owner, "uid": standInUID,
			"controller": true, "blockOwnerDeletion": true,
		}},
	}
	for name, value := range map[string]string{"name": given.name, "generateName": given.generateName, "namespace": namespace} {
		if value != "" {
			metadata[name] = value
		}
	}
	from := child(template, "metadata")
	for _, name := range []string{"annotations", "finalizers"} {
		if from[name] != nil {
			metadata[name] = from[name]
		}
	}
	labels := maps.Clone(child(from, "labels"))
	for key, value := range given.labels {
		if labels == nil {
			labels = make(map[string]any)
		}
		labels[key] = value
	}
	if labels != nil {
		metadata["labels"] = labels
	}
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": child(template, "spec")}
}

// child walks down objects. It is nil where there is none; the shape is
// checked.
func child(object map[string]any, path ...string) map[string]any {
	for _, name := range path {
		object, _ = object[name].(map[string]any)
	}
	return object
}

// decode fills in json and pod.
func (m *manifest) decode() error {
	var err error
	if m.json, err = json.Marshal(m.object); err != nil {
		return err
	}
	if err := json.Unmarshal(m.json, &m.pod); err != nil {
		return err
	}
	spec := &m.pod.Spec
	if spec.DNSPolicy == "" {
		spec.DNSPolicy = string(corev1.DNSClusterFirst)
	}
	if spec.ServiceAccountName == "" {
		// The old name of the field, which the API server keeps in step.
		spec.ServiceAccountName, _ = child(m.object, "spec")["serviceAccount"].(string)
	}
	return nil
}

// setNamespace moves the pod to another namespace.
func (m *manifest) setNamespace(namespace string) error {
	child(m.object, "metadata")["namespace"] = namespace
	return m.decode()
}
