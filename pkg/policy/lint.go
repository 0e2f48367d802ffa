package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warning is about something that is valid and that its author may not have
// meant.
type Warning struct {
	// Field is the path of the field, as in errors of Validate; empty where it is
	// about the rest of many.
	Field string `json:"field"`
	// Message says what happens and what to do instead.
	Message string `json:"message"`
}

func (w Warning) String() string {
	if w.Field == "" {
		return w.Message
	}
	return w.Field + ": " + w.Message
}

// Lint finds what Validate accepts and an operator would want to know. It takes
// a document that Parse accepts, as its author wrote it: a default is nobody's
// mistake. Of any other it says nothing. The warnings:
//
//	rule after one that matches every pod, or the same pods   never reached
//	no feature configured, neither here nor in a rule         nothing is ever injected
//	dns.ndots below 4, the policy's or a rule's, unless       short names of the cluster fail with musl
//	  spec.resolvers says that no image has musl
//	fallback to the cluster DNS                               musl asks it for everything
//	host with fewer dots than the pods' ndots                 every lookup of it tries the search domains first
//	host that is the pod's own loopback                       connections are refused
//	probe without a host, which hostFrom NodeIP has not       nothing is probed
//	interval or threshold of a probe that is disabled         the same
//	nodeLocal that no mode uses and no annotation may choose  without effect
//	maxUnavailable of a cache without a DaemonSet             the same
//	podOverrides.ndots where that is not allowed              the same
//	image pattern after one that matches the same images      never reached
//	rule's mode that does more than the policy's              without effect
//	fallthrough where spec.resolvers has no image that falls  without effect
//	  through, or with an ndots that is not below the pods'
//	requireLocal false, or its probe disabled                 what the outside says reaches running pods
//	requireLocal true and its probe disabled                  without effect
//	image pattern without a repository or tag, or with the    a promise about later builds
//	  tag latest, of a resolver that falls through
//	extraSearches with ndots 4 or less, where pods may have   longer names below them fail
//	  musl
//	extraSearches where pods fall through                     names below them are asked outside first
//	excludedNamespaces with a prefix                          every pod costs the API server a condition
//	prefix that begins like another; rule for excluded        without effect, never reached
//	  namespaces only
//
// What podOverrides allow is no warning: an author of an annotation knows the
// image.
func Lint(data []byte) []Warning {
	p, _ := read(data)
	if p == nil {
		return nil
	}
	l := linter{written: &p.Spec, spec: defaulted(p.Spec), musl: mayHaveMusl(p.Spec.Resolvers)}
	l.features()
	at := field.NewPath("spec")
	l.excluded(at.Child("excludedNamespaces"))
	own := l.spec.effective(-1)
	l.serviceHost(p.Spec.ServiceHost, own.DNS, at.Child("serviceHost"))
	l.dns(p.Spec.DNS, at.Child("dns"))
	l.through(p.Spec.DNS, own.DNS, at.Child("dns"))
	if own.pinsToCache() {
		l.fallback(&own.DNS.NodeLocal, at.Child("dns", "nodeLocal", "fallbackServers"))
	}
	l.withoutEffect(at)
	l.resolvers(at.Child("resolvers"))
	unreached := unreachedRules(p.Spec.Rules)
	for e := range l.spec.Effective() {
		if e.Rule == nil {
			continue
		}
		at := at.Child("rules").Index(e.Index)
		if why := unreached[e.Index]; why != "" {
			l.warn(at, "is never reached: %s", why)
			continue
		}
		l.rule(own, e, at)
	}
	if more := len(l.warnings) - maxErrors; more > 0 {
		return append(l.warnings[:maxErrors], Warning{Message: fmt.Sprintf("and %d more warnings", more)})
	}
	return l.warnings
}

// linter collects warnings about a policy: as it is written, and with its
// defaults.
type linter struct {
	written, spec *Spec
	musl          bool // pods may have it
	warnings      []Warning
}

func (l *linter) warn(at *field.Path, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{at.String(), fmt.Sprintf(format, args...)})
}

// defaulted is a copy with the defaults filled in. Rules, which have none, are
// shared.
func defaulted(s Spec) *Spec {
	rules := s.Rules
	s.Rules = nil
	var c InjectionPolicy
	// What came from JSON goes back to it and from it: no error. Empty lists
	// survive, since omitzero omits only those that are nil.
	encoded, _ := json.Marshal(s)
	_ = json.Unmarshal(encoded, &c.Spec)
	c.Spec.Rules = rules
	SetDefaults(&c)
	return &c.Spec
}

func (l *linter) features() {
	if l.written.ServiceHost.configured() || l.written.DNS != nil {
		return
	}
	for i := range l.written.Rules {
		if l.written.Rules[i].ServiceHost.configured() || l.written.Rules[i].DNS != nil {
			return
		}
	}
	l.warn(field.NewPath("spec"), "configures neither serviceHost nor dns, here or in a rule: nothing is ever injected")
}

// serviceHost checks one block, the policy's or a rule's, for pods that get
// the DNS settings dns.
func (l *linter) serviceHost(h *ServiceHost, dns *EffectiveDNS, at *field.Path) {
	if h == nil {
		return
	}
	if h.Probe != nil && h.HostFrom == HostFromNodeIP {
		l.warn(at.Child("probe"), "has no effect with hostFrom %s: there is no one host that could be probed", HostFromNodeIP)
	}
	if h.Probe != nil {
		l.probe(h.Probe, at.Child("probe"))
	}
	ndots := kubeletNdots
	if dns != nil && *dns.Enabled {
		ndots = int(*dns.Ndots)
	}
	address, err := netip.ParseAddr(h.Host)
	if name := strings.TrimSuffix(h.Host, "."); address.IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		l.warn(at.Child("host"), "%s is in a pod the pod itself, unless it is on the host's network", h.Host)
		return
	}
	if dots := strings.Count(h.Host, "."); h.Host != "" && err != nil && !strings.HasSuffix(h.Host, ".") && dots < ndots {
		l.warn(at.Child("host"), "%s has %d dots and the pods have ndots %d: every lookup of it tries the search domains first; write a trailing dot if all clients accept one, or lower ndots where you know images and names",
			h.Host, dots, ndots)
	}
}

// dns checks one block, the policy's or a rule's.
func (l *linter) dns(d *DNS, at *field.Path) {
	if d == nil {
		return
	}
	if d.Ndots == nil || *d.Ndots >= DefaultNdots || !l.musl {
		return
	}
	names, instead := ShortNamesLost(int(*d.Ndots)), fmt.Sprintf("keep %d and lower it in rules for workloads of which you know what they look up", DefaultNdots)
	if d != l.written.DNS {
		instead = fmt.Sprintf("keep %d unless these pods look up no such names, or say in spec.resolvers that no image has musl", DefaultNdots)
	}
	// glibc and Go try the search list after the name itself.
	l.warn(at.Child("ndots"), "%d is for pods that may have musl (Alpine images), which never tries the search domains for a name with %s or more: names like %s no longer resolve there; %s (musl, src/network/lookup_name.c, name_from_dns_search)",
		*d.Ndots, dots(int(*d.Ndots)), quotedList(names), instead)
}

func dots(n int) string {
	if n == 1 {
		return "1 dot"
	}
	return fmt.Sprintf("%d dots", n)
}

// quotedList is "a", "b" and "c".
func quotedList(names []string) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i > 0 && i == len(names)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(name))
	}
	return b.String()
}

// mayHaveMusl reports whether a pod's image may contain musl, for all that
// hints say: unless the last of them, for all images, and all before it name
// another resolver.
func mayHaveMusl(hints []ImageResolver) bool {
	for i := range hints {
		if hints[i].Resolver == ResolverMusl || hints[i].Resolver == ResolverMuslBefore124 || hints[i].has(BesideNetDNS) {
			return true
		}
		if slices.ContainsFunc(hints[i].Images, isWildcard) {
			return false
		}
	}
	return true
}

// fallback warns where the servers behind the cache are the cluster DNS, as
// they are by default.
func (l *linter) fallback(n *NodeLocal, at *field.Path) {
	cluster := &l.spec.Cluster
	servers := cluster.FallbackServers(n, nil)
	if len(servers) > 0 && !slices.ContainsFunc(servers, func(s string) bool { return !slices.Contains(cluster.DNSServers, s) }) {
		l.warn(at, "%s is the cluster DNS: musl (Alpine images) asks all nameservers at once, so it still gets every query of those pods; an empty list means no fallback",
			strings.Join(servers, " "))
	}
}

func (l *linter) resolvers(at *field.Path) {
	var earlier imageIndex
	through := l.fallsThrough()
	for i := range l.written.Resolvers {
		for j, image := range l.written.Resolvers[i].Images {
			at := at.Index(i).Child("images").Index(j)
			if covering := earlier.covering(image); covering != nil {
				l.warn(at, "is never reached: %s (%s) matches the same images", covering.image, covering.at)
			} else if through {
				l.promise(&l.written.Resolvers[i], image, at)
			}
			earlier.add(image, at.String())
		}
	}
}

// unreachedRules says for each rule why it is never reached; empty where it is.
func unreachedRules(rules []Rule) []string {
	why := make([]string, len(rules))
	first := make(map[string]int, len(rules)) // by what they match
	all := -1                                 // the first that matches every pod
	for i := range rules {
		match, _ := json.Marshal(&rules[i].Match) // strings: no error
		same, seen := first[string(match)]
		if !seen {
			first[string(match)] = i
		}
		switch {
		case all >= 0 && (!seen || all <= same):
			why[i] = fmt.Sprintf("rule %s (spec.rules[%d]) matches every pod", rules[all].Name, all)
		case seen:
			why[i] = fmt.Sprintf("rule %s (spec.rules[%d]) matches the same pods", rules[same].Name, same)
		case rules[i].Match.matchesAll():
			all = i
		}
	}
	return why
}

// rule checks a rule. What it takes over from the policy's own fields is warned
// of there.
func (l *linter) rule(own, e *Effective, at *field.Path) {
	rule := e.Rule
	l.unreachedNamespaces(rule.Match.Namespaces, at)
	if rule.Mode != "" && e.Mode != rule.Mode {
		l.warn(at.Child("mode"), "%s has no effect: the policy's mode is %s", rule.Mode, l.spec.Mode)
	}
	l.serviceHost(rule.ServiceHost, e.DNS, at.Child("serviceHost"))
	l.dns(rule.DNS, at.Child("dns"))
	l.through(rule.DNS, e.DNS, at.Child("dns"))
	if rule.DNS != nil {
		l.nodeLocal(&rule.DNS.NodeLocal, e.pinsToCache() || l.spec.Allows(OverrideMode), at.Child("dns", "nodeLocal"))
	}
	if e.pinsToCache() && (!own.pinsToCache() || e.DNS.FallbackServersBy == ByRule) {
		l.fallback(&e.DNS.NodeLocal, at.Child("dns", "nodeLocal", "fallbackServers"))
	}
}

// pinsToCache reports whether pods get mode NodeLocal without asking for it.
func (e *Effective) pinsToCache() bool { return e.DNS != nil && e.DNS.Mode == DNSModeNodeLocal }

// matchesAll reports whether no condition keeps a pod out.
func (m *Match) matchesAll() bool {
	all := func(patterns []string) bool { return len(patterns) == 0 || slices.ContainsFunc(patterns, isWildcard) }
	return all(m.Namespaces) && all(m.ServiceAccounts) && m.anySpec() &&
		(m.PodSelector == nil || len(m.PodSelector.MatchLabels)+len(m.PodSelector.MatchExpressions) == 0) &&
		(m.NamespaceSelector == nil || len(m.NamespaceSelector.MatchLabels)+len(m.NamespaceSelector.MatchExpressions) == 0) &&
		(len(m.Owners) == 0 || slices.ContainsFunc(m.Owners, func(o Owner) bool { return o.Kind == "" && isWildcard(o.Name) }))
}

// anySpec is matchesAll for the conditions on annotations and on the pod's spec. No
// pattern of theirs matches a pod that says nothing.
func (m *Match) anySpec() bool {
	return len(m.PodAnnotations)+len(m.NodeSelector)+len(m.Tolerations)+len(m.RuntimeClasses)+len(m.PriorityClasses) == 0 &&
		m.HostNetwork == nil && (m.DNSPolicies == nil || len(m.DNSPolicies) == len(dnsPolicies))
}

// isWildcard reports whether a pattern matches every name.
func isWildcard(pattern string) bool { return pattern != "" && strings.Trim(pattern, "*") == "" }
