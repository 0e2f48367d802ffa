package policy

import (
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Effective is what a policy says for the pods of one rule, or for those of
// none: the rule laid over the policy's own fields, with defaults. It is the one
// place where they are merged; the server, validation, lint, doctor and audit
// read it.
//
//	field                    is the rule's where
//	mode                     it does less than the policy's (Off, DryRun, Enforce)
//	rollout.percent          the rule names it
//	serviceHost              each field that the rule names; host and hostFrom are one
//	dns, dns.nodeLocal,      each field that the rule names, if by an empty list; daemonSet and
//	  dns.fallthrough        daemonSetSelector are one
//
// and otherwise the policy's.
type Effective struct {
	// Rule is nil for the policy's own fields.
	Rule *Rule
	// Index is the rule's in spec.rules, -1 for the policy's own fields.
	Index int

	Mode Mode
	// Percent is the share of the workloads, 0 to 100.
	Percent int32
	// ServiceHost is nil where neither the policy nor the rule has such a block.
	// A block without host and hostFrom configures nothing.
	ServiceHost *EffectiveServiceHost
	// DNS is nil where neither the policy nor the rule has such a block.
	DNS *EffectiveDNS
}

// EffectiveServiceHost has Enabled and Probe set. Host and HostFrom are both
// empty where none is configured; Port is nil where none is injected.
type EffectiveServiceHost struct {
	ServiceHost
	// EnabledBy says whose word Enabled is: where nobody names it, that of who
	// names a host.
	EnabledBy Origin
}

// EffectiveDNS is a DNS block with its defaults:
//
//	Enabled, Mode, Ndots, Advice, MinConfidence, OwnConfig,  set
//	  Fallthrough with all of its fields
//	NodeLocal.DaemonSet or .DaemonSetSelector, and           set where there is an address of a cache
//	  .MaxUnavailable
//	NodeLocal.FallbackServers                                nil where nobody names any: the default is
//	                                                         known by Cluster.FallbackServers
//	the rest                                                 as the blocks name it
type EffectiveDNS struct {
	DNS
	// EnabledBy says whose word Enabled is: where nobody names it, that of who
	// has a block for DNS.
	EnabledBy Origin
	// Who names these fields.
	ModeBy, NdotsBy, FallthroughBy, FallthroughNdotsBy, FallbackServersBy, DaemonSetBy Origin
}

// NamesNdots reports whether a rule names the ndots of its pods, which then have
// exactly that.
func (d *EffectiveDNS) NamesNdots() bool { return d.NdotsBy == ByRule }

// FallsThrough reports whether pods may get the ndots of fallthrough.
func (d *EffectiveDNS) FallsThrough() bool { return !d.NamesNdots() || d.FallthroughBy == ByRule }

// Origin says which block of the document names a field. The policy's own block
// names its defaults as well, once they are filled in.
type Origin int8

const (
	// ByDefault is a field that no block names.
	ByDefault Origin = iota
	// ByPolicy is a field that the policy's own block names.
	ByPolicy
	// ByRule is a field that the rule's block names.
	ByRule
)

// Effective yields what the policy's own fields say, and then what each rule
// makes of them, in order. The policy is one that has its defaults; it may be
// one that Validate refuses.
func (s *Spec) Effective() iter.Seq[*Effective] {
	return func(yield func(*Effective) bool) {
		if !yield(s.effective(-1)) {
			return
		}
		for i := range s.Rules {
			if !yield(s.effective(i)) {
				return
			}
		}
	}
}

// Name is the rule's, or DefaultRule.
func (e *Effective) Name() string {
	if e.Rule == nil {
		return DefaultRule
	}
	return e.Rule.Name
}

// Field is the path of a field at which an origin names it: below the rule, or
// below spec. One that nobody names is set where the reader is.
func (e *Effective) Field(by Origin, name string, more ...string) *field.Path {
	at := field.NewPath("spec")
	if e.Rule != nil && by != ByPolicy {
		at = at.Child("rules").Index(e.Index)
	}
	return at.Child(name, more...)
}

// Allows reports whether pods may tune something by annotation.
func (s *Spec) Allows(o Override) bool { return slices.Contains(s.PodOverrides.Allowed, o) }

// effective merges rule i; -1 for none.
func (s *Spec) effective(i int) *Effective {
	e, rule := &Effective{Index: i, Percent: 100}, &Rule{}
	if i >= 0 {
		rule = &s.Rules[i]
		e.Rule = rule
	}
	e.Mode = stricter(s.Mode, rule.Mode)
	for _, percent := range []*int32{s.Rollout.Percent, rule.Rollout.Percent} {
		if percent != nil {
			e.Percent = *percent
		}
	}
	if s.ServiceHost != nil || rule.ServiceHost != nil {
		e.ServiceHost = mergeServiceHost(orEmpty(s.ServiceHost), orEmpty(rule.ServiceHost))
	}
	if s.DNS != nil || rule.DNS != nil {
		e.DNS = mergeDNS(s.DNS, rule.DNS)
	}
	return e
}

// stricter is the mode that does less, so that no rule weakens the policy's
// word. A rule's is empty where it names none.
func stricter(policy, rule Mode) Mode {
	for _, mode := range []Mode{ModeOff, ModeDryRun} {
		if policy == mode || rule == mode {
			return mode
		}
	}
	return ModeEnforce
}

// configured reports whether a block, which may be nil, names a host.
func (h *ServiceHost) configured() bool { return h != nil && (h.Host != "" || h.HostFrom != "") }

func mergeServiceHost(base, over *ServiceHost) *EffectiveServiceHost {
	merged := &EffectiveServiceHost{EnabledBy: ByPolicy}
	if !base.configured() {
		merged.EnabledBy = ByRule
	}
	probe := &Probe{}
	for i, block := range [...]*ServiceHost{base, over} {
		by := ByPolicy + Origin(i)
		if block.configured() {
			merged.Host, merged.HostFrom = block.Host, block.HostFrom
		}
		override(&merged.Enabled, block.Enabled, by, &merged.EnabledBy)
		override(&merged.Port, block.Port, by, nil)
		override(&probe.Enabled, orEmpty(block.Probe).Enabled, by, nil)
		override(&probe.Interval, orEmpty(block.Probe).Interval, by, nil)
		override(&probe.FailureThreshold, orEmpty(block.Probe).FailureThreshold, by, nil)
	}
	setDefaultPointer(&merged.Enabled, true)
	setDefaultProbe(probe)
	merged.Probe = probe
	return merged
}

func mergeDNS(base, over *DNS) *EffectiveDNS {
	merged := &EffectiveDNS{EnabledBy: ByPolicy}
	if base == nil {
		merged.EnabledBy = ByRule
	}
	local, through := &merged.NodeLocal, &Fallthrough{Probe: &FallthroughProbe{}}
	for i, block := range [...]*DNS{orEmpty(base), orEmpty(over)} {
		by := ByPolicy + Origin(i)
		if block.Mode != "" {
			merged.Mode, merged.ModeBy = block.Mode, by
		}
		if block.OwnConfig != "" {
			merged.OwnConfig = block.OwnConfig
		}
		override(&merged.Enabled, block.Enabled, by, &merged.EnabledBy)
		override(&merged.Ndots, block.Ndots, by, &merged.NdotsBy)
		if block.Fallthrough != nil {
			through.override(block.Fallthrough)
			merged.FallthroughBy = by
			if block.Fallthrough.Ndots != nil {
				merged.FallthroughNdotsBy = by
			}
		}
		if block.Advice != "" {
			merged.Advice = block.Advice
		}
		if block.MinConfidence != "" {
			merged.MinConfidence = block.MinConfidence
		}
		overrideList(&merged.Options, block.Options, by, nil)
		overrideList(&merged.ExtraSearches, block.ExtraSearches, by, nil)
		overrideList(&local.Servers, block.NodeLocal.Servers, by, nil)
		overrideList(&local.FallbackServers, block.NodeLocal.FallbackServers, by, &merged.FallbackServersBy)
		if n := &block.NodeLocal; n.DaemonSet != nil || n.DaemonSetSelector != nil {
			local.DaemonSet, local.DaemonSetSelector, merged.DaemonSetBy = n.DaemonSet, n.DaemonSetSelector, by
		}
		override(&local.MaxUnavailable, block.NodeLocal.MaxUnavailable, by, nil)
	}
	setDefaultPointer(&merged.Enabled, true)
	setDefault(&merged.Mode, DNSModeOptions)
	setDefault(&merged.OwnConfig, OwnConfigMerge)
	setDefaultPointer(&merged.Ndots, DefaultNdots)
	setDefault(&merged.Advice, AdviceIgnore)
	setDefault(&merged.MinConfidence, ConfidenceHigh)
	setDefaultFallthrough(through)
	merged.Fallthrough = through
	setDefaultNodeLocal(local, merged.Mode == DNSModeNodeLocal)
	return merged
}

// override replaces the fields that a block names.
func (f *Fallthrough) override(over *Fallthrough) {
	override(&f.Ndots, over.Ndots, 0, nil)
	override(&f.RequireLocal, over.RequireLocal, 0, nil)
	if over.Env != "" {
		f.Env = over.Env
	}
	probe := orEmpty(over.Probe)
	override(&f.Probe.Enabled, probe.Enabled, 0, nil)
	override(&f.Probe.Timeout, probe.Timeout, 0, nil)
	override(&f.Probe.Interval, probe.Interval, 0, nil)
	override(&f.Probe.FailureThreshold, probe.FailureThreshold, 0, nil)
}

// override replaces a value that a block names, and notes whose it is.
func override[T any](value **T, over *T, by Origin, origin *Origin) {
	if over == nil {
		return
	}
	*value = over
	if origin != nil {
		*origin = by
	}
}

// overrideList does the same for a list, which is named even if it is empty.
func overrideList[T any](list *[]T, over []T, by Origin, origin *Origin) {
	if over == nil {
		return
	}
	*list = over
	if origin != nil {
		*origin = by
	}
}
