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
	// NamespaceKnown is false where the namespace could not be read.
	NamespaceKnown bool
	// Pod is the pod as the user wrote it: what an earlier review by Shorthop
	// added must have been taken out (mutate.Undo).
	Pod *Pod
	// OldPod is the pod before an update, nil on creation.
	OldPod *Pod
	// ObjectSize is the size of the pod in bytes of JSON, 0 if not known.
	ObjectSize int
	// Gates are the health gates; nil where nothing is probed, as offline: all
	// are open.
	Gates *Gates
	// Discovered is what is known of the cluster's DNS besides the policy; nil
	// where nothing is.
	Discovered *Discovered
}

// Decision is what is done to a pod, and why.
type Decision struct {
	// Rule is the name of the rule that matched, or DefaultRule. Empty where
	// the pod was skipped before rules were asked.
	Rule        string              `json:"rule,omitzero"`
	ServiceHost ServiceHostDecision `json:"serviceHost"`
	DNS         DNSDecision         `json:"dns"`
	// Warnings are for the person who creates the pod.
	Warnings []string `json:"warnings,omitzero"`
}

// Outcome is an action with its reason.
type Outcome struct {
	Action Action `json:"action"`
	Reason Reason `json:"reason"`
}

// Injects reports whether the pod is patched, or would be but for DryRun.
func (o Outcome) Injects() bool { return o.Action != ActionSkip }

// ServiceHostDecision says what containers get. Which containers: see
// Request.ServiceHostTargets.
type ServiceHostDecision struct {
	Outcome
	// Host is the value of KUBERNETES_SERVICE_HOST unless FromNodeIP is true.
	Host string `json:"host,omitzero"`
	// FromNodeIP takes the value from status.hostIP.
	FromNodeIP bool `json:"fromNodeIP,omitzero"`
	// Port is the value of KUBERNETES_SERVICE_PORT; empty: not injected.
	Port string `json:"port,omitzero"`
}

// DNSDecision says what dnsConfig gets. The slices belong to the compiled
// policy and must not be changed.
type DNSDecision struct {
	Outcome
	Mode DNSMode `json:"mode,omitzero"`
	// Options, ndots among them, are added unless the pod sets them itself.
	Options []Option `json:"options,omitzero"`
	// The rest is set in mode NodeLocal only.

	// Servers and FallbackServers come before the pod's own nameservers.
	Servers         []string `json:"servers,omitzero"`
	FallbackServers []string `json:"fallbackServers,omitzero"`
	// Domain is the cluster domain of the three searches that come first.
	Domain string `json:"domain,omitzero"`
	// ExtraSearches come next, before the pod's own.
	ExtraSearches []string `json:"extraSearches,omitzero"`
}

// Decide says what is done to a pod. The order of the questions:
//
//  1. skip rules that cover the whole pod     skip.go
//  2. the first rule that matches, its mode   match.go, ruleindex.go
//     then for each feature, unless the policy disables it
//  3. labels of pod and namespace, enabled    optout.go
//  4. is the feature configured at all
//  5. the rollout's share, where no label     rolledOut
//     asked for the feature
//  6. skip rules of the feature               skip.go
//  7. annotations of the developer            override.go
//  8. what the pod says itself, API limits    below
//  9. the health gate of what it would get    gate.go
//
// It never fails and, where no warning is due and no annotation tunes the pod,
// does not allocate.
func (c *Compiled) Decide(r *Request) Decision {
	if reason := c.skipPod(r); reason != "" {
		skipped := Outcome{ActionSkip, reason}
		return Decision{
			ServiceHost: ServiceHostDecision{Outcome: skipped},
			DNS:         DNSDecision{Outcome: skipped},
		}
	}
	s := c.settingsFor(r)
	d := Decision{Rule: s.rule}
	if s.mode == ModeOff {
		d.ServiceHost.Outcome = Outcome{ActionSkip, ReasonModeOff}
		d.DNS.Outcome = Outcome{ActionSkip, ReasonModeOff}
		return d
	}
	d.Warnings = c.labelWarnings(d.Warnings, "pod", r.Pod.Metadata.Labels)
	d.Warnings = c.labelWarnings(d.Warnings, "namespace", r.NamespaceLabels)
	d.ServiceHost = c.decideServiceHost(r, s)
	d.DNS, d.Warnings = c.decideDNS(r, s, d.Warnings)
	if s.mode == ModeDryRun {
		d.ServiceHost.dryRun()
		d.DNS.dryRun()
	}
	return d
}

func (o *Outcome) dryRun() {
	if o.Action == ActionInject {
		o.Action = ActionDryRun
	}
}

func (c *Compiled) settingsFor(r *Request) *settings {
	if s := c.rules.first(r); s != nil {
		return s
	}
	return &c.base
}

// decideFeature answers questions 3 to 5 of Decide.
func (c *Compiled) decideFeature(f Feature, r *Request, s *settings, own featureSettings) Outcome {
	if own.disabled {
		return Outcome{ActionSkip, ReasonFeatureDisabled}
	}
	on, reason := c.enablement(f, r.Pod.Metadata.Labels, r.NamespaceLabels, own.enabled, own.fromRule)
	switch {
	case !on && (reason != ReasonDisabledByPolicy || own.configured):
		return Outcome{ActionSkip, reason}
	case !own.configured:
		return Outcome{ActionSkip, ReasonNotConfigured}
	case (reason == ReasonEnabledByPolicy || reason == ReasonEnabledByRule) && !rolledOut(r, s.percent):
		return Outcome{ActionSkip, ReasonRollout}
	}
	return Outcome{ActionInject, reason}
}

// rolledOut reports whether the pod's workload is within the first percent of
// 100 buckets. The hash is of namespace, kind and name of the workload, so all
// its pods agree, and a higher percentage only adds workloads.
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

func (c *Compiled) decideServiceHost(r *Request, s *settings) ServiceHostDecision {
	outcome := c.decideFeature(FeatureServiceHost, r, s, s.serviceHost.featureSettings)
	if outcome.Action == ActionSkip {
		return ServiceHostDecision{Outcome: outcome}
	}
	if s.serviceHost.fromNodeIP {
		if reason := c.skipNode(r.Pod); reason != "" {
			return ServiceHostDecision{Outcome: Outcome{ActionSkip, reason}}
		}
	}
	if reason := r.noServiceHostTarget(); reason != "" {
		return ServiceHostDecision{Outcome: Outcome{ActionSkip, reason}}
	}
	if !s.serviceHost.fromNodeIP && !r.Gates.opensServiceHost(s.serviceHost.endpoint) {
		return ServiceHostDecision{Outcome: Outcome{ActionSkip, ReasonServiceHostUnhealthy}}
	}
	return ServiceHostDecision{
		Outcome:    outcome,
		Host:       s.serviceHost.host,
		FromNodeIP: s.serviceHost.fromNodeIP,
		Port:       s.serviceHost.port,
	}
}

func (c *Compiled) decideDNS(r *Request, s *settings, warnings []string) (DNSDecision, []string) {
	skip := func(reason Reason) (DNSDecision, []string) {
		return DNSDecision{Outcome: Outcome{ActionSkip, reason}}, warnings
	}
	outcome := c.decideFeature(FeatureDNS, r, s, s.dns.featureSettings)
	if outcome.Action == ActionSkip {
		return skip(outcome.Reason)
	}
	if r.Operation == OperationAddEphemeralContainer {
		return skip(ReasonEphemeralContainer)
	}
	if reason := c.skipNode(r.Pod); reason != "" {
		return skip(reason)
	}
	if reason := skipDNSPolicy(r.Pod); reason != "" {
		return skip(reason)
	}
	var dns dnsSettings
	dns, warnings = c.applyOverrides(s.dns, r.Pod, warnings)
	d := DNSDecision{Outcome: outcome, Mode: dns.mode, Options: dns.options}
	if d.Mode == DNSModeNodeLocal {
		reason := c.fitNodeLocal(&d, r, &dns)
		if reason == "" && dns.cache.DaemonSet != "" && !r.Gates.opensCache(dns.cache) {
			reason = ReasonNodeLocalUnhealthy
		}
		if reason == "" {
			return d, warnings
		}
		d = DNSDecision{Outcome: Outcome{ActionInject, reason}, Mode: DNSModeOptions, Options: dns.options}
	}
	if setsEvery(r.Pod, d.Options) {
		return skip(ReasonDNSOptionsSet)
	}
	return d, warnings
}

func setsEvery(pod *Pod, options []Option) bool {
	for i := range options {
		if !pod.HasOption(options[i].Name) {
			return false
		}
	}
	return true
}

// Limits of the API server for a pod's dnsConfig (validatePodDNSConfig). The
// characters are counted with one space between two searches.
const (
	maxSearches      = 32
	maxSearchesChars = 2048
)

// fitNodeLocal fills in what NodeLocal writes, within the API's limits: the
// local servers and the three cluster searches always, then as many fallback
// servers and extra searches as there is room for. It returns the reason why
// the pod gets mode Options instead, or "".
func (c *Compiled) fitNodeLocal(d *DNSDecision, r *Request, dns *dnsSettings) Reason {
	domain := c.domain(r)
	if domain == "" {
		return ReasonClusterDomainUnknown
	}
	var userServers, userSearches []string
	if config := r.Pod.Spec.DNSConfig; config != nil {
		userServers, userSearches = config.Nameservers, config.Searches
	}
	room := maxNameservers - len(dns.servers) - len(userServers)
	if room < 0 {
		return ReasonLimits
	}
	count := 3 + len(userSearches)
	chars := 3*len(domain) + len(r.Namespace) + len(".svc.") + len("svc.") + 2
	for _, search := range userSearches {
		chars += 1 + len(search)
	}
	if count > maxSearches || chars > maxSearchesChars {
		return ReasonLimits
	}
	extra := 0
	for _, search := range dns.searches {
		if count++; count > maxSearches {
			break
		}
		if chars += 1 + len(search); chars > maxSearchesChars {
			break
		}
		extra++
	}
	d.Servers = dns.servers
	fallbacks := dns.fallbackServers(r)
	d.FallbackServers = fallbacks[:min(room, len(fallbacks))]
	d.Domain = domain
	d.ExtraSearches = dns.searches[:extra]
	return ""
}
