package podgen

import (
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The class that full pods name, of both kinds.
const (
	class         = "generated"
	classPriority = 1000
)

// Classes returns what pods of [Full] need in the cluster.
func Classes() (*nodev1.RuntimeClass, *schedulingv1.PriorityClass) {
	return &nodev1.RuntimeClass{
			ObjectMeta: metav1.ObjectMeta{Name: class}, Handler: "generated",
			Overhead: &nodev1.Overhead{PodFixed: classOverhead()},
		}, &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: class}, Value: classPriority,
			PreemptionPolicy: new(corev1.PreemptNever),
		}
}

func classOverhead() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
}

// Full returns a pod as [Pod] does, to which it adds values for all other fields that its author can set: see [Fields]
// and [Unsettable]. The API servers of v1.36 and v1.37 accept it, whatever their feature gates are, if the cluster has
// what [Classes] returns. An older server may refuse what it knows under stricter rules.
func Full(rng *rand.Rand, namespace string) *corev1.Pod {
	g := newGen(rng, namespace)
	pod := g.pod()
	g.fillVolumes(pod)
	g.fillPod(&pod.Spec)
	for i := range pod.Spec.InitContainers {
		g.fillContainer(pod, &pod.Spec.InitContainers[i], false)
	}
	for i := range pod.Spec.Containers {
		g.fillContainer(pod, &pod.Spec.Containers[i], true)
	}
	return pod
}

// EphemeralContainer returns a container that can be added to the pod while it runs, with values for all fields that
// such a container may have. The name is its own.
func EphemeralContainer(rng *rand.Rand, pod *corev1.Pod, name string) corev1.EphemeralContainer {
	g := newGen(rng, pod.Namespace)
	g.windows = pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows
	for i := range pod.Spec.Volumes {
		g.volumes = append(g.volumes, pod.Spec.Volumes[i].Name)
	}
	c := g.container(name)
	g.fillContainer(pod, &c, false)
	c.Ports, c.Resources, c.ResizePolicy = nil, corev1.ResourceRequirements{}, nil // such containers cannot have them
	for i := range c.VolumeMounts {
		c.VolumeMounts[i].SubPath, c.VolumeMounts[i].SubPathExpr = "", ""
	}
	return corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon(c),
		TargetContainerName:      pick(g, "", pod.Spec.Containers[0].Name),
	}
}

// hostUsers reports whether the pod is in the host's user namespace.
func hostUsers(spec *corev1.PodSpec) bool { return spec.HostUsers == nil || *spec.HostUsers }

// fillPod draws what concerns the pod as a whole.
func (g *gen) fillPod(spec *corev1.PodSpec) {
	if g.oneIn(4) {
		spec.Affinity = g.fullAffinity()
	}
	if g.oneIn(4) {
		spec.TopologySpreadConstraints = append(spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
			MaxSkew: 2, TopologyKey: "example.com/rack", WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: fullSelector(),
			MinDomains: new(int32(3)), MatchLabelKeys: []string{"example.com/absent"},
			NodeAffinityPolicy: new(pick(g, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)),
			NodeTaintsPolicy:   new(corev1.NodeInclusionPolicyHonor),
		})
	}
	g.classes(spec)
	if !g.hostNetwork && (spec.SetHostnameAsFQDN == nil || !*spec.SetHostnameAsFQDN) && g.oneIn(6) {
		spec.HostnameOverride = new(pick(g, "web", "a.b-c.example.com", g.label(63)))
	}
	if g.oneIn(4) {
		spec.ResourceClaims = []corev1.PodResourceClaim{
			{Name: "own", ResourceClaimName: new("gpu-0")},
			{Name: "template", ResourceClaimTemplateName: new("gpu.example.com")},
		}
	}
	if spec.Resources != nil {
		spec.Resources.Requests = spec.Resources.Limits.DeepCopy()
	}
	switch g.IntN(8) {
	case 0:
		spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("training-0")}
	case 1:
		spec.EvictionResponders = []corev1.EvictionResponder{
			{Name: "example.com/drain", Priority: new(int32(10_000))}, {Name: "storage.example.com/detach", Priority: new(int32(1000))},
		}
	}
	g.fillPodSecurity(spec)
}

// classes draws the runtime and the priority. What a class says, the pod may say as well, but nothing else.
func (g *gen) classes(spec *corev1.PodSpec) {
	if g.oneIn(6) {
		spec.RuntimeClassName = new(class)
		if g.flip() {
			spec.Overhead = classOverhead()
		}
	}
	priority, preemption := int32(0), corev1.PreemptLowerPriority
	if g.oneIn(6) {
		spec.PriorityClassName, priority, preemption = class, classPriority, corev1.PreemptNever
	}
	if g.oneIn(6) {
		spec.Priority = new(priority)
	}
	if g.oneIn(6) {
		spec.PreemptionPolicy = new(preemption)
	}
}

func fullSelector() *metav1.LabelSelector {
	return &metav1.LabelSelector{
		MatchLabels:      map[string]string{"app": "web"},
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []string{"front", "back"}}},
	}
}

func (g *gen) fullAffinity() *corev1.Affinity {
	nodes := corev1.NodeSelectorTerm{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "example.com/cores", Operator: pick(g, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt), Values: []string{"8"}}},
		MatchFields:      []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"node-1"}}},
	}
	term := corev1.PodAffinityTerm{
		LabelSelector: fullSelector(), NamespaceSelector: fullSelector(), Namespaces: []string{"shop", "default"}, TopologyKey: corev1.LabelTopologyZone,
		MatchLabelKeys: []string{"example.com/absent"}, MismatchLabelKeys: []string{"example.com/tenant"},
	}
	required, preferred := []corev1.PodAffinityTerm{term}, []corev1.WeightedPodAffinityTerm{{Weight: 7, PodAffinityTerm: term}}
	return &corev1.Affinity{
		NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution:  &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{nodes}},
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 3, Preference: nodes}},
		},
		PodAffinity:     &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required, PreferredDuringSchedulingIgnoredDuringExecution: preferred},
		PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required, PreferredDuringSchedulingIgnoredDuringExecution: preferred},
	}
}

func seLinux() *corev1.SELinuxOptions {
	return &corev1.SELinuxOptions{User: "system_u", Role: "system_r", Type: "container_t", Level: "s0:c123,c456"}
}

// windowsOptions has hostProcess, which all containers of a pod must agree on.
func windowsOptions(hostProcess bool) *corev1.WindowsSecurityContextOptions {
	return &corev1.WindowsSecurityContextOptions{
		GMSACredentialSpecName: new("webapp.example.com"), GMSACredentialSpec: new(`{"CmsPlugins":["ActiveDirectory"]}`),
		RunAsUserName: new(`EXAMPLE\web`), HostProcess: new(hostProcess),
	}
}

func (g *gen) fillPodSecurity(spec *corev1.PodSpec) {
	if !g.oneIn(3) {
		return
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	sc := spec.SecurityContext
	if g.windows {
		sc.WindowsOptions = windowsOptions(g.hostNetwork)
		return
	}
	sc.SELinuxOptions = pick(g, nil, seLinux())
	sc.RunAsGroup = pick(g, nil, new(int64(0)), new(int64(3000)))
	sc.RunAsNonRoot = g.optional()
	sc.SupplementalGroupsPolicy = pick(g, nil, new(corev1.SupplementalGroupsPolicyMerge), new(corev1.SupplementalGroupsPolicyStrict))
	sc.FSGroupChangePolicy = pick(g, nil, new(corev1.FSGroupChangeOnRootMismatch), new(corev1.FSGroupChangeAlways))
	sc.SELinuxChangePolicy = pick(g, nil, new(corev1.SELinuxChangePolicyRecursive))
	sc.SeccompProfile = pick(g, nil, &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("profiles/shop.json")})
	sc.AppArmorProfile = pick(g, nil, &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: new("shop")})
}

// pvcName is what the claim of an ephemeral volume would be called, which is limited like any name.
func pvcName(pod *corev1.Pod, volume string) string {
	return strings.Join([]string{pod.Name, volume}, "-")
}
