package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/policy"
)

// reasonsBeside are all reasons of a decision, with spaces between them.
func reasonsBeside(first policy.Reason, behind []policy.Reason) string {
	words := []string{string(first)}
	for _, reason := range behind {
		words = append(words, string(reason))
	}
	return strings.Join(words, " ")
}

func TestReasonsBehindTheFirst(t *testing.T) {
	t.Parallel()
	const both = header + "  serviceHost: {host: api.example.com}\n  dns: {}\n"
	labels := func(pairs ...string) map[string]string {
		all := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		return all
	}
	container := policy.Container{Name: "app", Image: "example.com/app"}
	withEnv := func(names ...string) []policy.Container {
		c := container
		for _, name := range names {
			c.Env = append(c.Env, policy.EnvVar{Name: name, Value: "http://proxy.example.com"})
		}
		return []policy.Container{c}
	}
	for name, c := range map[string]struct {
		policy, namespace string
		namespaceLabels   map[string]string
		operation         policy.Operation // "": a creation
		gates             *policy.Gates
		pod               policy.Pod
		host, dns         string
	}{
		"nothing stands in the way": {
			policy: both, host: "enabled_by_policy", dns: "enabled_by_policy",
		},
		"one reason": {
			policy: both, pod: policy.Pod{Spec: policy.PodSpec{DNSPolicy: "Default"}},
			host: "enabled_by_policy", dns: "dns_policy_default",
		},
		"all that covers the whole pod, and labels behind it": {
			policy:    header + "  mode: \"Off\"\n  excludedNamespaces: [shop]\n  serviceHost: {host: api.example.com}\n  dns: {}\n",
			namespace: "shop", namespaceLabels: labels(policy.LabelInject, "disabled"),
			pod: policy.Pod{Metadata: policy.PodMetadata{
				Labels: labels("k8s-app", "kube-dns", policy.LabelDNS, "disabled"), Annotations: labels("kubernetes.io/config.mirror", "x"),
			}},
			host: "mode_off excluded_namespace mirror_pod dns_pod namespace_closed",
			dns:  "mode_off excluded_namespace mirror_pod dns_pod disabled_by_pod_label namespace_closed",
		},
		"the namespace's own label comes behind the closed namespace": {
			policy: both, namespaceLabels: labels(policy.LabelInject, "disabled", policy.LabelDNS, "disabled"),
			host: "namespace_closed", dns: "namespace_closed disabled_by_namespace_label",
		},
		"a label that enables hides what the policy says, and not a closed namespace under Final": {
			policy:          header + "  namespaceOptOut: Final\n  serviceHost: {host: api.example.com, enabled: false}\n  dns: {}\n",
			namespaceLabels: labels(policy.LabelInject, "disabled"),
			pod:             policy.Pod{Metadata: policy.PodMetadata{Labels: labels(policy.LabelServiceHost, "enabled")}},
			host:            "namespace_closed", dns: "namespace_closed",
		},
		"a disabled feature, the policy's default and the rollout": {
			policy: header + "  disabledFeatures: [ServiceHost, DNS]\n  rollout: {percent: 0}\n  serviceHost: {host: api.example.com, enabled: false}\n  dns: {enabled: false}\n",
			host:   "feature_disabled disabled_by_policy rollout", dns: "feature_disabled disabled_by_policy rollout",
		},
		"nothing is known behind what is not configured": {
			policy: header + "  dns: {}\n", namespaceLabels: labels(policy.LabelInject, "disabled"),
			pod:  policy.Pod{Metadata: policy.PodMetadata{Labels: labels(policy.LabelServiceHost, "disabled")}},
			host: "disabled_by_pod_label namespace_closed not_configured", dns: "namespace_closed",
		},
		"a pod of Windows on a virtual node with DNS of its own": {
			policy: header + "  virtualNodes: {schedulerNames: [virtual]}\n  serviceHost: {hostFrom: NodeIP}\n  dns: {ownConfig: Leave}\n",
			pod: policy.Pod{Spec: policy.PodSpec{
				NodeSelector: labels("kubernetes.io/os", "windows"), SchedulerName: "virtual", DNSPolicy: "Default",
				DNSConfig: &policy.DNSConfig{Nameservers: []string{"192.0.2.1"}},
			}},
			host: "windows_pod virtual_node", dns: "windows_pod virtual_node dns_policy_default own_config",
		},
		"a container's host, port and proxy, and a closed gate": {
			policy: both, gates: &policy.Gates{},
			pod:  policy.Pod{Spec: policy.PodSpec{Containers: withEnv(policy.EnvServiceHost, policy.EnvServicePort, "HTTPS_PROXY")}},
			host: "service_host_set service_port_set proxy service_host_unhealthy", dns: "enabled_by_policy",
		},
		"an agent of the network with nameservers of others": {
			policy: both,
			pod: policy.Pod{Spec: policy.PodSpec{
				PriorityClassName: "system-node-critical", DNSPolicy: "None", DNSConfig: &policy.DNSConfig{Nameservers: []string{"192.0.2.1"}},
			}},
			host: "dns_bootstrap dns_policy_none", dns: "dns_policy_none",
		},
		"less than node-local DNS, for three reasons": {
			policy: header + "  cluster: {dnsServers: [10.0.0.10]}\n  dns: {mode: NodeLocal, nodeLocal: {servers: [169.254.20.10]}}\n", gates: &policy.Gates{},
			pod: policy.Pod{Spec: policy.PodSpec{DNSConfig: &policy.DNSConfig{
				Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"},
			}}},
			host: "not_configured", dns: "cluster_domain_unknown limits node_local_unhealthy",
		},
		"an update is nothing that could be asked about": {
			policy: both, operation: policy.OperationOther, namespaceLabels: labels(policy.LabelInject, "disabled"),
			host: "operation", dns: "operation",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.operation == "" {
				c.operation = policy.OperationCreatePod
			}
			if c.namespace == "" {
				c.namespace = "web"
			}
			if c.pod.Spec.Containers == nil {
				c.pod.Spec.Containers = []policy.Container{container}
			}
			compiled := compile(t, c.policy)
			request := policy.Request{
				Operation: c.operation, Namespace: c.namespace, NamespaceLabels: c.namespaceLabels, NamespaceKnown: true,
				Pod: &c.pod, Gates: c.gates,
			}
			d := compiled.Decide(&request)
			besides := compiled.Besides(&request, &d)
			if got := reasonsBeside(d.ServiceHost.Reason, besides.ServiceHost); got != c.host {
				t.Errorf("service host: %s\nwant %s", got, c.host)
			}
			if got := reasonsBeside(d.DNS.Reason, besides.DNS); got != c.dns {
				t.Errorf("DNS: %s\nwant %s", got, c.dns)
			}
			if diff := cmp.Diff(d, compiled.Decide(&request)); diff != "" {
				t.Errorf("the decision is another one afterwards:\n%s", diff)
			}
		})
	}
}
