// Package podgen draws random pods for property tests.
//
// The promises of Shorthop hold for every pod that the API server accepts, so they are tested with pods that nobody
// would think of writing down: [Pod] combines valid parts and odd values, weighted so that what an admission webhook
// trips over is common. [Full] adds every other field that the API has, and needs a cluster prepared for that. [OddPod]
// leaves validity behind and is for pure code only. [JSON] writes a pod the way people do: with empty lists, nulls and
// fields that this version of the API does not know.
//
// Everything is drawn from the *rand.Rand given, so a seed reproduces a pod:
//
//	pod := podgen.Pod(rand.New(rand.NewPCG(seed, 0)), "shop")
//
// The package knows no other package of Shorthop, so that it can not repeat their mistakes; the few names and formats
// of theirs that it imitates are written out.
//
// # Extending it
//
//  1. Find the file named after the content (dns.go, env.go, ...) and draw the new value there from [gen]. Never range
//     over a map while drawing, and use no other source of randomness.
//  2. Stay inside what ValidatePodCreate (k8s.io/kubernetes, pkg/apis/core/validation) allows. What it forbids belongs
//     to odd.go.
//  3. Add a line to the table in features_test.go, so that the value can not silently go missing again.
//  4. Run the integration test that creates the pods at a real kube-apiserver.
//
// A field that a new version of k8s.io/api brings goes into full.go and the files beside it: TestEveryFieldIsSet names
// it, and test/generated creates the pods at real servers.
package podgen

import (
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pod returns a pod that the API server's validation (v1.36) accepts, drawn from rng. It needs nothing in the
// namespace but the ServiceAccount "default", and a server that allows privileged containers.
func Pod(rng *rand.Rand, namespace string) *corev1.Pod {
	return newGen(rng, namespace).pod()
}

func (g *gen) pod() *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: g.namespace},
	}
	spec := &pod.Spec
	// The order matters: later parts depend on facts that earlier ones leave in g.
	g.metadata(pod)
	g.platform(spec)
	g.lifetime(spec)
	g.identity(spec)
	g.addVolumes(spec)
	g.addContainers(spec)
	g.dns(spec)
	g.names(spec)
	g.scheduling(spec)
	g.podSecurity(spec)
	g.podResources(spec)
	g.annotations(pod) // last, because a forged record names the containers
	return pod
}

// platform draws the operating system and whose network the pod is in.
func (g *gen) platform(spec *corev1.PodSpec) {
	switch g.IntN(20) {
	case 0:
		g.windows = true
		spec.OS = &corev1.PodOS{Name: corev1.Windows}
	case 1: // Windows only by its selector: validation does not know, so Linux fields stay legal.
		spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
	case 2:
		g.windows = true
		spec.OS = &corev1.PodOS{Name: corev1.Windows}
		spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
	case 3, 4:
		spec.OS = &corev1.PodOS{Name: corev1.Linux}
	case 5, 6:
		spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
	}
	g.hostNetwork = g.oneIn(5)
	spec.HostNetwork = g.hostNetwork
}

func (g *gen) lifetime(spec *corev1.PodSpec) {
	spec.RestartPolicy = pick(g, "", corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	if g.oneIn(3) {
		g.gracePeriod = pick[int64](g, 0, 1, 30, 3600)
		spec.TerminationGracePeriodSeconds = new(g.gracePeriod)
	}
	if g.oneIn(10) {
		spec.ActiveDeadlineSeconds = new(pick[int64](g, 1, 600, 1<<31-1))
	}
	if g.oneIn(8) {
		spec.EnableServiceLinks = new(g.flip())
	}
	if g.oneIn(20) {
		spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/ready"}, {ConditionType: "Warm_Up.2"}}
	}
}

func (g *gen) identity(spec *corev1.PodSpec) {
	if g.oneIn(2) {
		spec.ServiceAccountName = "default"
		if g.oneIn(3) {
			spec.DeprecatedServiceAccount = "default"
		}
	}
	if g.oneIn(6) {
		spec.AutomountServiceAccountToken = new(g.flip())
	}
	for range g.rarely(8, 2) {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: g.word() + "-pull"})
	}
}

// names draws what the pod calls itself and others.
func (g *gen) names(spec *corev1.PodSpec) {
	if g.oneIn(6) {
		spec.Hostname = pick(g, "web-0", "a", g.label(63))
	}
	if g.oneIn(6) {
		spec.Subdomain = pick(g, "web", "kubernetes", g.label(40))
	}
	if g.oneIn(12) {
		spec.SetHostnameAsFQDN = new(g.flip())
	}
	for range g.rarely(6, 3) {
		alias := corev1.HostAlias{IP: pick(g, "10.0.0.1", "127.0.0.1", "fd00::1", "::1", "169.254.20.10")}
		for range g.IntN(3) {
			alias.Hostnames = append(alias.Hostnames, pick(g, "kubernetes.default.svc", "api.example.com", g.word()))
		}
		spec.HostAliases = append(spec.HostAliases, alias)
	}
}

// podResources draws resources of the pod as a whole; they must exceed what the containers can add up to.
func (g *gen) podResources(spec *corev1.PodSpec) {
	if g.windows || !g.oneIn(30) {
		return
	}
	spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("4000"),
		corev1.ResourceMemory: resource.MustParse("16Ti"),
	}}
}
