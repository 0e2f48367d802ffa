package podgen

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// scheduling draws where the pod may run: virtual and serverless nodes are common, because Shorthop skips them.
func (g *gen) scheduling(spec *corev1.PodSpec) {
	g.nodeSelector(spec)

	for range g.rarely(4, 3) {
		spec.Tolerations = append(spec.Tolerations, g.toleration())
	}
	spec.SchedulerName = pick(g, "", "", "", "", "", corev1.DefaultSchedulerName, "volcano", "fargate-scheduler")
	if g.oneIn(20) {
		spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/quota"}}
	} else if g.oneIn(20) {
		spec.NodeName = "node-" + g.word()
	}
	if g.oneIn(8) {
		spec.Affinity = g.affinity()
	}
	if g.oneIn(8) {
		spec.TopologySpreadConstraints = g.spread()
	}
}

func (g *gen) nodeSelector(spec *corev1.PodSpec) {
	set := func(key, value string) {
		if spec.NodeSelector == nil {
			spec.NodeSelector = map[string]string{}
		}
		spec.NodeSelector[key] = value
	}
	if g.oneIn(12) {
		set("type", pick(g, "virtual-kubelet", "virtual-node", ""))
	}
	if g.oneIn(10) {
		set("node.kubernetes.io/instance-type", "Large_1.x")
	}
	if g.oneIn(20) {
		set("beta.kubernetes.io/os", pick(g, "linux", "windows"))
	}
}

func (g *gen) toleration() corev1.Toleration {
	switch g.IntN(6) {
	case 0, 1:
		return corev1.Toleration{Key: "virtual-kubelet.io/provider", Operator: corev1.TolerationOpExists}
	case 2:
		return corev1.Toleration{Key: "virtual-kubelet.io/provider", Value: pick(g, "alibabacloud", "azure", ""), Effect: corev1.TaintEffectNoSchedule}
	case 3:
		return corev1.Toleration{Operator: corev1.TolerationOpExists}
	case 4:
		return corev1.Toleration{
			Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists,
			Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(pick[int64](g, -1, 0, 300)),
		}
	default:
		return corev1.Toleration{Key: "os", Operator: corev1.TolerationOpEqual, Value: "windows", Effect: corev1.TaintEffectPreferNoSchedule}
	}
}

func (g *gen) affinity() *corev1.Affinity {
	a := &corev1.Affinity{}
	if g.flip() {
		about := pick(g, [2]string{corev1.LabelOSStable, "windows"}, [2]string{"type", "virtual-kubelet"}, [2]string{"zone", "a"})
		terms := []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{
				Key: about[0], Operator: pick(g, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn), Values: []string{about[1]},
			}},
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node-1"}}},
		}}
		if g.oneIn(3) {
			terms = append(terms, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpExists}}})
		}
		a.NodeAffinity = &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
				Weight:     100,
				Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpExists}}},
			}},
		}
	}
	term := corev1.PodAffinityTerm{LabelSelector: g.selector(), TopologyKey: corev1.LabelHostname}
	if g.flip() {
		a.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}
	}
	if g.flip() {
		term.NamespaceSelector = &metav1.LabelSelector{}
		a.PodAffinity = &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term}}}
	}
	return a
}

func (g *gen) spread() []corev1.TopologySpreadConstraint {
	c := corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: g.selector(),
		MinDomains: pick(g, nil, new(int32(2))),
	}
	if g.hashLabel && c.LabelSelector != nil {
		c.MatchLabelKeys = []string{podTemplateHash}
	}
	return []corev1.TopologySpreadConstraint{c, {
		MaxSkew: 5, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, NodeTaintsPolicy: pick(g, nil, new(corev1.NodeInclusionPolicyHonor)),
	}}
}

func (g *gen) selector() *metav1.LabelSelector {
	return pick(g, nil, &metav1.LabelSelector{}, &metav1.LabelSelector{
		MatchLabels:      map[string]string{"app": "web"},
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "shorthop.dev/inject", Operator: metav1.LabelSelectorOpDoesNotExist}},
	})
}
