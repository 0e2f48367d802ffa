package mutate_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// TestReviewOfAnyPod: what holds for the first review of a pod.
func TestReviewOfAnyPod(t *testing.T) {
	t.Parallel()
	var (
		mu  sync.Mutex
		saw = map[string]int{}
	)
	t.Run("trials", func(t *testing.T) {
		forEachTrial(t, 5000, func(x *trial) {
			patched, result := x.patched(x.policy, x.json)
			d := &result.Decision

			if err := userPartUnchanged(x.json, patched, d, x.request.Namespace); err != nil {
				x.failf("%v\npatch: %s", err, patchOf(t, result))
			}
			for _, op := range result.Operations {
				ours := strings.HasPrefix(op.Path, "/metadata/")
				// The user's entry that is ours too is where ours would be.
				moved := op.Operation == "replace" && (op.Path == "/spec/dnsConfig/nameservers" || op.Path == "/spec/dnsConfig/searches")
				if op.Operation != "add" && !ours && !moved {
					x.failf("the first review has %s %s", op.Operation, op.Path)
				}
			}
			if !d.ServiceHost.Injects() && !d.DNS.Injects() {
				for _, op := range result.Operations { // what is not ours under our keys goes
					if op.Operation != "remove" || op.Path != "/metadata/annotations/shorthop.dev~1injected" && op.Path != "/metadata/labels/shorthop.dev~1pinned" {
						x.failf("nothing is injected and there are operations: %s", patchOf(t, result))
					}
				}
				x.request.Pod = result.Request.Pod
				bothStay := x.stays(policy.FeatureServiceHost, x.policy, d.ServiceHost.Outcome) && x.stays(policy.FeatureDNS, x.policy, d.DNS.Outcome)
				if bothStay && len(result.Operations) > 0 {
					x.failf("the pod is left alone and there are operations: %s", patchOf(t, result))
				}
			}
			if !x.odd {
				x.checkLimits(patched)
				x.checkSkips(d)
				x.checkTypedRoundTrip(patched)
			}
			before := decode(t, x.json)
			if result.RecordReason == "" {
				if diff := diffPods(withoutOurKeys(before), withoutOurKeys(mutate.Undo(decode(t, patched)))); diff != "" {
					x.failf("Undo (-want +got):\n%s", diff)
				}
			}
			if result.Decision.DNS.Injects() {
				want := map[bool]string{true: policy.PinnedNodeLocal}[d.DNS.Mode == policy.DNSModeNodeLocal]
				if got := decode(t, patched).Metadata.Labels[policy.LabelPinned]; got != want {
					x.failf("label %s is %q, want %q", policy.LabelPinned, got, want)
				}
			}

			mu.Lock()
			defer mu.Unlock()
			saw["service host "+string(d.ServiceHost.Action)]++
			saw["dns "+string(d.DNS.Action)+" "+string(d.DNS.Mode)]++
			saw[string(d.DNS.Reason)]++
			saw[string(d.ServiceHost.Reason)]++
			saw[string(result.RecordReason)]++
			if len(d.Warnings) > 0 {
				saw["warnings"]++
			}
		})
	})
	// What never came up was not tested.
	for _, kind := range []string{
		"service host inject", "service host skip", "dns inject Options", "dns inject NodeLocal", "dns skip ", "warnings",
		"limits", "annotation_budget", "rollout", "windows_pod", "virtual_node", "host_network", "dns_policy_none", "dns_policy_default",
		"service_host_set", "service_port_set", "dns_options_set", "namespace_closed", "dns_pod", "namespace_unknown", "excluded_namespace",
		"enabled_by_rule", "enabled_by_pod_label", "enabled_by_namespace_label", "disabled_by_pod_label", "disabled_by_namespace_label",
	} {
		if saw[kind] == 0 {
			t.Errorf("no pod was about %q", kind)
		}
	}
	t.Log(saw)
}

// checkLimits: what was within the API's limits still is.
func (x *trial) checkLimits(patched []byte) {
	x.t.Helper()
	before, after := decode(x.t, x.json), decode(x.t, patched)
	size := func(pod *policy.Pod) int {
		n := 0
		for key, value := range pod.Metadata.Annotations {
			n += len(key) + len(value)
		}
		return n
	}
	if n := size(after); n > 256<<10 {
		x.failf("annotations have %d bytes, %d before", n, size(before))
	}
	config := after.Spec.DNSConfig
	if config == nil {
		return
	}
	if n := len(config.Nameservers); n > 3 {
		x.failf("%d nameservers", n)
	}
	if n := len(config.Searches); n > 32 {
		x.failf("%d searches", n)
	}
	if n := len(strings.Join(config.Searches, " ")); n > 2048 {
		x.failf("searches have %d characters", n)
	}
	if after.Spec.DNSPolicy == "None" && len(config.Nameservers) == 0 {
		x.failf("dnsPolicy None without a nameserver")
	}
}

// checkSkips: pods whose DNS is not the cluster's are left alone.
func (x *trial) checkSkips(d *policy.Decision) {
	x.t.Helper()
	spec := &x.typed.Spec
	windows := spec.OS != nil && spec.OS.Name == corev1.Windows || spec.NodeSelector[corev1.LabelOSStable] == "windows"
	own := spec.DNSPolicy == corev1.DNSNone || spec.DNSPolicy == corev1.DNSDefault
	node := spec.HostNetwork && (spec.DNSPolicy == "" || spec.DNSPolicy == corev1.DNSClusterFirst)
	if (windows || own || node) && d.DNS.Injects() {
		x.failf("DNS is injected: windows %t, dnsPolicy %s, hostNetwork %t", windows, spec.DNSPolicy, spec.HostNetwork)
	}
	if windows && d.ServiceHost.Injects() && d.ServiceHost.FromNodeIP {
		x.failf("a Windows pod gets the node's address")
	}
	if !x.request.NamespaceKnown && (d.DNS.Injects() || d.ServiceHost.Injects()) {
		x.failf("injected though the namespace is not known")
	}
}

// typedRoundTrip is what the API server makes of a patched pod before the next
// webhook sees it.
func (x *trial) typedRoundTrip(pod []byte) []byte {
	x.t.Helper()
	var typed corev1.Pod
	if err := json.Unmarshal(pod, &typed); err != nil {
		x.failf("the API server cannot decode the patched pod: %v", err)
	}
	return x.marshal(&typed)
}

func (x *trial) checkTypedRoundTrip(patched []byte) {
	x.t.Helper()
	stored := x.typedRoundTrip(patched)
	if diff := diffPods(decode(x.t, patched), decode(x.t, stored)); diff != "" {
		x.failf("the API server stores something else (-patched +stored):\n%s", diff)
	}
	if again := x.review(x.policy, stored); len(again.Operations) > 0 {
		x.failf("a review of the stored pod has operations: %s", patchOf(x.t, again))
	}
}
