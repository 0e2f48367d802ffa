package podgen

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Fields returns the JSON paths of all fields of a pod's metadata and spec that hold a value, as the API types that this
// module is built with have them: "spec.containers[*].lifecycle.stopSignal", "metadata.labels{*}".
func Fields() []string {
	var paths []string
	visitTypes("metadata", reflect.TypeFor[metav1.ObjectMeta](), func(path string) { paths = append(paths, path) })
	visitTypes("spec", reflect.TypeFor[corev1.PodSpec](), func(path string) { paths = append(paths, path) })
	return paths
}

// CountFields counts, by path, the fields that are set in the pod's metadata and spec. A pointer to a zero value is
// set; a plain zero value is not, because JSON leaves it out.
func CountFields(pod *corev1.Pod, counts map[string]int) {
	visitValues("metadata", reflect.ValueOf(pod.ObjectMeta), func(path string) { counts[path]++ })
	visitValues("spec", reflect.ValueOf(pod.Spec), func(path string) { counts[path]++ })
}

// Unsettable returns the fields that the author of a pod cannot set, each with why. A path stands for everything below
// it as well.
//
//	server     the API server sets it, and drops or refuses what the author says
//	forbidden  validation accepts no value here, though the type has the field
func Unsettable() map[string]string {
	const server, forbidden = "server", "forbidden"
	unsettable := map[string]string{
		"metadata.selfLink": server, "metadata.uid": server, "metadata.resourceVersion": server, "metadata.generation": server,
		"metadata.creationTimestamp": server, "metadata.deletionTimestamp": server, "metadata.deletionGracePeriodSeconds": server,
		"metadata.managedFields": server,

		"spec.resources.claims": forbidden,
	}
	for _, list := range []string{"containers", "initContainers"} {
		unsettable["spec."+list+"[*].readinessProbe.terminationGracePeriodSeconds"] = forbidden
	}
	for _, field := range []string{
		"name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields",
	} {
		unsettable["spec.volumes[*].ephemeral.volumeClaimTemplate.metadata."+field] = forbidden
	}
	for _, field := range []string{
		"ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
		"volumeMounts[*].subPath", "volumeMounts[*].subPathExpr",
	} {
		unsettable["spec.ephemeralContainers[*]."+field] = forbidden
	}
	return unsettable
}

// Below reports whether a field is path or below it.
func Below(field, path string) bool {
	rest, ok := strings.CutPrefix(field, path)
	return ok && (rest == "" || strings.ContainsRune(".[{", rune(rest[0])))
}

// isLeaf reports whether a struct is one value in JSON.
func isLeaf(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[metav1.Time](), reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[metav1.FieldsV1]():
		return true
	}
	return t.Kind() != reflect.Struct
}

// jsonName returns a field's name in JSON; inlined fields have none.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func below(path, name string) string {
	if name == "" {
		return path
	}
	return path + "." + name
}

func visitTypes(path string, t reflect.Type, visit func(path string)) {
	switch {
	case t.Kind() == reflect.Pointer:
		visitTypes(path, t.Elem(), visit)
	case t.Kind() == reflect.Slice:
		visitTypes(path+"[*]", t.Elem(), visit)
	case t.Kind() == reflect.Map:
		visit(path + "{*}")
	case isLeaf(t):
		visit(path)
	default:
		for f := range t.Fields() {
			visitTypes(below(path, jsonName(f)), f.Type, visit)
		}
	}
}

func visitValues(path string, v reflect.Value, visit func(path string)) {
	switch {
	case v.Kind() == reflect.Pointer:
		switch {
		case v.IsNil():
		case isLeaf(v.Type().Elem()):
			visit(path) // of a zero value too
		default:
			visitValues(path, v.Elem(), visit)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			visitValues(path+"[*]", v.Index(i), visit)
		}
	case v.Kind() == reflect.Map:
		if v.Len() > 0 {
			visit(path + "{*}")
		}
	case isLeaf(v.Type()):
		if !v.IsZero() {
			visit(path)
		}
	default:
		for i := range v.NumField() {
			visitValues(below(path, jsonName(v.Type().Field(i))), v.Field(i), visit)
		}
	}
}
