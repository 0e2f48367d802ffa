package doctor

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/objectserver"
)

// smallPolicy has no host that would be looked up and no cache.
const smallPolicy = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: test}
spec: {dns: {}}
`

// forbidden answers requests whose path contains a text as an API server does that does not allow them.
type forbidden struct {
	http.RoundTripper
	path string
}

func (f forbidden) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, f.path) {
		return f.RoundTripper.RoundTrip(r)
	}
	return &http.Response{
		StatusCode: http.StatusForbidden, Status: "403 Forbidden", Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(`{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403}`)),
	}, nil
}

// withoutRight asks an API server of these objects that does not tell of a resource.
func withoutRight(t *testing.T, resource, objects string) *rest.Config {
	t.Helper()
	config := objectserver.Start(t, objectserver.Parse(t, []byte(objects)))
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return forbidden{rt, resource} })
	return config
}

func statusOf(report *Report, check Check) *Result {
	for i := range report.Checks {
		if report.Checks[i].Check == check {
			return &report.Checks[i]
		}
	}
	return &Result{}
}

// Who may not read the webhook configuration does not learn where the replicas are: that none is found is no fault of theirs then.
func TestWithoutTheRightToReadTheWebhookConfiguration(t *testing.T) {
	t.Parallel()
	const right = "needs the right to get mutatingwebhookconfigurations"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		document := parsed(t, smallPolicy)
		_ = json.NewEncoder(w).Encode(health.PolicyDocument{Hash: (&Facts{}).know("", document).compiled.Hash(), Document: document})
	}))
	t.Cleanup(server.Close)
	collect := func(o Options, objects string) *Report {
		o.WebhookConfiguration, o.Progress = "shorthop", func(string) {}
		facts, err := Collect(t.Context(), withoutRight(t, "mutatingwebhookconfigurations", objects), o)
		if err != nil {
			t.Fatal(err)
		}
		return Judge(facts)
	}

	report := collect(Options{}, "[]")
	for _, r := range report.Checks {
		if r.Status == Fail {
			t.Errorf("%s fails: %s", r.Check, r.Found)
		}
	}
	for _, check := range []Check{"webhook-configuration", "replicas", "policy", "gates"} {
		if r := statusOf(report, check); r.Status != Unknown || !strings.Contains(r.Found, right) {
			t.Errorf("%s is %s: %s", check, r.Status, r.Found)
		}
	}

	report = collect(Options{HealthURL: server.URL}, "[]")
	if report.Policy == nil || report.Policy.From != "server "+server.URL {
		t.Errorf("with --health-url: the policy is %+v", report.Policy)
	}
	for check, status := range map[Check]Status{"policy": Pass, "gates": Pass, "replicas": Unknown, "serving-certificate": Unknown} {
		if r := statusOf(report, check); r.Status != status || status == Unknown && !strings.Contains(r.Found, right) {
			t.Errorf("with --health-url: %s is %s: %s", check, r.Status, r.Found)
		}
	}

	report = collect(Options{}, `[{apiVersion: v1, kind: Pod, metadata: {namespace: shorthop-system, name: a, labels: {app.kubernetes.io/name: shorthop}}}]`)
	if r := statusOf(report, "replicas"); r.Status != Fail || !strings.Contains(r.Found, "no replica is ready") {
		t.Errorf("with a pod that is not ready: replicas is %s: %s", r.Status, r.Found)
	}
}

// labelled is a ConfigMap by whose label the policy is found.
func labelled(name, policy string) string {
	text, err := json.Marshal(policy)
	if err != nil {
		panic(err)
	}
	return `- {apiVersion: v1, kind: ConfigMap, metadata: {namespace: shorthop-system, name: ` + name + `, labels: {app.kubernetes.io/name: shorthop}}, data: {policy.yaml: ` + string(text) + "}}\n"
}

func findInForce(t *testing.T, config *rest.Config, o Options) (*InForce, error) {
	t.Helper()
	o.WebhookConfiguration, o.Progress = "shorthop", func(string) {}
	return FindInForce(t.Context(), config, o)
}

// What decides about new pods is told with the ConfigMap that it is in, also where that is broken.
func TestFindInForceNamesTheConfigMap(t *testing.T) {
	t.Parallel()
	broken := strings.Replace(smallPolicy, "{dns: {}}", "{mode: Sometimes}", 1)
	for name, c := range map[string]struct {
		objects string
		missing string // a right
		want    []string
	}{
		"none":                     {"[]", "none", []string{"no replica and no ConfigMap shows one"}},
		"a broken one":             {labelled("policy", broken), "none", []string{"ConfigMap shorthop-system/policy, key policy.yaml, is not a valid policy", `spec.mode: Unsupported value: "Sometimes"`, "(no replica is ready)"}},
		"one that may not be read": {labelled("policy", smallPolicy), "configmaps", []string{"no ConfigMap could be looked for (needs the right to list configmaps)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := findInForce(t, withoutRight(t, c.missing, c.objects), Options{})
			if err == nil {
				t.Fatal("a policy is found")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
	found, err := findInForce(t, withoutRight(t, "none", labelled("a", smallPolicy)+labelled("b", broken)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "ConfigMap shorthop-system/a, key policy.yaml is used, and ConfigMap shorthop-system/b, key policy.yaml not"; !strings.Contains(found.SeveralConfigMaps, want) {
		t.Errorf("got %q, want %q", found.SeveralConfigMaps, want)
	}
}

// Of several ConfigMaps, the one counts that a replica mounts.
func TestTheMountedConfigMapCounts(t *testing.T) {
	t.Parallel()
	const pod = `- {apiVersion: v1, kind: Pod, metadata: {namespace: shorthop-system, name: a, labels: {app.kubernetes.io/name: shorthop}}, spec: {volumes: [{name: policy, configMap: {name: b}}]}}
`
	found, err := findInForce(t, withoutRight(t, "none", labelled("a", smallPolicy)+labelled("b", smallPolicy)+pod), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if found.From != "ConfigMap shorthop-system/b" {
		t.Errorf("from %s", found.From)
	}
}

// The filter counts as it is in the cluster, unless it was made for another policy than the one that an operator names.
func TestFindInForceReadsTheFilter(t *testing.T) {
	t.Parallel()
	registered := func(policy string) string {
		config := webhookconfig.New(parsed(t, policy), webhookconfig.Options{OwnNamespace: testNamespace, Service: "shorthop"})
		config.Name = "shorthop"
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(config)
		if err != nil {
			t.Fatal(err)
		}
		text := jsontest.Marshal(t, (&unstructured.Unstructured{Object: object}).Object)
		return "- " + string(text) + "\n"
	}
	excluding := strings.Replace(smallPolicy, "{dns: {}}", "{dns: {}, excludedNamespaces: [shop]}", 1)
	shop := map[string]string{"kubernetes.io/metadata.name": "shop"}
	for name, c := range map[string]struct {
		objects         string
		given           string
		missing         string
		calls, isOthers bool
		noFilter        string
	}{
		"that of the policy":                 {labelled("a", excluding) + registered(excluding), "", "none", false, false, ""},
		"that of another policy":             {labelled("a", smallPolicy) + registered(excluding), "", "none", false, true, ""},
		"that of the policy, which is named": {registered(excluding), excluding, "none", false, false, ""},
		"that of another one than is named":  {registered(excluding), smallPolicy, "none", true, true, "was made for another policy than --policy"},
		"none is there":                      {labelled("a", smallPolicy), "", "none", true, false, "there is no webhook configuration shorthop"},
		"it may not be read":                 {labelled("a", smallPolicy) + registered(excluding), "", "mutatingwebhookconfigurations", true, false, "needs the right to get mutatingwebhookconfigurations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{}
			if c.given != "" {
				o.Policy = parsed(t, c.given)
			}
			found, err := findInForce(t, withoutRight(t, c.missing, c.objects), o)
			if err != nil {
				t.Fatal(err)
			}
			calls := found.Filter == nil || found.Filter.Calls(shop, nil)
			if calls != c.calls || found.OtherFilter != c.isOthers || !strings.Contains(found.NoFilter, c.noFilter) || (found.NoFilter == "") != (found.Filter != nil) {
				t.Errorf("called for pods of shop: %t, made for another: %t, %q", calls, found.OtherFilter, found.NoFilter)
			}
		})
	}
}

// CoreDNS on the network of its nodes has the addresses that its Corefile binds, which pods may be pinned to.
func TestPodsPinnedToCoreDNSOnTheirNode(t *testing.T) {
	t.Parallel()
	objects := func(bound string) string {
		return `
- apiVersion: v1
  kind: Pod
  metadata: {namespace: web, name: web-0, labels: {shorthop.dev/pinned: node-local}}
  spec: {dnsPolicy: None, dnsConfig: {nameservers: [169.254.53.53]}, containers: [{name: web}]}
- apiVersion: apps/v1
  kind: DaemonSet
  metadata: {namespace: dns, name: node-dns}
  spec:
    template:
      spec:
        hostNetwork: true
        containers: [{name: coredns, image: coredns, args: [-conf, /etc/coredns/Corefile]}]
        volumes: [{name: config, configMap: {name: node-dns}}]
- {apiVersion: v1, kind: ConfigMap, metadata: {namespace: dns, name: node-dns}, data: {Corefile: ". {\n bind ` + bound + `\n forward . 10.0.0.10\n}\n"}}
`
	}
	for name, c := range map[string]struct {
		bound, missing string
		status         Status
		found          string
	}{
		"at their address":              {"169.254.53.53", "none", Pass, "has a nameserver that is there"},
		"at another address":            {"169.254.53.54", "none", Fail, "nobody in the cluster has its nameservers, 169.254.53.53"},
		"whose Corefile cannot be read": {"169.254.53.53", "configmaps", Unknown, "DaemonSet dns/node-dns may be a cache: needs the right to get configmaps"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			facts, err := Collect(t.Context(), withoutRight(t, c.missing, objects(c.bound)),
				Options{WebhookConfiguration: "shorthop", Policy: parsed(t, smallPolicy), Progress: func(string) {}})
			if err != nil {
				t.Fatal(err)
			}
			if r := statusOf(Judge(facts), "pinned-pods"); r.Status != c.status || !strings.Contains(r.Found, c.found) {
				t.Errorf("pinned-pods is %s: %s; want %s and %q", r.Status, r.Found, c.status, c.found)
			}
		})
	}
}
