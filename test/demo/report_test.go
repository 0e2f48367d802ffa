package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

func TestReport(t *testing.T) {
	r := exampleReport()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			var got bytes.Buffer
			if err := r.write(&got, format); err != nil {
				t.Fatal(err)
			}
			testfile.Expect(t, filepath.Join("testdata", "report."+format), got.Bytes())
		})
	}
}

func TestTextFitsItsWidth(t *testing.T) {
	r := exampleReport()
	r.Environment = nil // addresses and paths are never cut: they are there to be copied
	text, err := r.text()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.TrimRight(line, " ") != line && !strings.HasPrefix(line, "- ") && !strings.HasPrefix(line, "+ ") {
			t.Errorf("white space at the end: %q", line)
		}
	}
}

func TestJSONIsComplete(t *testing.T) {
	var encoded bytes.Buffer
	r := exampleReport()
	if err := r.write(&encoded, "json"); err != nil {
		t.Fatal(err)
	}
	decoded := jsontest.Decode[report](t, encoded.Bytes())
	var again bytes.Buffer
	if err := decoded.write(&again, "json"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded.Bytes(), again.Bytes()) {
		t.Errorf("got %s after a round trip, want %s", again.String(), encoded.String())
	}
}

// exampleReport has a pod of each kind that the summary tells apart.
func exampleReport() *report {
	shop := outcome{
		Pod: "shop", Namespace: "default", File: "examples/pods/shop.yaml",
		Review: &review{
			Entry: "open.pods.shorthop.dev", Rule: "shop",
			ServiceHost: policy.Outcome{Action: policy.ActionInject, Reason: policy.ReasonEnabledByPolicy},
			DNS:         policy.Outcome{Action: policy.ActionInject, Reason: policy.ReasonEnabledByPolicy},
		},
		Record: &mutate.Record{
			Rule: "shop", Policy: "0123456789ab", ServiceHost: "api.example.com", DNS: policy.DNSModeNodeLocal,
			Added: mutate.Added{Containers: []string{"cart"}, Options: []string{"ndots"}, Nameservers: 2, DNSConfig: true, Sum: "1"},
		},
		Before: podView{
			Metadata: metadataView{Labels: map[string]string{"team": "shop"}},
			Spec: specView{
				Containers: []containerView{{Name: "cart", Env: []corev1.EnvVar{
					{Name: "LEVEL", Value: "1"},
					{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
				}}},
				DNSPolicy: corev1.DNSClusterFirst,
			},
		},
	}
	shop.After = shop.Before
	shop.After.Metadata = metadataView{
		Labels: map[string]string{"team": "shop", policy.LabelPinned: policy.PinnedNodeLocal},
		Annotations: map[string]string{
			policy.AnnotationInjected: `{"rule":"shop","policy":"0123456789ab","serviceHost":"api.example.com","dns":"NodeLocal","added":{}}`,
		},
	}
	shop.After.Spec = specView{
		Containers: []containerView{{Name: "cart", Env: append(
			[]corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "api.example.com"}}, shop.Before.Spec.Containers[0].Env...)}},
		DNSPolicy: corev1.DNSNone,
		DNSConfig: &corev1.PodDNSConfig{
			Nameservers: []string{"169.254.20.10", "10.0.0.10"},
			Searches:    []string{"default.svc.cluster.local"},
			Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}},
		},
	}

	untouchedSpec := podView{Spec: specView{Containers: []containerView{{Name: "web"}}, DNSPolicy: corev1.DNSClusterFirst}}
	return &report{
		Kubernetes: "v1.36.3",
		Policy:     policyInfo{Name: "example", Hash: "0123456789ab", File: examplePolicy},
		Pods: []outcome{
			shop,
			{
				Pod: "opted-out", Namespace: "quiet", File: "examples/pods/opted-out.yaml",
				Filtered: "opted out by label of the namespace",
				Before:   untouchedSpec, After: untouchedSpec,
			},
			{
				Pod: "crowded", Namespace: "default", File: "examples/pods/crowded.yaml",
				Review: &review{
					Entry: "open.pods.shorthop.dev", Rule: policy.DefaultRule,
					ServiceHost: policy.Outcome{Action: policy.ActionSkip, Reason: policy.ReasonServiceHostSet},
					DNS:         policy.Outcome{Action: policy.ActionInject, Reason: policy.ReasonLimits},
					Record:      &policy.Outcome{Action: policy.ActionSkip, Reason: policy.ReasonAnnotationBudget},
				},
				Warnings: []string{"shorthop: metadata.annotations[shorthop.dev/ndots]: \"many\" is not a number, so the policy's 4 is used instead of it"},
				Before:   untouchedSpec, After: untouchedSpec,
			},
			{
				Pod: "unlucky", Namespace: "default", File: "examples/pods/unlucky.yaml",
				Review: &review{Entry: "open.pods.shorthop.dev", Failed: true},
				Before: untouchedSpec, After: untouchedSpec,
			},
		},
		Environment: &running{
			Kubeconfig: "/tmp/cluster/kubeconfig", PolicyFile: "/tmp/demo/policy.yaml", Webhook: "https://127.0.0.1:1/mutate-v1-pod",
			Metrics: "http://127.0.0.1:2/metrics", Health: "http://127.0.0.1:3/readyz",
			Debug: "http://127.0.0.1:3/debug/policy", AuditLog: "/tmp/demo/audit.log",
		},
	}
}
