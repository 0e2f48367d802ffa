// Package objectserver serves the objects of a file as an API server does: it answers GET requests for one object or a list, and
// nothing else. We know the clusters of most platforms only by their objects; with this, a program that asks an API server can be
// tested on them.
package objectserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// builtIn are kinds that every cluster knows, whether or not it has any objects of them. Other kinds the server knows only if it
// has an object of them.
var builtIn = []schema.GroupVersionKind{
	{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Event"}, {Version: "v1", Kind: "Namespace"}, {Version: "v1", Kind: "Node"},
	{Version: "v1", Kind: "Pod"}, {Version: "v1", Kind: "Secret"}, {Version: "v1", Kind: "Service"},
	{Group: "apps", Version: "v1", Kind: "DaemonSet"}, {Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "ReplicaSet"}, {Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"},
	{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}, {Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
}

// Parse reads a list of objects in YAML: a sequence of them, as the cases of flavours have it, or an object of kind List, as
// `kubectl get -o yaml` prints it.
func Parse(tb testing.TB, text []byte) []unstructured.Unstructured {
	tb.Helper()
	encoded, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		tb.Fatal(err)
	}
	if string(encoded) == "null" {
		return nil
	}
	if encoded[0] == '[' {
		encoded = append(append([]byte(`{"apiVersion":"v1","kind":"List","items":`), encoded...), '}')
	}
	var list unstructured.UnstructuredList
	if err := list.UnmarshalJSON(encoded); err != nil {
		tb.Fatal(err)
	}
	return list.Items
}

// Typed reads an object into its Go type. The test fails if the object has a field that the type does not have.
func Typed[T any](tb testing.TB, object *unstructured.Unstructured, into *T) *T {
	tb.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true); err != nil {
		tb.Fatal(err)
	}
	return into
}

// Start serves the objects until the test ends.
func Start(tb testing.TB, objects []unstructured.Unstructured) *rest.Config {
	tb.Helper()
	kinds := slices.Clone(builtIn)
	for i := range objects {
		if kind := objects[i].GroupVersionKind(); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := answer(r, kinds, objects)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // whoever does not read it has what it wanted
	}))
	tb.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1} // like the commands, without client-go's limit of requests
}

func answer(r *http.Request, kinds []schema.GroupVersionKind, objects []unstructured.Unstructured) (status int, body any) {
	if r.URL.Path == "/version" {
		return http.StatusOK, map[string]string{"major": "1", "minor": "36", "gitVersion": "v1.36.3"}
	}
	if r.Method != http.MethodGet {
		return refusal(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed)
	}
	resource, namespace, name, ok := parse(r.URL.Path)
	i := slices.IndexFunc(kinds, func(k schema.GroupVersionKind) bool {
		plural, _ := meta.UnsafeGuessKindToResource(k)
		return plural == resource
	})
	if !ok || i < 0 {
		return refusal(http.StatusNotFound, metav1.StatusReasonNotFound)
	}
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return refusal(http.StatusBadRequest, metav1.StatusReasonBadRequest)
	}
	onlyMetadata := strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
	items := []any{}
	for k := range objects {
		o := &objects[k]
		if o.GroupVersionKind() != kinds[i] || namespace != "" && o.GetNamespace() != namespace || name != "" && o.GetName() != name ||
			!selector.Matches(labels.Set(o.GetLabels())) {
			continue
		}
		item := o.Object
		if onlyMetadata {
			item = map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o.Object["metadata"]}
		}
		if name != "" {
			return http.StatusOK, item
		}
		items = append(items, item)
	}
	if name != "" {
		return refusal(http.StatusNotFound, metav1.StatusReasonNotFound)
	}
	list := map[string]any{"apiVersion": kinds[i].GroupVersion().String(), "kind": kinds[i].Kind + "List", "metadata": map[string]any{}, "items": items}
	if onlyMetadata {
		list["apiVersion"], list["kind"] = "meta.k8s.io/v1", "PartialObjectMetadataList"
	}
	return http.StatusOK, list
}

// parse splits the path of an object or of a list. ok is false for any other path, including those of subresources.
func parse(path string) (resource schema.GroupVersionResource, namespace, name string, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		resource.Version, parts = parts[1], parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		resource.Group, resource.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return resource, "", "", false
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	resource.Resource = parts[0]
	if len(parts) > 1 {
		name = parts[1]
	}
	return resource, namespace, name, len(parts) < 3
}

func refusal(code int32, reason metav1.StatusReason) (status int, body any) {
	return int(code), metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: code, Reason: reason, Message: string(reason),
	}
}
