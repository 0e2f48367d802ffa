package detect_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/detect"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/objectserver"
	"github.com/shorthop/shorthop/test/testfile"
)

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
	for _, folder := range []string{"../discovery/testdata/flavours", "testdata/others"} {
		testfile.Each(t, folder, func(t *testing.T, c *testfile.Case) {
			o := objectsOf(t, c)
			result := detect.Judge(o)
			values, err := result.YAML()
			if err != nil {
				t.Fatal(err)
			}
			checkValues(t, result, values)
			findings := jsontest.YAML(t, map[string]any{"flavour": result.Flavour, "findings": result.Findings, "unknown": result.Unknown})
			checkCollected(t, c, o, values)
			c.Expect(t, "detect.yaml", values)
			c.Expect(t, "detect.findings.yaml", findings)
		})
	}
}

// objects are those that a cluster of the case has.
func objects(t *testing.T, c *testfile.Case) []unstructured.Unstructured {
	t.Helper()
	return slices.Concat(objectserver.Parse(t, c.Section("objects.yaml")), objectserver.Parse(t, c.Section("detect.objects.yaml")))
}

// checkCollected wants the same values of what Collect reads at an API server with these objects. What kubelets and hosts answer,
// and what may not be read, is as the case has it.
func checkCollected(t *testing.T, c *testfile.Case, o *detect.Objects, values []byte) {
	t.Helper()
	collected, err := detect.Collect(t.Context(), objectserver.Start(t, objects(t, c)), o.ResolvConf, func(string) {})
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

// checkValues holds a file of values to what may never be otherwise: it is YAML of the values that the JSON has, every value
// has a reason, and the server takes the policy.
func checkValues(t *testing.T, result *detect.Result, text []byte) {
	t.Helper()
	var fromYAML, fromJSON map[string]any
	if err := yaml.UnmarshalStrict(text, &fromYAML); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	document := result.Document()
	encoded := jsontest.Marshal(t, document.Values)
	jsontest.Unmarshal(t, encoded, &fromJSON)
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
func objectsOf(t *testing.T, c *testfile.Case) *detect.Objects {
	t.Helper()
	var facts struct {
		Kubelets []detect.Kubelet
		Hosts    []detect.Host
		Unread   []detect.Unread
	}
	if err := yaml.UnmarshalStrict(c.Section("detect.facts.yaml"), &facts); err != nil {
		t.Fatal(err)
	}
	o := &detect.Objects{
		Server: "https://api.example.test:6443", ResolvConf: string(c.Section("resolv.conf")),
		Kubelets: facts.Kubelets, Hosts: facts.Hosts, Unread: facts.Unread,
	}
	for _, object := range objects(t, c) {
		switch object.GetKind() {
		case "Service":
			o.Services = append(o.Services, *objectserver.Typed(t, &object, &corev1.Service{}))
		case "EndpointSlice":
			o.Slices = append(o.Slices, *objectserver.Typed(t, &object, &discoveryv1.EndpointSlice{}))
		case "DaemonSet":
			o.DaemonSets = append(o.DaemonSets, *objectserver.Typed(t, &object, &appsv1.DaemonSet{}))
		case "ConfigMap":
			o.ConfigMaps = append(o.ConfigMaps, *objectserver.Typed(t, &object, &corev1.ConfigMap{}))
		case "Node":
			o.Nodes = append(o.Nodes, *objectserver.Typed(t, &object, &corev1.Node{}))
		case "Namespace":
			o.Namespaces = append(o.Namespaces, object.GetName())
		case "CiliumLocalRedirectPolicy":
			o.Redirects = append(o.Redirects, object)
		default:
			t.Fatalf("nothing reads a %s", object.GetKind())
		}
	}
	return o
}
