package health_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

func get(t *testing.T, o health.Options, path string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	health.NewHandler(o).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return recorder
}

func holds() error { return nil }

func TestReadyz(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		checks []health.Check
		status int
		body   string
	}{
		"all checks hold": {
			[]health.Check{{Name: "certificate", Probe: holds}, {Name: "policy", Probe: holds}},
			http.StatusOK,
			"[+]certificate ok\n[+]policy ok\nreadyz check passed\n",
		},
		"every check is listed where some fail": {
			[]health.Check{
				{Name: "certificate", Probe: func() error { return errors.New("not loaded") }},
				{Name: "policy", Probe: holds},
				{Name: "shutdown", Probe: func() error { return errors.New("the server is ending") }},
			},
			http.StatusServiceUnavailable,
			"[-]certificate failed: not loaded\n[+]policy ok\n[-]shutdown failed: the server is ending\nreadyz check failed\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range []string{"/readyz", "/readyz?verbose"} {
				got := get(t, health.Options{Ready: test.checks}, path)
				if got.Code != test.status {
					t.Errorf("%s: status %d, want %d", path, got.Code, test.status)
				}
				if diff := cmp.Diff(test.body, got.Body.String()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", path, diff)
				}
			}
		})
	}
}

func TestHealthzDependsOnNothing(t *testing.T) {
	t.Parallel()
	o := health.Options{
		Ready:  []health.Check{{Name: "certificate", Probe: func() error { return errors.New("not loaded") }}},
		Policy: func() *policy.Compiled { return nil },
	}
	if got := get(t, o, "/healthz"); got.Code != http.StatusOK || got.Body.String() != "ok\n" {
		t.Errorf("status %d, body %q", got.Code, got.Body)
	}
}

func TestDebugPolicy(t *testing.T) {
	t.Parallel()
	document, err := policy.Parse([]byte(`apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: site}
spec:
  excludedNamespaces: [zoo, kube-system]
  dns: {}
`))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(document, "shorthop-system")
	if err != nil {
		t.Fatal(err)
	}
	recorder := get(t, health.Options{
		Policy:       func() *policy.Compiled { return compiled },
		OwnNamespace: "shorthop-system",
	}, "/debug/policy")
	if recorder.Code != http.StatusOK || recorder.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, content type %s", recorder.Code, recorder.Header().Get("Content-Type"))
	}
	type answer struct {
		Name, Hash         string
		ExcludedNamespaces []string
		Gates              []any
		Document           *policy.InjectionPolicy
	}
	got := jsontest.Decode[answer](t, recorder.Body.Bytes())
	want := answer{
		Name: "site", Hash: compiled.Hash(),
		ExcludedNamespaces: []string{"kube-system", "shorthop-system", "zoo"},
		Gates:              []any{},
		Document:           compiled.Document(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if *got.Document.Spec.DNS.Ndots != policy.DefaultNdots {
		t.Error("the document is shown without its defaults")
	}
	if !strings.Contains(recorder.Body.String(), `"gates": []`) {
		t.Errorf("gates are not an empty list:\n%s", recorder.Body)
	}
}

func TestDebugPolicyShowsGatesAndDiscovery(t *testing.T) {
	t.Parallel()
	compiled := reviewtest.Compile(t, "{apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, metadata: {name: test}, spec: {}}", "")
	recorder := get(t, health.Options{
		Policy: func() *policy.Compiled { return compiled },
		Gates: func() []gates.Status {
			return []gates.Status{
				{Gate: gates.KindServiceHost, Target: "api.example.com:443", Open: true, Since: time.Unix(0, 0).UTC()},
				{Gate: gates.KindNodeLocal, Target: "kube-system/cache", MaxUnavailable: "10%", Since: time.Unix(60, 0).UTC(), LastError: "there is no such DaemonSet"},
			}
		},
		Discovered: func() discovery.Result {
			return discovery.Result{
				Discovered:   policy.Discovered{Domain: "cluster.local", DNSServers: []string{"10.0.0.10"}},
				DomainSource: "resolv.conf", DNSServersSource: "Service kube-system/kube-dns",
				Contradictions: []string{"one"},
			}
		},
	}, "/debug/policy")
	var got struct{ Gates, Discovered json.RawMessage }
	jsontest.Unmarshal(t, recorder.Body.Bytes(), &got)
	for part, texts := range map[string][2]string{
		"gates": {string(got.Gates), `[
			{"gate": "service_host", "target": "api.example.com:443", "open": true, "since": "1970-01-01T00:00:00Z"},
			{"gate": "node_local", "target": "kube-system/cache", "maxUnavailable": "10%", "open": false,
				"since": "1970-01-01T00:01:00Z", "lastError": "there is no such DaemonSet"}]`},
		"discovered": {string(got.Discovered), `{
			"domain": "cluster.local", "dnsServers": ["10.0.0.10"], "domainSource": "resolv.conf",
			"dnsServersSource": "Service kube-system/kube-dns", "contradictions": ["one"]}`},
	} {
		var shown, want any
		if err := errors.Join(json.Unmarshal([]byte(texts[0]), &shown), json.Unmarshal([]byte(texts[1]), &want)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("%s (-want +got):\n%s", part, diff)
		}
	}
}

func TestDebugPolicyBeforeThereIsOne(t *testing.T) {
	t.Parallel()
	got := get(t, health.Options{Policy: func() *policy.Compiled { return nil }}, "/debug/policy")
	if got.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", got.Code)
	}
}

func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	for request, want := range map[*http.Request]int{
		httptest.NewRequest(http.MethodPost, "/readyz", http.NoBody):  http.StatusMethodNotAllowed,
		httptest.NewRequest(http.MethodHead, "/healthz", http.NoBody): http.StatusOK,
		httptest.NewRequest(http.MethodGet, "/other", http.NoBody):    http.StatusNotFound,
	} {
		recorder := httptest.NewRecorder()
		health.NewHandler(health.Options{}).ServeHTTP(recorder, request)
		if recorder.Code != want {
			t.Errorf("%s %s: status %d, want %d", request.Method, request.URL, recorder.Code, want)
		}
	}
}

// TestDebugPolicyIsLimited has more readers than are answered at once. Probes are answered beside them.
func TestDebugPolicyIsLimited(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	handler := health.NewHandler(health.Options{Policy: func() *policy.Compiled {
		asked <- struct{}{}
		<-answer
		return nil
	}})
	ask := func(path string) int {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if recorder.Code == http.StatusServiceUnavailable && strings.Contains(recorder.Body.String(), "too many requests") {
			return http.StatusTooManyRequests
		}
		return recorder.Code
	}
	ended := make(chan int)
	for range 2 {
		go func() { ended <- ask("/debug/policy") }()
		<-asked
	}
	for path, want := range map[string]int{"/debug/policy": http.StatusTooManyRequests, "/healthz": http.StatusOK, "/readyz": http.StatusOK} {
		if got := ask(path); got != want {
			t.Errorf("%s beside two readers: %d, want %d", path, got, want)
		}
	}
	close(answer)
	for range 2 {
		if got := <-ended; got != http.StatusServiceUnavailable { // there is no policy
			t.Errorf("a reader gets %d", got)
		}
	}
}
