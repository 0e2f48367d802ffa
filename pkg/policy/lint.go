package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warning is about something that is valid and that its author may not have
// meant.
type Warning struct {
	// Field is the path of the field, as in errors of Validate.
	Field string `json:"field"`
	// Message says what happens and what to do instead.
	Message string `json:"message"`
}

func (w Warning) String() string { return w.Field + ": " + w.Message }

// Lint finds what Validate accepts and an operator would want to know. It
// takes a valid document as its author wrote it, before SetDefaults: a default
// is nobody's mistake. The warnings:
//
//	rule after one that matches every pod, or the same pods   never reached
//	no feature configured, neither here nor in a rule         nothing is ever injected
//	dns.ndots below 3                                         service.namespace.svc fails with musl
//	fallback to the cluster DNS                               musl asks it for everything
//	host with fewer dots than the pods' ndots                 every lookup of it tries the search domains first
//	probe without a host, which hostFrom NodeIP has not       nothing is probed
//	image pattern after one that matches the same images      never reached
//	rule's mode that does more than the policy's              without effect
func Lint(p *InjectionPolicy) []Warning {
	l := linter{written: &p.Spec, spec: defaulted(p)}
	l.features()
	at := field.NewPath("spec")
	l.serviceHost(p.Spec.ServiceHost, mergeDNS(l.spec, nil), at.Child("serviceHost"))
	l.dns(p.Spec.DNS, at.Child("dns"))
	if p.Spec.DNS != nil && l.spec.DNS.Mode == DNSModeNodeLocal {
		l.fallback(l.spec.DNS.NodeLocal.FallbackServers, at.Child("dns", "nodeLocal", "fallbackServers"))
	}
	l.resolvers(at.Child("resolvers"))
	for i := range p.Spec.Rules {
		l.rule(i, at.Child("rules").Index(i))
	}
	return l.warnings
}

// linter collects warnings about a policy: as it is written, and with its
// defaults.
type linter struct {
	written, spec *Spec
	warnings      []Warning
}

func (l *linter) warn(at *field.Path, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{at.String(), fmt.Sprintf(format, args...)})
}

// defaulted is a copy with the defaults filled in.
func defaulted(p *InjectionPolicy) *Spec {
	var c InjectionPolicy
	// A document that came from JSON goes back to it and from it: no error.
	// Empty lists survive, since omitzero omits only those that are nil.
	encoded, _ := json.Marshal(p)
	_ = json.Unmarshal(encoded, &c)
	SetDefaults(&c)
	return &c.Spec
}

func (l *linter) features() {
	configured := func(h *ServiceHost) bool { return h != nil && (h.Host != "" || h.HostFrom != "") }
	if configured(l.written.ServiceHost) || l.written.DNS != nil {
		return
	}
	for i := range l.written.Rules {
		if configured(l.written.Rules[i].ServiceHost) || l.written.Rules[i].DNS != nil {
			return
		}
	}
	l.warn(field.NewPath("spec"), "configures neither serviceHost nor dns, here or in a rule: nothing is ever injected")
}

// kubeletNdots is what kubelet writes for pods whose dnsConfig names no ndots.
const kubeletNdots = 5

// serviceHost checks one block, the policy's or a rule's, for pods that get
// the DNS settings dns.
func (l *linter) serviceHost(h *ServiceHost, dns dnsSettings, at *field.Path) {
	if h == nil {
		return
	}
	if h.Probe != nil && h.HostFrom == HostFromNodeIP {
		l.warn(at.Child("probe"), "has no effect with hostFrom %s: there is no one host that could be probed", HostFromNodeIP)
	}
	ndots := kubeletNdots
	if dns.configured && dns.enabled {
		ndots, _ = strconv.Atoi(dns.options[0].Value)
	}
	_, err := netip.ParseAddr(h.Host)
	if dots := strings.Count(h.Host, "."); h.Host != "" && err != nil && !strings.HasSuffix(h.Host, ".") && dots < ndots {
		l.warn(at.Child("host"), "%s has %d dots and the pods have ndots %d: every lookup of it tries the search domains first; lower ndots, or write a trailing dot if all clients accept one",
			h.Host, dots, ndots)
	}
}

// dns checks one block, the policy's or a rule's.
func (l *linter) dns(d *DNS, at *field.Path) {
	if d == nil {
		return
	}
	if d == l.written.DNS && d.Ndots != nil && *d.Ndots < DefaultNdots {
		// musl's name_from_dns_search (src/network/lookup_name.c) skips the
		// search list for such names; glibc and Go try it after the name itself.
		names := `"service.namespace.svc"`
		if *d.Ndots < 2 {
			names = `"service.namespace" and ` + names
		}
		l.warn(at.Child("ndots"), "%d is for every pod, but musl (Alpine images) never tries the search domains for a name with %d or more dots: names like %s no longer resolve there; keep %d and lower it in rules (musl, src/network/lookup_name.c, name_from_dns_search)",
			*d.Ndots, *d.Ndots, names, DefaultNdots)
	}
}

// fallback warns where the servers behind the cache are the cluster DNS, as
// they are by default.
func (l *linter) fallback(servers []string, at *field.Path) {
	cluster := l.spec.Cluster.DNSServers
	if servers == nil {
		servers = cluster
	}
	if len(servers) > 0 && !slices.ContainsFunc(servers, func(s string) bool { return !slices.Contains(cluster, s) }) {
		l.warn(at, "%s is the cluster DNS: musl (Alpine images) asks all nameservers at once, so it still gets every query of those pods; an empty list means no fallback",
			strings.Join(servers, " "))
	}
}

func (l *linter) resolvers(at *field.Path) {
	type earlierImage struct{ at, image string }
	var earlier []earlierImage
	for i := range l.written.Resolvers {
		for j, image := range l.written.Resolvers[i].Images {
			at := at.Index(i).Child("images").Index(j)
			k := slices.IndexFunc(earlier, func(e earlierImage) bool { return covers(e.image, image) })
			if k >= 0 {
				l.warn(at, "is never reached: %s (%s) matches the same images", earlier[k].image, earlier[k].at)
			}
			earlier = append(earlier, earlierImage{at.String(), image})
		}
	}
}

func (l *linter) rule(i int, at *field.Path) {
	rule := &l.written.Rules[i]
	for j := range l.written.Rules[:i] {
		earlier := &l.written.Rules[j]
		if earlier.Match.matchesAll() {
			l.warn(at, "is never reached: rule %s (spec.rules[%d]) matches every pod", earlier.Name, j)
			return
		}
		if reflect.DeepEqual(earlier.Match, rule.Match) {
			l.warn(at, "is never reached: rule %s (spec.rules[%d]) matches the same pods", earlier.Name, j)
			return
		}
	}
	if rule.Mode != "" && stricter(l.spec.Mode, rule.Mode) != rule.Mode {
		l.warn(at.Child("mode"), "%s has no effect: the policy's mode is %s", rule.Mode, l.spec.Mode)
	}
	l.serviceHost(rule.ServiceHost, mergeDNS(l.spec, rule.DNS), at.Child("serviceHost"))
	l.dns(rule.DNS, at.Child("dns"))
	if rule.DNS == nil {
		return
	}
	base := orEmpty(l.spec.DNS)
	mode, servers := rule.DNS.Mode, rule.DNS.NodeLocal.FallbackServers
	named := mode == DNSModeNodeLocal && base.Mode != DNSModeNodeLocal || servers != nil
	if mode == "" {
		mode = base.Mode
	}
	if servers == nil {
		servers = base.NodeLocal.FallbackServers
	}
	// What a rule takes over from the policy is warned of there.
	if mode == DNSModeNodeLocal && named {
		l.fallback(servers, at.Child("dns", "nodeLocal", "fallbackServers"))
	}
}

// matchesAll reports whether no condition keeps a pod out.
func (m *Match) matchesAll() bool {
	all := func(patterns []string) bool { return len(patterns) == 0 || slices.ContainsFunc(patterns, isWildcard) }
	return all(m.Namespaces) && all(m.ServiceAccounts) &&
		(m.PodSelector == nil || len(m.PodSelector.MatchLabels)+len(m.PodSelector.MatchExpressions) == 0) &&
		(m.NamespaceSelector == nil || len(m.NamespaceSelector.MatchLabels)+len(m.NamespaceSelector.MatchExpressions) == 0) &&
		(len(m.Owners) == 0 || slices.ContainsFunc(m.Owners, func(o Owner) bool { return o.Kind == "" && isWildcard(o.Name) }))
}

// isWildcard reports whether a pattern matches every name.
func isWildcard(pattern string) bool { return pattern != "" && strings.Trim(pattern, "*") == "" }
