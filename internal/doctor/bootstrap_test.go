package doctor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/pkg/policy"
)

// recordOfHost is the record of a pod whose containers setup and app were given
// testHost.
const recordOfHost = `{"v":1,"rule":"default","policy":"fa3bcf5f76a8","serviceHost":"api.example.com","added":{"containers":["setup","app"],"serviceHostSum":"707d667a1ca5d603"}}`

// cniAgent is a CNI's agent that an earlier policy gave the host.
func cniAgent() *audit.Pod {
	host := []policy.EnvVar{{Name: policy.EnvServiceHost, Value: testHost}}
	pod := &audit.Pod{}
	pod.Metadata.Name, pod.Metadata.Namespace = "cni-node-x", "calico-system"
	pod.Metadata.Annotations = map[string]string{policy.AnnotationInjected: recordOfHost}
	pod.Metadata.OwnerReferences = []policy.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "cni-node", Controller: true}}
	pod.Spec.HostNetwork, pod.Spec.DNSPolicy, pod.Spec.PriorityClassName = true, "ClusterFirstWithHostNet", "system-node-critical"
	pod.Spec.InitContainers = []policy.Container{{Name: "setup", Env: host}}
	pod.Spec.Containers = []policy.Container{{Name: "app", Env: host}}
	return pod
}

// setHost is what the author of the pod, or an earlier review, has written.
func setHost(pod *audit.Pod, host string) {
	pod.Spec.InitContainers = nil
	pod.Spec.Containers = []policy.Container{{Name: "app", Env: []policy.EnvVar{{Name: policy.EnvServiceHost, Value: host}}}}
}

// Which running pods count as waiting for DNS.
func TestPodsThatDNSWaitsFor(t *testing.T) {
	t.Parallel()
	withoutRecord := func(p *audit.Pod) { p.Metadata.Annotations = nil }
	cases := map[string]struct {
		pod  func(*audit.Pod)
		want Status
	}{
		"the agent of a CNI":                        {func(*audit.Pod) {}, Fail},
		"by its priority alone":                     {func(p *audit.Pod) { p.Spec.HostNetwork, p.Spec.DNSPolicy = false, "ClusterFirst" }, Fail},
		"by the network alone":                      {func(p *audit.Pod) { p.Spec.PriorityClassName = "" }, Fail},
		"by the cluster's nameservers":              {func(p *audit.Pod) { p.Spec.PriorityClassName = ""; useNone(p, "10.0.0.10") }, Fail},
		"by the cache's nameserver":                 {func(p *audit.Pod) { p.Spec.PriorityClassName = ""; useNone(p, "169.254.20.10") }, Fail},
		"nameservers of others":                     {func(p *audit.Pod) { p.Spec.PriorityClassName = ""; useNone(p, "192.0.2.53") }, Pass},
		"in an excluded namespace":                  {func(p *audit.Pod) { p.Metadata.Namespace = "kube-system" }, Fail},
		"in a namespace that is not there any more": {func(p *audit.Pod) { p.Metadata.Namespace = "gone" }, Fail},
		"kube-proxy":                                {func(p *audit.Pod) { p.Spec.DNSPolicy = "ClusterFirst" }, Fail},
		"the cluster DNS itself":                    {asDNSPod, Fail},
		"the cluster DNS, with a label":             {func(p *audit.Pod) { asDNSPod(p); p.Metadata.Labels[policy.LabelServiceHost] = "enabled" }, Fail},
		"an ordinary pod": {func(p *audit.Pod) {
			p.Spec.HostNetwork, p.Spec.DNSPolicy, p.Spec.PriorityClassName = false, "ClusterFirst", ""
		}, Pass},
		"a label asks for the host":                           {func(p *audit.Pod) { p.Metadata.Labels = map[string]string{policy.LabelServiceHost: "enabled"} }, Pass},
		"a label opts out":                                    {func(p *audit.Pod) { p.Metadata.Labels = map[string]string{policy.LabelServiceHost: "disabled"} }, Fail},
		"without a record, the policy's host":                 {withoutRecord, Warn},
		"the record of another pod":                           {func(p *audit.Pod) { p.Spec.Containers[0].Name = "other"; p.Spec.InitContainers = nil }, Warn},
		"without a record, the policy's host, the node's DNS": {func(p *audit.Pod) { withoutRecord(p); p.Spec.DNSPolicy = "ClusterFirst" }, Pass},
		"its author's host":                                   {func(p *audit.Pod) { withoutRecord(p); setHost(p, "api.other.example.com") }, Pass},
		"its author's address":                                {func(p *audit.Pod) { withoutRecord(p); setHost(p, "192.0.2.1") }, Pass},
		"finished":                                            {func(p *audit.Pod) { p.Status.Phase = "Succeeded" }, Pass},
		"being deleted":                                       {func(p *audit.Pod) { p.Metadata.DeletionTimestamp = new(time.Unix(0, 0)) }, Pass},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			f.namespaces.value[0].Name = "calico-system"
			pod := cniAgent()
			c.pod(pod)
			pod.Pod.Metadata = pod.Metadata.PodMetadata // as decoding does
			f.bootstrap.value = []audit.Pod{*pod}
			got := judgeBootstrapPods(f, f.inForce())
			if got.status != c.want {
				t.Errorf("%s: %s", got.status, got.found)
			}
			if got.status != Pass && (!strings.Contains(got.found, "DaemonSet cni-node ") || !strings.Contains(got.found, testHost)) {
				t.Errorf("says %s", got.found)
			}
		})
	}
}

func useNone(p *audit.Pod, servers ...string) {
	p.Spec.DNSPolicy, p.Spec.DNSConfig = "None", &policy.DNSConfig{Nameservers: servers}
}

func asDNSPod(p *audit.Pod) {
	p.Spec.HostNetwork, p.Spec.DNSPolicy, p.Spec.PriorityClassName = false, "Default", "system-cluster-critical"
	p.Metadata.Labels = map[string]string{"k8s-app": "kube-dns"}
}

// A DaemonSet has a pod on every node: they are one line. What cannot be read or is not known is unknown.
func TestPodsThatDNSWaitsForAreGrouped(t *testing.T) {
	t.Parallel()
	f := healthyFacts(t, newIssuer(t))
	for i := range 5 {
		pod := cniAgent()
		pod.Metadata.Name = fmt.Sprintf("cni-node-%d", 4-i)
		pod.Pod.Metadata = pod.Metadata.PodMetadata
		f.bootstrap.value = append(f.bootstrap.value, *pod)
	}
	got := judgeBootstrapPods(f, f.inForce())
	if want := "5 pods, cni-node-0, cni-node-1, cni-node-2 and 2 more"; len(got.items) > 0 || !strings.HasSuffix(got.found, want) {
		t.Errorf("found %s %q, want %q at its end", got.found, got.items, want)
	}
	if got := judgeBootstrapPods(f, nil); got.status != Unknown {
		t.Errorf("without a policy it is %s", got.status)
	}
	f.bootstrap.err = errors.New("needs list pods")
	if got := judgeBootstrapPods(f, f.inForce()); got.status != Unknown || got.found != "needs list pods" {
		t.Errorf("where pods cannot be read it is %s: %s", got.status, got.found)
	}
}
