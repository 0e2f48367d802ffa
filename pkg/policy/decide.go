package policy

import "hash/fnv"

// Operation is what the API server is about to do.
type Operation string

const (
	// OperationCreatePod is CREATE of pods.
	OperationCreatePod Operation = "create_pod"
	// OperationAddEphemeralContainer is UPDATE of pods/ephemeralcontainers.
	OperationAddEphemeralContainer Operation = "add_ephemeral_container"
	// OperationOther is anything else. It is never patched: most of a pod
	// cannot be changed, and a patch would make the request fail.
	OperationOther Operation = "other"
)

// Request holds the facts of one admission request.
type Request struct {
	Operation Operation
	// Namespace is the request's namespace, not the object's, which a client
	// may leave out.
	Namespace string
	// NamespaceLabels are the labels of that namespace. They mean nothing
	// unless NamespaceKnown is true.
	NamespaceLabels map[string]string
	// NamespaceAnnotations are those of the namespace's annotations that tune
	// DNS (NamespaceAnnotations), as far as they are known.
	NamespaceAnnotations map[string]string
	// NamespaceKnown is false where the namespace could not be read.
	NamespaceKnown bool
	// Pod is the pod as the user wrote it: what an earlier review by Shorthop
	// added must have been taken out (mutate.Undo).
	Pod *Pod
	// OldPod is the pod before an update, nil on creation.
	OldPod *Pod
	// Running is the pod with what earlier reviews added, as it runs where it gets a
	// new ephemeral container, which is what it is read for. Defaults to Pod.
	Running *Pod
	// ObjectSize is the size of the pod in bytes of JSON, 0 if not known.
	ObjectSize int
	// Gates are the health gates. nil means that nothing is probed, as in offline
	// commands, and that all are open.
	Gates *Gates
	// Discovered is what is known of the cluster's DNS besides what the policy says;
	// nil where nothing is.
	Discovered *Discovered
	// Advice is the advice in force; nil where there is none.
	Advice *Advice

	// waived are reasons that Decide passes over: see Besides.
	waived []Reason
}

// Namespace is what decisions read of a pod's namespace.
type Namespace struct {
	Labels map[string]string
	// Annotations are those that tune DNS: see NamespaceAnnotations.
	Annotations map[string]string
}

// Decision is what is done to a pod, and why.
type Decision struct {
	// Rule is the name of the rule that matched, or DefaultRule. Empty where
	// the pod was skipped before rules were evaluated.
	Rule        string              `json:"rule,omitzero"`
	ServiceHost ServiceHostDecision `json:"serviceHost"`
	DNS         DNSDecision         `json:"dns"`
	// Fallthrough adds to DNS, and Advice tunes both.
	Fallthrough FallthroughDecision `json:"fallthrough"`
	Advice      AdviceDecision      `json:"advice"`
	// DryRun is true where the mode of the policy, or of the rule that matched,
	// is DryRun: nothing is applied to the pod, whatever the outcomes.
	DryRun bool `json:"dryRun,omitzero"`
	// Warnings are for the person who creates the pod.
	Warnings []string `json:"warnings,omitzero"`
}

// Outcome is an action with its reason.
type Outcome struct {
	Action Action `json:"action"`
	Reason Reason `json:"reason"`
}

// Injects reports whether the pod is patched, or would be if it were not for DryRun.
func (o Outcome) Injects() bool { return o.Action != ActionSkip }

// ServiceHostDecision says what containers get. Which containers: see
// Request.ServiceHostTargets.
type ServiceHostDecision struct {
	Outcome
	// Host is the value of KUBERNETES_SERVICE_HOST unless FromNodeIP is true.
	Host string `json:"host,omitzero"`
	// FromNodeIP takes the value from status.hostIP.
	FromNodeIP bool `json:"fromNodeIP,omitzero"`
	// Port is the value of KUBERNETES_SERVICE_PORT and of
	// KUBERNETES_SERVICE_PORT_HTTPS; empty: neither is injected.
	Port string `json:"port,omitzero"`
}

// DNSDecision says what dnsConfig gets. The slices belong to the compiled
// policy and must not be changed.
type DNSDecision struct {
	Outcome
	Mode DNSMode `json:"mode,omitzero"`
	// Options, ndots among them, are added unless the pod sets them itself.
	Options []Option `json:"options,omitzero"`
	// ExtraSearches come after the pod's own in mode Options, and before them in
	// mode NodeLocal. The pod has none of them itself.
	ExtraSearches []string `json:"extraSearches,omitzero"`
	// The rest is set in mode NodeLocal only.

	// Servers and FallbackServers come before the pod's own nameservers.
	Servers         []string `json:"servers,omitzero"`
	FallbackServers []string `json:"fallbackServers,omitzero"`
	// Domain is the cluster domain of the three searches that come first.
	Domain string `json:"domain,omitzero"`
}

// Decide says what is done to a pod. The order of the questions:
//
//  1. skip rules that cover the whole pod     skip.go
//  2. the first rule that matches, its mode   match.go
//     then for each feature, unless the policy disables it
//  3. labels of pod and namespace, enabled    optout.go
//  4. is the feature configured at all
//  5. the rollout's share, where no label     rolledOut
//     asked for the feature
//  6. skip rules of the feature               skip.go
//  7. annotations of the developer            override.go
//  8. what the pod says itself, API limits    below
//  9. the health gate of what it would get    gate.go
//  10. what is known of its names             advice.go
//  11. whether its resolvers fall through     fallthrough.go
//
// It never fails and, where no warning is due and no annotation tunes the pod,
// does not allocate.
func (c *Compiled) Decide(r *Request) Decision {
	if reason := c.skipPod(r); reason != "" {
		skipped := Outcome{ActionSkip, reason}
		d := Decision{
			ServiceHost: ServiceHostDecision{Outcome: skipped},
			DNS:         DNSDecision{Outcome: skipped},
			Fallthrough: FallthroughDecision{Outcome: skipped},
			Advice:      AdviceDecision{Outcome: skipped},
			DryRun:      c.mode == ModeDryRun,
		}
		if reason.Earlier() == EarlierComesOut { // the mode of the pod's rule counts for that too
			d.DryRun = c.settingsFor(r).mode == ModeDryRun
		}
		return d
	}
	s := c.settingsFor(r)
	d := Decision{Rule: s.rule, DryRun: s.mode == ModeDryRun}
	if s.mode == ModeOff && r.heeds(ReasonModeOff) {
		d.ServiceHost.Outcome = Outcome{ActionSkip, ReasonModeOff}
		d.DNS.Outcome = Outcome{ActionSkip, ReasonModeOff}
		d.Fallthrough.Outcome = Outcome{ActionSkip, ReasonModeOff}
		d.Advice.Outcome = Outcome{ActionSkip, ReasonModeOff}
		return d
	}
	pod, namespace := c.asked(r.Pod.Metadata.Labels), c.asked(r.NamespaceLabels)
	if pod.invalid {
		d.Warnings = c.labelWarnings(d.Warnings, "pod", r.Pod.Metadata.Labels)
	}
	if namespace.invalid {
		d.Warnings = c.labelWarnings(d.Warnings, "namespace", r.NamespaceLabels)
	}
	d.ServiceHost = c.decideServiceHost(r, s, c.decideFeature(FeatureServiceHost, r, s, &s.serviceHost.featureSettings, &pod, &namespace))
	c.decideDNS(r, s, c.decideFeature(FeatureDNS, r, s, &s.dns.featureSettings, &pod, &namespace), &d)
	if d.DryRun {
		d.ServiceHost.dryRun()
		d.DNS.dryRun()
		d.Fallthrough.dryRun()
		d.Advice.dryRun()
	}
	return d
}

func (o *Outcome) dryRun() {
	if o.Action == ActionInject {
		o.Action = ActionDryRun
	}
}

// settingsFor returns the settings of the first rule that matches, or else those of
// the policy itself. It tries one rule after the other and needs no index: a thousand
// rules take a few microseconds (BenchmarkDecide), a whole review a few hundred.
func (c *Compiled) settingsFor(r *Request) *settings {
	if len(c.rules) == 0 {
		return &c.base
	}
	workloads, n := r.Pod.workloads()
	for i := range c.rules {
		if c.rules[i].match(r, workloads[:n]) {
			return &c.rules[i].settings
		}
	}
	return &c.base
}

// RuleOf returns the name of the rule that decides for a pod, provided that the pod is
// not skipped; DefaultRule where none matches. known is false where the rule selects
// by labels of the namespace and these are not known, so that it only may match.
func (c *Compiled) RuleOf(r *Request) (name string, known bool) {
	workloads, n := r.Pod.workloads()
	for i := range c.rules {
		m := c.rules[i].matcher
		unknown := m.namespaceSelector != nil && !r.NamespaceKnown
		if unknown {
			m.namespaceSelector = nil
		}
		if m.match(r, workloads[:n]) {
			return c.rules[i].rule, !unknown
		}
	}
	return DefaultRule, true
}

// decideFeature answers questions 3 to 5 of Decide.
func (c *Compiled) decideFeature(f Feature, r *Request, s *settings, own *featureSettings, pod, namespace *asked) Outcome {
	if own.disabled && r.heeds(ReasonFeatureDisabled) {
		return Outcome{ActionSkip, ReasonFeatureDisabled}
	}
	on, reason := c.enablement(f, r, pod, namespace, own.enabled, own.fromRule)
	switch {
	case !on && (reason != ReasonDisabledByPolicy || own.configured):
		return Outcome{ActionSkip, reason}
	case !own.configured:
		return Outcome{ActionSkip, ReasonNotConfigured}
	case (reason == ReasonEnabledByPolicy || reason == ReasonEnabledByRule) && !rolledOut(r, s.percent) && r.heeds(ReasonRollout):
		return Outcome{ActionSkip, ReasonRollout}
	}
	return Outcome{ActionInject, reason}
}

// rolledOut reports whether the pod's workload is in one of the first percent of 100
// buckets. The bucket is a hash of the workload's namespace, kind and name, so all its
// pods agree, and a higher percentage only adds workloads. The API group is not
// hashed: the first edition did not hash it, and a workload must keep its bucket.
func rolledOut(r *Request, percent int32) bool {
	if percent >= 100 {
		return true
	}
	w := r.Pod.Workload()
	h := fnv.New64a()
	for _, part := range [...]string{r.Namespace, w.Kind, w.Name} {
		_, _ = h.Write([]byte(part)) // never fails
		_, _ = h.Write([]byte{0})
	}
	// The low bits of FNV are weak for short inputs; fold in the high ones.
	sum := h.Sum64()
	return int32((sum^sum>>32)%100) < percent
}

// decideServiceHost answers from question 6 on. outcome is that of decideFeature.
func (c *Compiled) decideServiceHost(r *Request, s *settings, outcome Outcome) ServiceHostDecision {
	skip := func(reason Reason) ServiceHostDecision {
		return ServiceHostDecision{Outcome: Outcome{ActionSkip, reason}}
	}
	if outcome.Action == ActionSkip {
		return skip(outcome.Reason)
	}
	if s.serviceHost.fromNodeIP {
		if reason := c.skipNode(r); reason != "" {
			return skip(reason)
		}
	}
	if s.serviceHost.isName {
		if reason := c.skipName(r, outcome.Reason == ReasonEnabledByPodLabel); reason != "" {
			return skip(reason)
		}
	}
	d := ServiceHostDecision{
		Outcome:    outcome,
		Host:       s.serviceHost.host,
		FromNodeIP: s.serviceHost.fromNodeIP,
		Port:       s.serviceHost.port,
	}
	if reason := r.noServiceHostTarget(&d); reason != "" {
		return skip(reason)
	}
	if s.serviceHost.gated && !r.Gates.opensServiceHost(s.serviceHost.endpoint) && r.heeds(ReasonServiceHostUnhealthy) {
		return skip(ReasonServiceHostUnhealthy)
	}
	return d
}

// decideDNS answers from question 6 on for DNS, and for fall-through and advice, which
// add to DNS. It fills in decided. outcome is that of decideFeature.
func (c *Compiled) decideDNS(r *Request, s *settings, outcome Outcome, decided *Decision) {
	skip := func(reason Reason) {
		skipped := Outcome{ActionSkip, reason}
		decided.DNS.Outcome, decided.Fallthrough.Outcome, decided.Advice.Outcome = skipped, skipped, skipped
	}
	if outcome.Action == ActionSkip {
		skip(outcome.Reason)
		return
	}
	reason := c.skipDNS(r, s)
	if r.Operation == OperationAddEphemeralContainer {
		skip(ReasonEphemeralContainer)
		if reason != "" {
			decided.Fallthrough.Reason = reason
			return
		}
		dns, _ := c.applyOverrides(s.dns, r, nil) // warned of when the pod was created
		decided.Fallthrough = c.decideFallthrough(r, &dns, outcome, dns.mode)
		return
	}
	if reason != "" {
		skip(reason)
		return
	}
	var dns dnsSettings
	dns, decided.Warnings = c.applyOverrides(s.dns, r, decided.Warnings)
	decided.Advice = c.advise(r, &dns)
	d := DNSDecision{Outcome: outcome, Mode: dns.mode}
	if d.Mode == DNSModeNodeLocal {
		reason := c.fitNodeLocal(&d, r, &dns)
		if reason == "" && dns.cache.DaemonSet != "" && !r.Gates.opensCache(dns.cache) && r.heeds(ReasonNodeLocalUnhealthy) {
			reason = ReasonNodeLocalUnhealthy
		}
		if reason != "" {
			d = DNSDecision{Outcome: Outcome{ActionInject, reason}, Mode: DNSModeOptions}
		}
	}
	decided.Fallthrough = c.decideFallthrough(r, &dns, outcome, d.Mode)
	decided.Advice.afterFallthrough(&decided.Fallthrough)
	d.Options = dns.options
	ownSearches := r.Pod.hasSearches() && !dns.ndotsNamed && !r.Pod.HasOption("ndots") && r.heeds(ReasonOwnSearches)
	switch {
	case decided.Fallthrough.Carrier == CarrierResolvConf:
		d.Options = dns.optionsWith(decided.Fallthrough.Ndots)
	case ownSearches && d.Mode == DNSModeNodeLocal: // under dnsPolicy None kubelet adds no ndots itself
		d.Options = dns.optionsWith(kubeletNdots)
	case ownSearches:
		d.Options = dns.options[1:] // without ndots, which is the first
	}
	if ownSearches && d.Reason == outcome.Reason {
		d.Reason = ReasonOwnSearches
	}
	if d.Mode == DNSModeOptions {
		d.ExtraSearches = c.fitSearches(r, &dns)
		if len(d.ExtraSearches) == 0 && setsEvery(r.Pod, d.Options) && r.heeds(ReasonDNSOptionsSet) {
			d = DNSDecision{Outcome: Outcome{ActionSkip, ReasonDNSOptionsSet}}
			if ownSearches {
				d.Reason = ReasonOwnSearches
			}
		}
	}
	decided.DNS = d
}

// skipDNS is the part of the table of skips (skip.go) that is about DNS alone.
func (c *Compiled) skipDNS(r *Request, s *settings) Reason {
	if reason := c.skipNode(r); reason != "" {
		return reason
	}
	if reason := skipDNSPolicy(r.Pod); reason != "" && r.heeds(reason) {
		return reason
	}
	if s.dns.leaveOwnConfig && r.Pod.Spec.DNSConfig.saysAnything() && r.heeds(ReasonOwnConfig) {
		return ReasonOwnConfig
	}
	return ""
}

// setsEvery reports whether the pod's own dnsConfig sets all of the options.
func setsEvery(pod *Pod, options []Option) bool {
	for i := range options {
		if !pod.HasOption(options[i].Name) {
			return false
		}
	}
	return true
}
