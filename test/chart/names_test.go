//go:build chart

package chart_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/jsontest"
)

// oddNames are names that YAML takes for something else where they have no quotes, and long ones.
var oddNames = []string{
	"0x10", "0o17", "0b1", "1e3", "12345", "1-2", "1.5", "2026-01-01", "true", "on", "y", "no", "null", "nan",
	strings.Repeat("a", 53), strings.Repeat("a", 47) + "--" + strings.Repeat("b", 4),
}

// namesOn renders every object that the chart has.
const namesOn = `
advisor: {enabled: true}
priorityClassName: system-cluster-critical
clientCA: {secretName: "null", key: "1e3"}
imagePullSecrets: ["0x10", {name: "true"}]
metrics: {serviceMonitor: {enabled: true, namespace: "0x11"}, prometheusRule: {enabled: true, namespace: "0x11"}, dashboard: {enabled: true, namespace: "0x11"}}
networkPolicy: {enabled: true}
tenantNetworkPolicy: {namespaces: ["0x11"]}
test: {namespace: "0x11"}
`

// Whatever is text under ordinary names is text under odd ones: of the release, its namespace and its objects. The API server takes
// them.
func TestNamesThatYAMLTakesForSomethingElse(t *testing.T) {
	on := values(t, namesOn)
	for i, name := range oddNames {
		t.Run(name, func(t *testing.T) {
			mode := "--set=certificates.mode=" + []string{"cert-manager", "self-managed", "service-ca"}[i%3]
			where := name
			if strings.Contains(name, ".") {
				where = "ordinary"
			}
			want := documents(t, "ordinary", "ordinary", on, mode)
			got := documents(t, name, where, on, mode)
			sameShapes(t, want, got)
			if err := newest.CreateNamespace(t.Context(), where, nil); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
			for _, o := range got {
				if o.GetKind() == "Service" && !regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`).MatchString(o.GetName()) {
					t.Errorf("a Service %s: before 1.36 API servers do not take it", o.GetName())
				}
				if o.GetKind() == "Pod" || o.GetNamespace() != "" && o.GetNamespace() != where {
					continue // there is no ServiceAccount, or no namespace
				}
				options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
				if _, err := newest.resource(t, o).Create(t.Context(), o, options); err != nil {
					t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
			if len(name) <= 50 && where == name {
				sameShapes(t, want, documents(t, "ordinary", "ordinary", on, mode, "--kube-version=v1.36.0", "--set-string=fullnameOverride="+name))
			}
		})
	}
}

// documents are the objects of `helm template`, in its order.
func documents(t *testing.T, releaseName, namespace string, flags ...string) (all []*unstructured.Unstructured) {
	t.Helper()
	text, err := output(t, append([]string{os.Getenv("HELM"), "template", releaseName, chartDir, "--namespace", namespace}, flags...)...)
	if err != nil {
		t.Fatalf("release %s: %v", releaseName, err)
	}
	for document := range strings.SplitSeq(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := sigsyaml.UnmarshalStrict([]byte(strings.TrimPrefix(document, "---\n")), &o.Object); err != nil {
			t.Fatalf("release %s: %v\n%s", releaseName, err, document)
		}
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
	return all
}

// sameShapes compares objects by the types of what is in them.
func sameShapes(t *testing.T, want, got []*unstructured.Unstructured) {
	t.Helper()
	shapes := func(objects []*unstructured.Unstructured) (all []string) {
		for _, o := range objects {
			encoded := jsontest.YAML(t, shape(o.Object))
			all = append(all, o.GetKind()+"\n"+string(encoded))
		}
		slices.Sort(all) // names decide on the order
		return all
	}
	if diff := cmp.Diff(shapes(want), shapes(got)); diff != "" {
		t.Errorf("types (-ordinary +odd):\n%s", diff)
	}
}

// shape is a value with types in the place of what is neither an object nor a list.
func shape(value any) any {
	switch value := value.(type) {
	case object:
		shapes := object{}
		for key, nested := range value {
			shapes[key] = shape(nested)
		}
		return shapes
	case []any:
		shapes := []any{}
		for _, nested := range value {
			shapes = append(shapes, shape(nested))
		}
		return shapes
	}
	return fmt.Sprintf("%T", value)
}
