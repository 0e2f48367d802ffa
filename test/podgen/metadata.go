package podgen

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const podTemplateHash = "pod-template-hash"

// metadata draws everything of the pod's metadata but the annotations.
func (g *gen) metadata(pod *corev1.Pod) {
	pod.Labels = g.labels()
	g.owners(pod)
	for range g.rarely(15, 2) {
		pod.Finalizers = append(pod.Finalizers, "example.com/"+g.word())
	}
}

// labels draws opt-in and opt-out labels in all spellings, and labels of others.
func (g *gen) labels() map[string]string {
	if g.oneIn(6) {
		return pick(g, nil, map[string]string{})
	}
	labels := g.switches()
	if g.oneIn(12) {
		labels["shorthop.dev/pinned"] = pick(g, "node-local", "", "no")
	}
	if g.oneIn(12) {
		labels[pick(g, "eks.amazonaws.com/fargate-profile", "alibabacloud.com/eci", "eci", "virtual-node")] = "true"
	}
	if g.oneIn(20) {
		labels[pick(g, "k8s-app", "app.kubernetes.io/name")] = pick(g, "kube-dns", "coredns", "node-local-dns", "not-dns")
	}
	for range g.IntN(3) {
		labels[g.key()] = pick(g, "", "web", "A.b_c-9", g.text(63))
	}
	return labels
}

// switches draws the labels that turn Shorthop on and off, for a pod or a namespace.
func (g *gen) switches() map[string]string {
	labels := map[string]string{}
	for _, key := range []string{
		"shorthop.dev/inject", "shorthop.dev/service-host", "shorthop.dev/dns",
		"apiserver-proxy.networking.gardener.cloud/inject", "node-local-dns-injection", "localdns-injector",
	} {
		if g.oneIn(7) {
			labels[key] = pick(g, "enabled", "enabled", "disabled", "disabled", "enable", "disable", "true", "false",
				"", "Enabled", "yes", "0", "disabled.x", "NodeLocal")
		}
	}
	if g.oneIn(30) { // aliases that contradict each other
		labels["node-local-dns-injection"], labels["localdns-injector"] = pick(g, "enabled", "disabled"), pick(g, "enabled", "disabled")
	}
	return labels
}

// key draws a key for a label or an annotation: legal, and still something to escape in a JSON pointer.
func (g *gen) key() string {
	return pick(g, "app", "app.kubernetes.io/name", "a/b", "UPPER_lower.9-z", "example.com/UPPER_lower", g.domain(253)+"/"+g.label(63), "0", g.word())
}

// owners draws who made the pod, and with it the pod's name.
func (g *gen) owners(pod *corev1.Pod) {
	own := func(apiVersion, kind, name string, controller *bool) {
		pod.OwnerReferences = append(pod.OwnerReferences, metav1.OwnerReference{
			APIVersion: apiVersion, Kind: kind, Name: name,
			UID:        types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", g.Uint32(), g.Uint32())),
			Controller: controller, BlockOwnerDeletion: g.optional(),
		})
	}
	label := func(key, value string) {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[key] = value
		g.hashLabel = g.hashLabel || key == podTemplateHash
	}
	// A suffix keeps pods apart that are really created in one namespace.
	suffix := fmt.Sprintf("%08x", g.Uint32())
	hash := g.label(9)

	switch g.IntN(10) {
	case 0, 1: // Deployment
		name := pick(g, "web", "web-7", g.label(40)) + "-" + hash
		own("apps/v1", "ReplicaSet", name, new(true))
		label(podTemplateHash, hash)
		pod.GenerateName = name + "-"
	case 2: // a ReplicaSet of its own, or one whose label belongs to another
		own("apps/v1", "ReplicaSet", "lonely-"+hash, new(true))
		if g.flip() {
			label(podTemplateHash, "other")
		}
		pod.GenerateName = "lonely-" + hash + "-"
	case 3: // CronJob
		job := fmt.Sprintf("fetch-%08d", g.between(0, 99_999_999))
		own("batch/v1", "Job", job, new(true))
		label("batch.kubernetes.io/job-name", job)
		pod.GenerateName = job + "-"
	case 4: // a Job that has nearly the name of a CronJob's
		job := pick(g, "import", "import-1234567", "import-123456789", "12345678", "-12345678x")
		own("batch/v1", "Job", job, new(true))
		pod.GenerateName = "import-"
	case 5:
		own("apps/v1", "StatefulSet", "db", new(true))
		pod.Name = "db-" + suffix
		label("apps.kubernetes.io/pod-index", "0")
	case 6: // several
		own("apps/v1", "DaemonSet", "agent", pick(g, nil, new(false)))
		own("example.com/v1alpha1", "Crawler", "Upper.Case~/name", new(true))
		own("v1", "ConfigMap", "settings", new(false))
		pod.GenerateName = "agent-"
	case 7: // none of them in charge
		own("v1", "Node", "node-1", nil)
		own("apps/v1", "ReplicaSet", "web-"+hash, new(false))
		pod.Name = "node-1-" + suffix
	case 8:
		pod.GenerateName = pick(g, "run-", "run", g.domain(200)+"-")
	default:
		pod.Name = pick(g, "pod-", "a.b.c-", g.domain(240)+"-") + suffix
	}
}
