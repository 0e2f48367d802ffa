package detect_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/detect"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/objectserver"
)

var update = flag.Bool("update", false, "rewrite the sections detect.yaml and detect.findings.yaml of the flavours")

// Flavours of clusters: those of discovery (internal/discovery/testdata/flavours), and in testdata/others such that were built
// from their objects alone. The sections:
//
//	resolv.conf            of a pod
//	objects.yaml           what discovery reads too
//	detect.objects.yaml    what only detect reads: nodes, namespaces, ConfigMaps
//	detect.facts.yaml      kubelets, hosts and what could not be read
//	detect.yaml            expected: the file of values
//	detect.findings.yaml   expected: findings and what could not be found out
//
// `go test ./internal/detect -update` rewrites what is expected.
func TestFlavours(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"../discovery/testdata/flavours/*.txtar", "testdata/others/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s (error %v)", pattern, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				archive, err := txtar.ParseFile(file)
				if err != nil {
					t.Fatal(err)
				}
				o := objectsOf(t, archive)
				result := detect.Judge(o)
				values, err := result.YAML()
				if err != nil {
					t.Fatal(err)
				}
				checkValues(t, result, values)
				findings, err := yaml.Marshal(map[string]any{"flavour": result.Flavour, "findings": result.Findings, "unknown": result.Unknown})
				if err != nil {
					t.Fatal(err)
				}
				checkCollected(t, archive, o, values)
				expect(t, file, archive, "detect.yaml", values)
				expect(t, file, archive, "detect.findings.yaml", findings)
			})
		}
	}
}

// checkCollected wants the same values of what Collect reads at an API server with these objects. What kubelets and hosts answer,
// and what may not be read, is as the case has it.
func checkCollected(t *testing.T, archive *txtar.Archive, o *detect.Objects, values []byte) {
	t.Helper()
	var objects []unstructured.Unstructured
	for _, section := range archive.Files {
		if section.Name == "objects.yaml" || section.Name == "detect.objects.yaml" {
			objects = append(objects, objectserver.Parse(t, section.Data)...)
		}
	}
	collected, err := detect.Collect(t.Context(), objectserver.Start(t, objects), o.ResolvConf, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	collected.Server, collected.Kubelets, collected.Hosts, collected.Unread = o.Server, o.Kubelets, o.Hosts, o.Unread
	got, err := detect.Judge(collected).YAML()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(values), string(got)); diff != "" {
		t.Errorf("as an API server tells it (-objects +collected):\n%s", diff)
	}
}

// expect compares a section, or rewrites it.
func expect(t *testing.T, file string, archive *txtar.Archive, name string, got []byte) {
	t.Helper()
	for i := range archive.Files {
		if section := &archive.Files[i]; section.Name == name {
			if *update {
				section.Data = got
				got = nil
			} else if diff := cmp.Diff(string(section.Data), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
				return
			} else {
				return
			}
		}
	}
	if !*update {
		t.Fatalf("there is no section %s", name)
	}
	if got != nil {
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: got})
	}
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkValues holds a file of values to what may never be otherwise: it is YAML of the values that the JSON has, every value
// has a reason, and the server takes the policy.
func checkValues(t *testing.T, result *detect.Result, text []byte) {
	t.Helper()
	var fromYAML, fromJSON map[string]any
	if err := yaml.UnmarshalStrict(text, &fromYAML); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	document := result.Document()
	encoded, err := json.Marshal(document.Values)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &fromJSON); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
		t.Errorf("-json +yaml:\n%s", diff)
	}
	if len(document.Reasons) != len(result.Settings) {
		t.Errorf("%d settings, %d reasons: one is set twice", len(result.Settings), len(document.Reasons))
	}
	for path, reason := range document.Reasons {
		if reason == "" {
			t.Errorf("%s has no reason", path)
		}
	}
	var values struct{ Policy policy.Spec }
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	inForce := &policy.InjectionPolicy{Spec: values.Policy}
	inForce.Metadata.Name = "a"
	policy.SetDefaults(inForce)
	if errs := policy.Validate(inForce); len(errs) > 0 {
		t.Errorf("%v\n%s", errs.ToAggregate(), text)
	}
	for line := range strings.Lines(string(text)) {
		for _, c := range strings.TrimSuffix(line, "\n") {
			if c < ' ' || c > '~' {
				t.Errorf("%q is not printable", line)
			}
		}
	}
}

// objectsOf reads a case.
func objectsOf(t *testing.T, archive *txtar.Archive) *detect.Objects {
	t.Helper()
	o := &detect.Objects{Server: "https://api.example.test:6443"}
	for _, section := range archive.Files {
		switch section.Name {
		case "resolv.conf":
			o.ResolvConf = string(section.Data)
		case "objects.yaml", "detect.objects.yaml":
			add(t, o, section.Data)
		case "detect.facts.yaml":
			var facts struct {
				Kubelets []detect.Kubelet
				Hosts    []detect.Host
				Unread   []detect.Unread
			}
			if err := yaml.UnmarshalStrict(section.Data, &facts); err != nil {
				t.Fatal(err)
			}
			o.Kubelets, o.Hosts, o.Unread = facts.Kubelets, facts.Hosts, facts.Unread
		}
	}
	return o
}

func add(t *testing.T, o *detect.Objects, text []byte) {
	t.Helper()
	encoded, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(encoded, []byte("null")) {
		return
	}
	var list unstructured.UnstructuredList
	if err := list.UnmarshalJSON(append(append([]byte(`{"apiVersion":"v1","kind":"List","items":`), encoded...), '}')); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		object := &list.Items[i]
		switch object.GetKind() {
		case "Service":
			o.Services = append(o.Services, *typed(t, object, &corev1.Service{}))
		case "EndpointSlice":
			o.Slices = append(o.Slices, *typed(t, object, &discoveryv1.EndpointSlice{}))
		case "DaemonSet":
			o.DaemonSets = append(o.DaemonSets, *typed(t, object, &appsv1.DaemonSet{}))
		case "ConfigMap":
			o.ConfigMaps = append(o.ConfigMaps, *typed(t, object, &corev1.ConfigMap{}))
		case "Node":
			o.Nodes = append(o.Nodes, *typed(t, object, &corev1.Node{}))
		case "Namespace":
			o.Namespaces = append(o.Namespaces, object.GetName())
		case "CiliumLocalRedirectPolicy":
			o.Redirects = append(o.Redirects, *object)
		default:
			t.Fatalf("nothing reads a %s", object.GetKind())
		}
	}
}

func typed[T any](t *testing.T, object *unstructured.Unstructured, into *T) *T {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true); err != nil {
		t.Fatal(err)
	}
	return into
}
