package policy_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

func metaName(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

// adviceCase is one combination of all that has a say in whether a pod gets
// advice.
type adviceCase struct {
	mode, disabled, rule, advice, podLabel, namespaceLabel, podNdots, namespaceNdots, own, known string
	labelled                                                                                     bool
}

// The policy's own values, and those of advice where it has any.
const (
	ndotsOfPolicy, ndotsOfRule, ndotsOfPod, ndotsOfNamespace = 4, 3, 1, 5
	throughOfPolicy, throughOfRule                           = 3, 4
)

// knownAdvice is what there may be: the value of ndots and of fallthrough, the
// confidence, whether the images and commands are those that were seen, and what
// a name needs of each.
var knownAdvice = map[string]struct {
	ndots, through, needed, neededThrough int32
	confidence                            policy.Confidence
	saw                                   bool
}{
	"high":                            {3, 2, 3, 2, policy.ConfidenceHigh, true},
	"high, of another image":          {3, 2, 3, 2, policy.ConfidenceHigh, false},
	"medium":                          {3, 2, 0, 0, policy.ConfidenceMedium, true},
	"too little was seen":             {0, 0, 3, 2, "", true},
	"a raise without confidence":      {0, 0, 5, 0, "", false},
	"a raise of fallthrough alone":    {0, 0, 2, 4, "", false},
	"the cheapest is above the need":  {3, 5, 3, 4, policy.ConfidenceHigh, true},
	"below the floor":                 {1, 1, 0, 0, policy.ConfidenceHigh, true},
	"a raise that the floor is above": {0, 0, 0, 0, "", true},
}

func (c *adviceCase) policy() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  mode: %s\n  dns: {ndots: %d, fallthrough: {ndots: %d}, advice: %s}\n", header, c.mode, ndotsOfPolicy, throughOfPolicy, c.advice)
	b.WriteString("  resolvers: [{images: [\"registry.example.com/*\"], resolver: glibc}]\n")
	if c.disabled != "" {
		fmt.Fprintf(&b, "  disabledFeatures: [%s]\n", c.disabled)
	}
	if c.rule != "" {
		fmt.Fprintf(&b, "  rules: [{name: r, %s}]\n", c.rule)
	}
	return b.String()
}

func (c *adviceCase) request() *policy.Request {
	r := ordinaryRequest()
	r.Gates = nil
	if c.podLabel != "" {
		r.Pod.Metadata.Labels[policy.LabelDNS] = c.podLabel
	}
	if c.labelled {
		r.Pod.Metadata.Labels[policy.LabelWorkload] = "web"
	}
	r.NamespaceLabels = maps.Clone(r.NamespaceLabels)
	if c.namespaceLabel != "" {
		r.NamespaceLabels[policy.LabelInject] = c.namespaceLabel
	}
	if c.podNdots != "" {
		r.Pod.Metadata.Annotations[policy.AnnotationNdots] = c.podNdots
	}
	if c.namespaceNdots != "" {
		r.NamespaceAnnotations = map[string]string{policy.AnnotationNdots: c.namespaceNdots}
	}
	switch c.own {
	case "ndots":
		r.Pod.Spec.DNSConfig = &policy.DNSConfig{Options: []policy.DNSOption{{Name: "ndots", Value: new("2")}}}
	case "searches":
		r.Pod.Spec.DNSConfig = &policy.DNSConfig{Searches: []string{"corp.example.com"}}
	}
	return r
}

func (c *adviceCase) document(t *testing.T) *policy.Advice {
	known, ok := knownAdvice[c.known]
	if !ok {
		return nil
	}
	w := policy.AdvisedWorkload{
		Namespace: "shop", Kind: "Deployment", Name: "web", Confidence: known.confidence,
		Needed: map[string]policy.Date{}, FallthroughNeeded: map[string]policy.Date{},
		References: []policy.AdviceReference{{Image: "registry.example.com/proxy:1"}},
	}
	if c.labelled {
		w.Kind = "Workload"
	}
	if known.ndots > 0 {
		w.Ndots, w.Fallthrough = &known.ndots, &known.through
	}
	if known.saw {
		w.References = append(w.References, policy.AdviceReference{Image: "registry.example.com/web:1"})
	}
	for n, into := range map[int32]map[string]policy.Date{known.needed: w.Needed, -known.neededThrough: w.FallthroughNeeded} {
		if n != 0 {
			into[strconv.Itoa(int(max(n, -n)))] = "2026-11-29"
		}
	}
	a, err := policy.CompileAdvice(&policy.DNSAdvice{Metadata: metaName("default"), Spec: policy.AdviceSpec{Workloads: []policy.AdvisedWorkload{w}}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// want is the reason, and what the pod's resolv.conf and RES_OPTIONS are to be
// made from, as the table in advice.go has it; 0 for what advice leaves alone.
func (c *adviceCase) want() (reason policy.Reason, ndots, through int32) {
	switch {
	case c.mode == "Off" || c.rule == ruleOff:
		return policy.ReasonModeOff, 0, 0
	case c.disabled == "DNS":
		return policy.ReasonFeatureDisabled, 0, 0
	case c.podLabel == "disabled":
		return policy.ReasonDisabledByPodLabel, 0, 0
	case c.podLabel == "" && c.namespaceLabel == "disabled":
		return policy.ReasonNamespaceClosed, 0, 0
	case c.advice == "Ignore" || c.rule == ruleIgnore:
		return policy.ReasonNotConfigured, 0, 0
	case c.podNdots != "" || c.namespaceNdots != "" || c.rule == ruleNdots || c.own == "ndots":
		return policy.ReasonNdotsSet, 0, 0
	case c.own == "searches":
		return policy.ReasonOwnSearches, 0, 0
	case c.known == "":
		return policy.ReasonAdviceNone, 0, 0
	}
	known := knownAdvice[c.known]
	trusted := known.confidence == policy.ConfidenceHigh || known.confidence == policy.ConfidenceMedium && c.rule == ruleMedium
	const floor = policy.DefaultAdviceFloor
	switch {
	case known.needed > ndotsOfPolicy:
		ndots = known.needed
	case trusted && known.saw && known.ndots > 0:
		ndots = max(known.ndots, floor)
	}
	switch {
	case c.rule == ruleFallthrough:
	case trusted && known.through > 0:
		through = max(known.through, floor)
	case known.neededThrough > throughOfPolicy:
		through = known.neededThrough
	}
	switch {
	case ndots > 0 || through > 0 && known.saw:
		return policy.ReasonAdvised, ndots, through
	case through > 0:
		return policy.ReasonAdvisedFallthrough, ndots, through
	}
	return policy.ReasonAdviceLow, 0, 0
}

// Rules that a pod may have.
var (
	ruleNdots       = fmt.Sprintf("dns: {ndots: %d}", ndotsOfRule)
	ruleFallthrough = fmt.Sprintf("dns: {fallthrough: {ndots: %d}}", throughOfRule)
)

const (
	ruleOff    = "mode: Off"
	ruleDry    = "mode: DryRun"
	ruleIgnore = "dns: {advice: Ignore}"
	ruleMedium = "dns: {minConfidence: medium}"
)

// TestWhoIsStrongerThanAdvice goes through every combination of kill switch,
// disabled feature, labels, annotations, rules, and the pod's own settings, with
// all that may be known: the stronger one decides as if there were no advice.
func TestWhoIsStrongerThanAdvice(t *testing.T) {
	t.Parallel()
	compiled := map[string]*policy.Compiled{}
	documents := map[string]*policy.Advice{}
	n := 0
	check := func(c adviceCase) {
		n++
		text := c.policy()
		if compiled[text] == nil {
			compiled[text] = compile(t, text)
		}
		if _, known := documents[c.known]; !known {
			documents[c.known] = c.document(t)
		}
		r := c.request()
		without := compiled[text].Decide(r)
		r.Advice = documents[c.known]
		with := compiled[text].Decide(r)
		reason, ndots, through := c.want()
		if with.Advice.Reason != reason || with.Advice.Ndots != ndots {
			t.Fatalf("%+v: got %+v, want %s and ndots %d", c, with.Advice, reason, ndots)
		}
		if with.Advice.Fallthrough != through && with.Advice.Injects() {
			t.Fatalf("%+v: got %+v, want fallthrough %d", c, with.Advice, through)
		}
		if (reason == policy.ReasonAdvised || reason == policy.ReasonAdvisedFallthrough && with.Fallthrough.Injects()) != with.Advice.Injects() {
			t.Fatalf("%+v: got %+v", c, with.Advice)
		}
		if ndots == 0 && through == 0 {
			without.Advice = with.Advice
			if diff := cmp.Diff(without, with); diff != "" {
				t.Fatalf("%+v: advice changes what it must not (-without +with):\n%s", c, diff)
			}
			return
		}
		file, env := int32(ndotsOfPolicy), int32(throughOfPolicy)
		if ndots > 0 {
			file = ndots
		}
		if through > 0 {
			env = through
		} else if c.rule == ruleFallthrough {
			env = throughOfRule
		}
		if got := with.DNS.Options[0]; got.Value != strconv.Itoa(int(file)) {
			t.Fatalf("%+v: resolv.conf has %s, want %d", c, got, file)
		}
		if with.Fallthrough.Injects() != (env < file) || with.Fallthrough.Injects() && with.Fallthrough.Ndots != env {
			t.Fatalf("%+v: fallthrough is %+v, want %d below %d", c, with.Fallthrough, env, file)
		}
	}
	each := func(values []string, then func(string)) {
		for _, value := range values {
			then(value)
		}
	}
	known := []string{""}
	for name := range knownAdvice {
		known = append(known, name)
	}
	each([]string{"Enforce", "DryRun", "Off"}, func(mode string) {
		each([]string{"", "DNS", "ServiceHost"}, func(disabled string) {
			each([]string{"", ruleNdots, ruleFallthrough, ruleOff, ruleDry, ruleIgnore, ruleMedium}, func(rule string) {
				each([]string{"Apply", "Ignore"}, func(advice string) {
					each([]string{"", "enabled", "disabled"}, func(podLabel string) {
						each([]string{"", "disabled"}, func(namespaceLabel string) {
							each([]string{"", strconv.Itoa(ndotsOfPod)}, func(podNdots string) {
								each([]string{"", strconv.Itoa(ndotsOfNamespace)}, func(namespaceNdots string) {
									each([]string{"", "ndots", "searches"}, func(own string) {
										each(known, func(known string) {
											check(adviceCase{mode: mode, disabled: disabled, rule: rule, advice: advice, podLabel: podLabel, namespaceLabel: namespaceLabel, podNdots: podNdots, namespaceNdots: namespaceNdots, own: own, known: known})
										})
									})
								})
							})
						})
					})
				})
			})
		})
	})
	t.Logf("%d combinations", n)
}

// A label that names the workload is a tenant's word, as an annotation is.
func TestAdviceOfALabelledWorkloadNeedsTheRightToTune(t *testing.T) {
	t.Parallel()
	for allowed, want := range map[string]policy.Reason{"ndots": policy.ReasonAdvised, "mode": policy.ReasonAdviceNone} {
		c := adviceCase{labelled: true, known: "high"}
		r := c.request()
		r.Advice = c.document(t)
		compiled := compile(t, header+"  dns: {advice: Apply}\n  podOverrides: {allowed: ["+allowed+"]}\n")
		if got := compiled.Decide(r).Advice.Reason; got != want {
			t.Errorf("podOverrides %s: got %s, want %s", allowed, got, want)
		}
	}
}

// The ndots of advice holds for what was seen, and for nothing else.
func TestForWhichPodsNdotsOfAdviceHolds(t *testing.T) {
	t.Parallel()
	w := policy.AdvisedWorkload{
		Namespace: "shop", Kind: "Deployment", Name: "web", Ndots: new(int32(2)), Fallthrough: new(int32(2)), Confidence: policy.ConfidenceHigh,
		References: []policy.AdviceReference{
			{Image: "registry.example.com/web:1", Command: policy.CommandLine(policy.DigestOf([]string{"serve"}), policy.DigestOf([]string{"--fast"}))},
			{Image: "registry.example.com/proxy:1"},
		},
	}
	a, err := policy.CompileAdvice(&policy.DNSAdvice{Spec: policy.AdviceSpec{Workloads: []policy.AdvisedWorkload{w}}})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change                func(*policy.PodSpec)
		reference, repository bool
	}{
		"the same":           {func(*policy.PodSpec) {}, true, true},
		"another tag":        {func(s *policy.PodSpec) { s.Containers[0].Image = "registry.example.com/web:2" }, false, true},
		"a digest":           {func(s *policy.PodSpec) { s.Containers[0].Image += "@sha256:0123" }, false, true},
		"another repository": {func(s *policy.PodSpec) { s.Containers[0].Image = "registry.example.com/webb:1" }, false, false},
		"another command":    {func(s *policy.PodSpec) { s.Containers[0].Command = policy.DigestOf([]string{"work"}) }, false, false},
		"another argument":   {func(s *policy.PodSpec) { s.Containers[0].Args = 0 }, false, false},
		"a sidecar that was not there": {func(s *policy.PodSpec) {
			s.InitContainers = []policy.Container{{Name: "new", Image: "registry.example.com/new:1"}}
		}, false, false},
		"without one that was":   {func(s *policy.PodSpec) { s.Containers = s.Containers[:1] }, true, true},
		"the images exchanged":   {func(s *policy.PodSpec) { s.Containers[1].Image = "registry.example.com/web:1" }, false, false},
		"with no container left": {func(s *policy.PodSpec) { s.Containers = nil }, false, false},
	}
	for name, c := range cases {
		for match, want := range map[policy.AdviceMatch]bool{policy.AdviceMatchReference: c.reference, policy.AdviceMatchRepository: c.repository} {
			r := ordinaryRequest()
			r.Pod.Spec.Containers[0].Command, r.Pod.Spec.Containers[0].Args = policy.DigestOf([]string{"serve"}), policy.DigestOf([]string{"--fast"})
			c.change(&r.Pod.Spec)
			r.Advice = a
			d := compile(t, header+"  dns: {advice: Apply}\n  advice: {match: "+string(match)+"}\n").Decide(r)
			if got := d.Advice.Reason == policy.ReasonAdvised && d.Advice.Ndots == 2; got != want {
				t.Errorf("%s under %s: %+v", name, match, d.Advice)
			}
		}
	}
}
