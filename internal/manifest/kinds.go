package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// What controllers would choose and a manifest cannot know. Zeros and nines, so
// that nobody takes them for real.
const (
	standInHash = "0000000000"
	// standInMinutes is a time that policy.Pod.Workload takes for one.
	standInMinutes = "99999999"
	// standInSuffix is what the API server puts behind a generateName.
	standInSuffix = "00000"
	standInUID    = "00000000-0000-0000-0000-000000000000"
)

// workload is an object that a controller makes pods of.
type workload struct {
	apiVersion, kind, name string
	object                 map[string]any
}

// madePod is what a controller gives to a pod besides the template.
type madePod struct {
	name, generateName string
	// owner is the pod's controller; none where kind is empty.
	owner               workload
	labels, annotations map[string]string
	hostname, subdomain string
}

// kind is a kind of object that is read.
type kind struct {
	// goType of the object; nil where only the pod template is known.
	goType reflect.Type
	// template is the path to the pod template; empty for a pod.
	template []string
	// pod returns what controllers add to the first pod of a workload.
	pod func(workload) madePod
	// guessed is true for a kind that is not in the table, and only looks as if it
	// had pods.
	guessed bool
}

var specTemplate = []string{"spec", "template"}

// kinds are those that are read, by API group: Volcano has a Job and OpenKruise
// a StatefulSet of their own. What is added to pods is what the controllers of
// Kubernetes 1.36 and of the projects add, as far as rules and labels can ask
// for it; the rest of the pod's spec is left as the template has it.
//
// Besides these, any object of another project's API group is read that has a
// pod template at spec.template (see otherKind).
var kinds = map[schema.GroupKind]kind{
	{Kind: "Pod"}:                                         {goType: reflect.TypeFor[corev1.Pod]()},
	{Kind: "PodTemplate"}:                                 {goType: reflect.TypeFor[corev1.PodTemplate](), template: []string{"template"}, pod: bare},
	{Kind: "ReplicationController"}:                       {goType: reflect.TypeFor[corev1.ReplicationController](), template: specTemplate, pod: owned},
	{Group: "apps", Kind: "Deployment"}:                   {goType: reflect.TypeFor[appsv1.Deployment](), template: specTemplate, pod: hashed(appsv1.DefaultDeploymentUniqueLabelKey)},
	{Group: "apps", Kind: "ReplicaSet"}:                   {goType: reflect.TypeFor[appsv1.ReplicaSet](), template: specTemplate, pod: owned},
	{Group: "apps", Kind: "StatefulSet"}:                  {goType: reflect.TypeFor[appsv1.StatefulSet](), template: specTemplate, pod: ordinal},
	{Group: "apps", Kind: "DaemonSet"}:                    {goType: reflect.TypeFor[appsv1.DaemonSet](), template: specTemplate, pod: perNode},
	{Group: "batch", Kind: "Job"}:                         {goType: reflect.TypeFor[batchv1.Job](), template: specTemplate, pod: ofJob},
	{Group: "batch", Kind: "CronJob"}:                     {goType: reflect.TypeFor[batchv1.CronJob](), template: []string{"spec", "jobTemplate", "spec", "template"}, pod: ofCronJob},
	{Group: "argoproj.io", Kind: "Rollout"}:               {template: specTemplate, pod: hashed("rollouts-pod-template-hash")},
	{Group: "apps.openshift.io", Kind: openShiftKind}:     {template: specTemplate, pod: ofDeploymentConfig},
	{Group: "serving.knative.dev", Kind: "Service"}:       {template: specTemplate, pod: ofRevision},
	{Group: "serving.knative.dev", Kind: "Configuration"}: {template: specTemplate, pod: ofRevision},
	{Group: "apps.kruise.io", Kind: "StatefulSet"}:        {template: specTemplate, pod: ordinal},
}

const openShiftKind = "DeploymentConfig"

// earlierGroups are groups that kinds were in before.
var earlierGroups = map[schema.GroupKind]string{
	{Group: "extensions", Kind: "Deployment"}: "apps",
	{Group: "extensions", Kind: "ReplicaSet"}: "apps",
	{Group: "extensions", Kind: "DaemonSet"}:  "apps",
	{Kind: openShiftKind}:                     "apps.openshift.io",
}

// hints say what to do with kinds that others are made of.
var hints = map[schema.GroupKind]string{
	{Group: "kustomize.config.k8s.io", Kind: "Kustomization"}: "build it first, with kubectl kustomize",
	{Group: "template.openshift.io", Kind: "Template"}:        yamlstream.RenderFirst + ", with oc process",
	{Kind: "Template"}: yamlstream.RenderFirst + ", with oc process",
}

// currentVersion is the apiVersion of an object today. Of the kinds that are
// read, Kubernetes' own are all in version v1.
func currentVersion(d *Document) schema.GroupVersion {
	if group, moved := earlierGroups[d.groupKind()]; moved {
		return schema.GroupVersion{Group: group, Version: "v1"}
	}
	version := schema.FromAPIVersionAndKind(d.APIVersion, d.Kind).GroupVersion()
	if !strings.Contains(version.Group, ".") {
		version.Version = "v1"
	}
	return version
}

// kindOf returns how a document is read. ok is false where it is not.
func kindOf(d *Document) (k kind, ok bool) {
	gk := schema.GroupKind{Group: currentVersion(d).Group, Kind: d.Kind}
	if k, ok = kinds[gk]; ok {
		return k, true
	}
	return otherKind(d, gk)
}

// otherKind is for kinds of other projects (CloneSet, Knative's Service): where
// there is a pod template at spec.template, they are taken to own the pods.
// Kubernetes' own groups, which have no dot, are all in the table.
func otherKind(d *Document, gk schema.GroupKind) (k kind, ok bool) {
	containers, _ := child(d.Object, "spec", "template", "spec")["containers"].([]any)
	return kind{template: specTemplate, pod: owned, guessed: true}, len(containers) > 0 && strings.Contains(gk.Group, ".")
}

// probablyMeant is the kind that a document of a kind that is not read was
// probably meant to be: one of Kubernetes' own, in a group that has none of it,
// or in other letters.
func probablyMeant(d *Document) (meant schema.GroupVersionKind, ok bool) {
	gk := d.groupKind()
	if strings.Contains(gk.Group, ".") {
		return meant, false
	}
	for known := range kinds {
		if strings.EqualFold(known.Kind, gk.Kind) && !strings.Contains(known.Group, ".") {
			return known.WithVersion("v1"), true
		}
	}
	return meant, false
}

// KindNames lists Kubernetes' own kinds that are read, for messages.
func KindNames() []string {
	var names []string
	for gk := range kinds {
		if !strings.Contains(gk.Group, ".") {
			names = append(names, gk.Kind)
		}
	}
	slices.Sort(names)
	return names
}

// bare is for what makes pods without a controller.
func bare(w workload) madePod { return madePod{generateName: w.name + "-"} }

// owned is for controllers that make pods themselves, with names of their own.
func owned(w workload) madePod { return madePod{generateName: w.name + "-", owner: w} }

// hashed is for controllers that make a ReplicaSet for each revision, with a
// hash in its name and in this label.
func hashed(label string) func(workload) madePod {
	return func(w workload) madePod {
		set := workload{apiVersion: "apps/v1", kind: "ReplicaSet", name: w.name + "-" + standInHash}
		return madePod{generateName: set.name + "-", owner: set, labels: map[string]string{label: standInHash}}
	}
}

// ordinal is for controllers that number pods.
func ordinal(w workload) madePod {
	spec := child(w.object, "spec")
	number := integer(child(spec, "ordinals")["start"])
	reserved, _ := spec["reserveOrdinals"].([]any) // OpenKruise's
	for slices.ContainsFunc(reserved, func(r any) bool { n, ok := r.(json.Number); return ok && integer(n) == number }) {
		number++
	}
	name := fmt.Sprintf("%s-%d", w.name, number)
	subdomain, _ := spec["serviceName"].(string)
	return madePod{
		name: name, owner: w, hostname: name, subdomain: subdomain,
		labels: map[string]string{
			appsv1.StatefulSetPodNameLabel:  name,
			appsv1.PodIndexLabel:            strconv.FormatInt(number, 10),
			appsv1.StatefulSetRevisionLabel: w.name + "-" + standInHash,
		},
	}
}

// integer is zero for what is none.
func integer(value any) int64 {
	number, _ := value.(json.Number)
	n, err := number.Int64()
	if err != nil {
		return 0
	}
	return n
}

func perNode(w workload) madePod {
	p := owned(w)
	p.labels = map[string]string{
		appsv1.DefaultDaemonSetUniqueLabelKey: standInHash,
		"pod-template-generation":             "1",
	}
	return p
}

func ofJob(w workload) madePod {
	p := owned(w)
	p.labels = map[string]string{
		batchv1.JobNameLabel:       w.name,
		batchv1.ControllerUidLabel: standInUID,
		"job-name":                 w.name,
		"controller-uid":           standInUID,
	}
	if child(w.object, "spec")["completionMode"] == string(batchv1.IndexedCompletion) {
		const first = "0"
		p.generateName = w.name + "-" + first + "-"
		p.hostname = w.name + "-" + first
		p.labels[batchv1.JobCompletionIndexAnnotation] = first
		p.annotations = map[string]string{batchv1.JobCompletionIndexAnnotation: first}
	}
	return p
}

func ofCronJob(w workload) madePod {
	return ofJob(workload{
		apiVersion: "batch/v1", kind: "Job", name: w.name + "-" + standInMinutes,
		object: child(w.object, "spec", "jobTemplate"),
	})
}

// ofDeploymentConfig makes the pod of the first revision.
func ofDeploymentConfig(w workload) madePod {
	controller := workload{apiVersion: "v1", kind: "ReplicationController", name: w.name + "-1"}
	return madePod{
		generateName: controller.name + "-", owner: controller,
		labels: map[string]string{"deploymentconfig": w.name, "deployment": controller.name},
		annotations: map[string]string{
			"openshift.io/deployment-config.name":           w.name,
			"openshift.io/deployment-config.latest-version": "1",
			"openshift.io/deployment.name":                  controller.name,
		},
	}
}

// ofRevision is for Knative, which makes a Deployment for each revision.
func ofRevision(w workload) madePod {
	const group = "serving.knative.dev/"
	revision, _ := child(w.object, "spec", "template", "metadata")["name"].(string)
	if revision == "" {
		revision = w.name + "-00001"
	}
	p := hashed(appsv1.DefaultDeploymentUniqueLabelKey)(workload{name: revision + "-deployment"})
	p.labels["app"] = revision
	p.labels[group+"revision"] = revision
	p.labels[group+"configuration"] = w.name
	if w.kind == "Service" {
		p.labels[group+"service"] = w.name
	}
	return p
}

// podOf is the pod that a controller makes from a template. Of the template's
// metadata controllers take labels, annotations and finalizers.
func podOf(template map[string]any, namespace string, made madePod) map[string]any {
	metadata := map[string]any{}
	if made.owner.kind != "" {
		metadata["ownerReferences"] = []any{map[string]any{
			"apiVersion": made.owner.apiVersion, "kind": made.owner.kind, "name": made.owner.name, "uid": standInUID,
			"controller": true, "blockOwnerDeletion": true,
		}}
	}
	setStrings(metadata, map[string]string{"name": made.name, "generateName": made.generateName, "namespace": namespace})
	from := child(template, "metadata")
	if from["finalizers"] != nil {
		metadata["finalizers"] = from["finalizers"]
	}
	for field, added := range map[string]map[string]string{"labels": made.labels, "annotations": made.annotations} {
		merged := maps.Clone(child(from, field))
		if merged == nil && len(added) > 0 {
			merged = make(map[string]any)
		}
		setStrings(merged, added)
		if merged != nil {
			metadata[field] = merged
		}
	}
	spec := maps.Clone(child(template, "spec"))
	setStrings(spec, map[string]string{"hostname": made.hostname, "subdomain": made.subdomain})
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

// setStrings sets what is not empty.
func setStrings(object map[string]any, values map[string]string) {
	for name, value := range values {
		if value != "" {
			object[name] = value
		}
	}
}
