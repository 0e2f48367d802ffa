package generated_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
)

// setting is a policy, with all that it may put on a pod.
type setting struct {
	name string
	spec string
	// hosts are for KUBERNETES_SERVICE_HOST; nodeIP stands for the downward API.
	hosts, ports []string
	nameservers  []string
	// searches may be added beside the three of the pod's namespace in one of the domains.
	searches, domains []string
	// options are written as in resolv.conf. ndots has any value: pods choose their own.
	options []string
}

const nodeIP = "NodeIP"

// settings take turns. They have the same order in every run, so that a seed means the same.
var settings = []setting{
	{
		name: "service-host", spec: `{serviceHost: {host: api.example.com}, dns: {enabled: false}}`,
		hosts: []string{"api.example.com"},
	}, {
		name: "ndots", spec: `{dns: {mode: Options, ndots: 3}}`,
	}, {
		name: "node-local-and-host", spec: `{
			serviceHost: {host: api.example.com},
			dns: {mode: NodeLocal, ndots: 2, nodeLocal: {servers: [169.254.20.10]}},
			cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}}`,
		hosts: []string{"api.example.com"}, nameservers: []string{"169.254.20.10", "10.0.0.10"}, domains: []string{"cluster.local"},
	}, {
		name: "node-ip", spec: `{serviceHost: {hostFrom: NodeIP}, dns: {}}`,
		hosts: []string{nodeIP},
	}, {
		name: "searches-and-options", spec: `{
			dns: {mode: NodeLocal, extraSearches: [corp.example.com, lab.example.com],
				options: [{name: timeout, value: "1"}, {name: attempts, value: "2"}, {name: edns0}],
				nodeLocal: {servers: [169.254.20.10, "fd00::a"], fallbackServers: [10.0.0.10]}},
			cluster: {domain: a-rather-long-cluster-domain.clusters.example.com}}`,
		nameservers: []string{"169.254.20.10", "fd00::a", "10.0.0.10"},
		searches:    []string{"corp.example.com", "lab.example.com"}, domains: []string{"a-rather-long-cluster-domain.clusters.example.com"},
		options: []string{"timeout:1", "attempts:2", "edns0"},
	}, {
		name: "port", spec: `{serviceHost: {host: "fd00::1", port: 6443}, dns: {enabled: false}}`,
		hosts: []string{"fd00::1"}, ports: []string{"6443"},
	}, {
		name: "rules", spec: `{
			serviceHost: {host: api.example.com}, rollout: {percent: 60},
			cluster: {domain: cluster.local, dnsServers: [10.0.0.10]},
			dns: {nodeLocal: {servers: [169.254.20.10]}},
			rules: [
				{name: owned, match: {owners: [{kind: Deployment}]}, dns: {mode: NodeLocal}, serviceHost: {port: 8443}},
				{name: batch, match: {owners: [{kind: CronJob}, {kind: Job}]}, dns: {ndots: 1, options: [{name: use-vc}]}},
				{name: team, match: {namespaceSelector: {matchLabels: {team: search}}}, dns: {mode: NodeLocal, ndots: 4}, serviceHost: {hostFrom: NodeIP}},
				{name: "off", match: {podSelector: {matchLabels: {app: web}}}, dns: {enabled: false}}]}`,
		hosts: []string{"api.example.com", nodeIP}, ports: []string{"8443"},
		nameservers: []string{"169.254.20.10", "10.0.0.10"}, domains: []string{"cluster.local"}, options: []string{"use-vc"},
	}, {
		name: "node-local-without-host", spec: `{
			serviceHost: {host: api.example.com, enabled: false},
			dns: {mode: NodeLocal, ndots: 2, extraSearches: [corp.example.com, lab.example.com]},
			cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}}`,
		hosts: []string{"api.example.com"}, nameservers: []string{"169.254.20.10", "10.0.0.10"},
		searches: []string{"corp.example.com", "lab.example.com"}, domains: []string{"cluster.local"},
	}, {
		name: "options-and-host", spec: `{
			serviceHost: {host: api.example.com},
			dns: {mode: Options, ndots: 3, options: [{name: timeout, value: "1"}, {name: attempts, value: "2"}, {name: edns0}],
				nodeLocal: {servers: [169.254.20.10]}},
			cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}}`,
		hosts: []string{"api.example.com"}, nameservers: []string{"169.254.20.10", "10.0.0.10"}, domains: []string{"cluster.local"},
		options: []string{"timeout:1", "attempts:2", "edns0"},
	}, {
		name: "final-opt-out", spec: `{
			serviceHost: {host: "fd00::1", port: 443},
			namespaceOptOut: Final, podOverrides: {allowed: []},
			dns: {enabled: false, options: [{name: use-vc}]}}`,
		hosts: []string{"fd00::1"}, ports: []string{"443"}, options: []string{"use-vc"},
	},
}

func (s *setting) document() *policy.InjectionPolicy {
	document, err := policy.Parse(fmt.Appendf(nil, "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: %s}\nspec: %s\n", s.name, s.spec))
	if err != nil {
		panic(err) // it is written above
	}
	return document
}

// handler is the webhook's, with everything that it injects working.
func (s *setting) handler(t *testing.T, labels namespaceLabels) http.Handler {
	t.Helper()
	compiled, err := policy.Compile(s.document(), "")
	if err != nil {
		t.Fatal(err)
	}
	return admission.New(admission.Options{
		Policy:     func() *policy.Compiled { return compiled },
		Namespaces: labels,
		Metrics:    metrics.New(prometheus.NewRegistry()),
		Log:        logr.Discard(),
	})
}

// namespaceLabels are the labels of all namespaces, by name.
type namespaceLabels map[string]map[string]string

func (l namespaceLabels) Get(_ context.Context, namespace string) (policy.Namespace, bool) {
	labels, ok := l[namespace]
	return policy.Namespace{Labels: labels}, ok
}

// reviewer asks a webhook over HTTP, as an API server would.
type reviewer struct{ url string }

func serve(t *testing.T, handler http.Handler) reviewer {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return reviewer{server.URL}
}

// request is what a review is about. OldObject is empty when a pod is created.
type request struct {
	namespace         string
	object, oldObject []byte
}

// patch asks for the review and returns the patch, empty where there is none.
func (r reviewer) patch(ctx context.Context, q request) ([]byte, error) {
	fields := map[string]any{
		"uid":       "6f0d2b1c-0000-4000-8000-000000000000",
		"kind":      map[string]string{"group": "", "version": "v1", "kind": "Pod"},
		"resource":  map[string]string{"group": "", "version": "v1", "resource": "pods"},
		"namespace": q.namespace, "operation": "CREATE", "dryRun": true,
		"object": json.RawMessage(q.object),
	}
	if len(q.oldObject) > 0 {
		fields["subResource"], fields["operation"], fields["oldObject"] = "ephemeralcontainers", "UPDATE", json.RawMessage(q.oldObject)
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": fields})
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &review); err != nil || review.Response == nil {
		return nil, fmt.Errorf("the webhook answered %s: %s", response.Status, answer)
	}
	if !review.Response.Allowed {
		return nil, fmt.Errorf("the webhook denied the pod: %s", answer)
	}
	return review.Response.Patch, nil
}
