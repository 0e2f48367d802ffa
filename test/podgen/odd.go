package podgen

import (
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// OddPod returns a pod as pure code must bear it, though no API server would accept it or let it reach a webhook:
// JSON-pointer characters and Unicode in keys, limits exceeded, values that no version knows, mirror pods, pods with
// ephemeral containers and status. It is valid JSON, and that is all.
func OddPod(rng *rand.Rand) *corev1.Pod {
	g := newGen(rng, pick(&gen{Rand: rng}, "default", "", "UPPER~1/"))
	pod := Pod(rng, g.namespace)
	for range g.between(1, 6) {
		pick(g, g.oddMetadata, g.oddDNS, g.oddContainers, g.oddEnv, g.oddSpec)(pod)
	}
	return pod
}

func (g *gen) oddMetadata(pod *corev1.Pod) {
	odd := func(m map[string]string) map[string]string {
		if m == nil {
			m = map[string]string{}
		}
		for range g.between(1, 4) {
			m[pick(g, "~", "~1", "~0", "~01", "/", "//", "a/b/c~d", "", " ", "ключ/ü", "-", "0", "\"quoted\"", `back\slash`, "nul\u0000", "shorthop.dev~1injected", "shorthop.dev/")] = pick(g,
				"", "enabled", "~1", "\u2028", strings.Repeat("x", 100))
		}
		return m
	}
	switch g.IntN(6) {
	case 0:
		pod.Labels = odd(pod.Labels)
	case 1:
		pod.Annotations = odd(pod.Annotations)
	case 2: // the kubelet's copy of a static pod
		pod.Annotations = odd(pod.Annotations)
		pod.Annotations["kubernetes.io/config.mirror"] = pick(g, "", "0123456789abcdef")
	case 3: // over the limit
		pod.Annotations = odd(pod.Annotations)
		pod.Annotations["padding"] = strings.Repeat("p", maxAnnotationBytes+g.IntN(1000))
	case 4:
		pod.Name, pod.GenerateName = "", ""
	case 5:
		for i := range pod.OwnerReferences {
			pod.OwnerReferences[i].Controller = new(true) // several in charge
			pod.OwnerReferences[i].Name = pick(g, "", "-", "-12345678", pod.Labels[podTemplateHash])
		}
	}
}

func (g *gen) oddDNS(pod *corev1.Pod) {
	spec := &pod.Spec
	switch g.IntN(6) {
	case 0:
		spec.DNSPolicy = pick[corev1.DNSPolicy](g, "Bogus", "clusterfirst", " ")
	case 1:
		spec.DNSPolicy, spec.DNSConfig = corev1.DNSNone, pick(g, nil, &corev1.PodDNSConfig{})
	case 2:
		spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: g.nameservers(g.between(4, 10))}
	case 3:
		spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{pick(g, "", "banana", "010.0.0.1", "10.0.0.10:53", "[fd00::a]", "fe80::1%eth0")}}
	case 4:
		spec.DNSConfig = &corev1.PodDNSConfig{}
		for range g.between(33, 200) {
			spec.DNSConfig.Searches = append(spec.DNSConfig.Searches, pick(g, "", " ", "UPPER.example.com", g.domain(300), g.search()))
		}
	case 5:
		spec.DNSConfig = &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{}, {Value: new("1")}, g.dnsOption(), {Name: ""}}}
	}
}

func (g *gen) oddContainers(pod *corev1.Pod) {
	spec := &pod.Spec
	switch g.IntN(5) {
	case 0:
		spec.Containers = nil
	case 1: // one name for all
		for i := range spec.Containers {
			spec.Containers[i].Name = pick(g, "app", "")
		}
		for i := range spec.InitContainers {
			spec.InitContainers[i].Name = "app"
		}
	case 2:
		spec.Containers = append(spec.Containers, corev1.Container{}, corev1.Container{Name: "~1/ü"})
	case 3:
		for i := range g.between(1, 3) {
			c := g.container("debug-" + g.text(1+i))
			spec.EphemeralContainers = append(spec.EphemeralContainers, corev1.EphemeralContainer{
				EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: c.Name, Image: c.Image, Env: c.Env, EnvFrom: c.EnvFrom},
				TargetContainerName:      pick(g, "", "app-0"),
			})
		}
	case 4:
		for range 500 {
			spec.Containers = append(spec.Containers, corev1.Container{Name: g.word()})
		}
	}
}

func (g *gen) oddEnv(pod *corev1.Pod) {
	lists := [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers}
	for _, containers := range lists {
		for i := range containers {
			c := &containers[i]
			switch g.IntN(5) {
			case 0:
				c.Env = append(c.Env, corev1.EnvVar{}, corev1.EnvVar{Value: "nameless"})
			case 1: // a value and a source, and a source of nothing
				c.Env = append(c.Env, corev1.EnvVar{Name: serviceHost, Value: "x", ValueFrom: &corev1.EnvVarSource{}})
			case 2:
				c.Env = append(c.Env, corev1.EnvVar{Name: "A=B"}, corev1.EnvVar{Name: "ключ", Value: "\u0000"})
			}
		}
	}
}

func (g *gen) oddSpec(pod *corev1.Pod) {
	spec := &pod.Spec
	switch g.IntN(6) {
	case 0:
		spec.RuntimeClassName = new(pick(g, "gvisor", "virtual-kubelet", "kata-fc", ""))
	case 1:
		spec.PriorityClassName = pick(g, "system-node-critical", "system-cluster-critical", "no-such-class")
		spec.Priority = new(int32(2_000_000_000))
	case 2:
		spec.OS = &corev1.PodOS{Name: pick[corev1.OSName](g, "", "plan9", "Windows")}
	case 3: // a pod that is running already
		pod.UID, pod.ResourceVersion = "6f0d2b1c-0000-4000-8000-000000000000", "12345"
		spec.NodeName = "node-1"
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "192.0.2.1", PodIP: "10.1.2.3"}
	case 4:
		spec.HostNetwork, spec.DNSPolicy = true, corev1.DNSNone
	case 5:
		*spec = corev1.PodSpec{}
	}
}
