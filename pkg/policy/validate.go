package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxNameservers is the API server's limit for dnsConfig.nameservers, and
	// what kubelet keeps of them.
	maxNameservers = 3
	// maxDomain leaves room for "<63 characters>.svc." within the 253 of a DNS
	// name.
	maxDomain = 185
	// maxNdots is where glibc and musl cap ndots.
	maxNdots = 15
)

// Validate returns everything that is wrong with a defaulted policy.
func Validate(p *InjectionPolicy) field.ErrorList {
	var errs field.ErrorList
	for _, message := range validation.IsDNS1123Subdomain(p.Metadata.Name) {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), p.Metadata.Name, message))
	}
	s, at := &p.Spec, field.NewPath("spec")
	errs = append(errs, oneOf(at.Child("mode"), s.Mode, ModeEnforce, ModeDryRun, ModeOff)...)
	errs = append(errs, validateDisabledFeatures(s.DisabledFeatures, at.Child("disabledFeatures"))...)
	errs = append(errs, oneOf(at.Child("onError"), s.OnError, OnErrorAllow, OnErrorDeny)...)
	errs = append(errs, oneOf(at.Child("namespaceOptOut"), s.NamespaceOptOut, NamespaceOptOutOverridable, NamespaceOptOutFinal)...)
	errs = append(errs, validateCluster(&s.Cluster, at.Child("cluster"))...)
	errs = append(errs, validateExcludedNamespaces(s.ExcludedNamespaces, at.Child("excludedNamespaces"))...)
	errs = append(errs, validateAliases(s.LabelAliases, at.Child("labelAliases"))...)
	errs = append(errs, validateVirtualNodes(&s.VirtualNodes, at.Child("virtualNodes"))...)
	own := s.effective(-1)
	errs = append(errs, validateServiceHost(s.ServiceHost, own.ServiceHost, at.Child("serviceHost"))...)
	errs = append(errs, validateDNS(s.DNS, own.DNS, at.Child("dns"))...)
	errs = append(errs, oneOf(at.Child("advice", "match"), s.Advice.Match, AdviceMatchReference, AdviceMatchRepository)...)
	errs = append(errs, validateRange(int(*s.Advice.Floor), 1, maxAdvised, at.Child("advice", "floor"))...)
	errs = append(errs, validatePodOverrides(&s.PodOverrides, at.Child("podOverrides"))...)
	errs = append(errs, validateResolvers(s.Resolvers, at.Child("resolvers"))...)
	errs = append(errs, validatePercent(s.Rollout.Percent, at.Child("rollout", "percent"))...)
	errs = append(errs, validateRules(s, at.Child("rules"))...)
	// Of what is empty the libraries say the same in several ways.
	return slices.CompactFunc(errs, func(a, b *field.Error) bool { return a.Field == b.Field && b.BadValue == "" })
}

func validateDisabledFeatures(disabled []FeatureName, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, feature := range disabled {
		errs = append(errs, oneOf(at.Index(i), feature, FeatureNameServiceHost, FeatureNameDNS)...)
	}
	return append(errs, validateUnique(disabled, at)...)
}

func validateCluster(c *Cluster, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Domain != "" {
		errs = append(errs, validateDomain(c.Domain, at.Child("domain"))...)
		if len(c.Domain) > maxDomain {
			errs = append(errs, field.TooLong(at.Child("domain"), c.Domain, maxDomain))
		}
	}
	errs = append(errs, validateAddresses(c.DNSServers, at.Child("dnsServers"))...)
	return append(errs, validateAtMost(len(c.DNSServers), maxNameservers, at.Child("dnsServers"))...)
}

func validateAliases(aliases []LabelAlias, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, alias := range aliases {
		at := at.Index(i)
		for _, message := range validation.IsQualifiedName(alias.Label) {
			errs = append(errs, field.Invalid(at.Child("label"), alias.Label, message))
		}
		if strings.HasPrefix(alias.Label, "shorthop.dev/") {
			errs = append(errs, field.Invalid(at.Child("label"), alias.Label, "labels with the prefix shorthop.dev/ have a meaning of their own"))
		}
		if seen[alias.Label] {
			errs = append(errs, field.Duplicate(at.Child("label"), alias.Label))
		}
		seen[alias.Label] = true
		errs = append(errs, oneOf(at.Child("feature"), alias.Feature, FeatureNameServiceHost, FeatureNameDNS)...)
	}
	return errs
}

func validateVirtualNodes(v *VirtualNodes, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	selectors := func(at *field.Path, texts []string) {
		for i, text := range texts {
			if selector, err := labels.Parse(text); err != nil {
				errs = append(errs, field.Invalid(at.Index(i), text, err.Error()))
			} else if selector.Empty() {
				errs = append(errs, field.Invalid(at.Index(i), text, "an empty selector would match every pod"))
			}
		}
	}
	for i, hint := range v.PodAnnotations {
		key, _, _ := strings.Cut(hint, "=")
		for _, message := range validation.IsQualifiedName(strings.ToLower(key)) {
			errs = append(errs, field.Invalid(at.Child("podAnnotations").Index(i), hint, message))
		}
	}
	selectors(at.Child("podLabels"), v.PodLabels)
	selectors(at.Child("nodeSelectors"), v.NodeSelectors)
	for i, key := range v.TolerationKeys {
		for _, message := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(at.Child("tolerationKeys").Index(i), key, message))
		}
	}
	errs = append(errs, validatePatterns(v.RuntimeClasses, at.Child("runtimeClasses"))...)
	return append(errs, validatePatterns(v.SchedulerNames, at.Child("schedulerNames"))...)
}

// validateServiceHost checks one block, with what is in effect where it stands:
// a rule may leave the host to the policy.
func validateServiceHost(h *ServiceHost, effective *EffectiveServiceHost, at *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	var errs field.ErrorList
	if h.Host != "" {
		errs = append(errs, validateHost(h.Host, at.Child("host"))...)
	}
	if h.HostFrom != "" {
		errs = append(errs, oneOf(at.Child("hostFrom"), h.HostFrom, HostFromNodeIP)...)
	}
	if h.Host != "" && h.HostFrom != "" {
		errs = append(errs, field.Forbidden(at.Child("hostFrom"), "host is set: only one of host and hostFrom is allowed"))
	}
	if h.Enabled != nil && *h.Enabled && !effective.configured() {
		errs = append(errs, field.Required(at.Child("host"), "host or hostFrom is needed where enabled is true"))
	}
	if h.Port != nil {
		errs = append(errs, validateRange(int(*h.Port), 1, 65535, at.Child("port"))...)
	}
	if h.Probe != nil {
		if i := h.Probe.Interval; i != nil && i.Duration < time.Second {
			errs = append(errs, field.Invalid(at.Child("probe", "interval"), i.Duration.String(), "must be at least 1s"))
		}
		if n := h.Probe.FailureThreshold; n != nil && *n < 1 {
			errs = append(errs, field.Invalid(at.Child("probe", "failureThreshold"), *n, "must be at least 1"))
		}
	}
	return errs
}

// validateDNS checks one block, with what is in effect where it stands.
func validateDNS(d *DNS, effective *EffectiveDNS, at *field.Path) field.ErrorList {
	if d == nil {
		return nil
	}
	var errs field.ErrorList
	if d.Mode != "" {
		errs = append(errs, oneOf(at.Child("mode"), d.Mode, DNSModeOptions, DNSModeNodeLocal)...)
	}
	if d.Ndots != nil {
		errs = append(errs, validateRange(int(*d.Ndots), 1, maxNdots, at.Child("ndots"))...)
	}
	if d.Advice != "" {
		errs = append(errs, oneOf(at.Child("advice"), d.Advice, AdviceIgnore, AdviceApply)...)
	}
	if d.MinConfidence != "" {
		errs = append(errs, oneOf(at.Child("minConfidence"), d.MinConfidence, ConfidenceMedium, ConfidenceHigh)...)
	}
	if d.OwnConfig != "" {
		errs = append(errs, oneOf(at.Child("ownConfig"), d.OwnConfig, OwnConfigMerge, OwnConfigLeave)...)
	}
	seen := map[string]bool{}
	for i, option := range d.Options {
		at := at.Child("options").Index(i)
		if seen[option.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), option.Name))
		}
		seen[option.Name] = true
		if problem := option.problem(); problem != "" {
			errs = append(errs, field.Invalid(at, option.String(), problem))
		}
	}
	seen = map[string]bool{}
	for i, search := range d.ExtraSearches {
		at := at.Child("extraSearches").Index(i)
		errs = append(errs, validateDomain(search, at)...)
		if seen[search] {
			errs = append(errs, field.Duplicate(at, search))
		}
		seen[search] = true
	}
	errs = append(errs, validateFallthrough(d.Fallthrough, effective.Fallthrough, at.Child("fallthrough"))...)
	return append(errs, validateNodeLocal(&d.NodeLocal, effective, at.Child("nodeLocal"))...)
}

func validateNodeLocal(n *NodeLocal, effective *EffectiveDNS, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validateAddresses(n.Servers, at.Child("servers"))...)
	errs = append(errs, validateAddresses(n.FallbackServers, at.Child("fallbackServers"))...)
	servers, fallback := effective.NodeLocal.Servers, effective.NodeLocal.FallbackServers
	if total := len(servers) + len(fallback); total > maxNameservers {
		shown := slices.Concat(servers[:min(len(servers), maxNameservers)], fallback[:min(len(fallback), maxNameservers)])
		errs = append(errs, field.Invalid(at.Child("servers"), strings.Join(shown, " "),
			fmt.Sprintf("%d servers with the fallbackServers, a pod can have at most %d nameservers", total, maxNameservers)))
	} else {
		for i, server := range fallback {
			if slices.ContainsFunc(servers, func(s string) bool { return canonical(s) == canonical(server) }) && len(n.FallbackServers) > 0 {
				errs = append(errs, field.Duplicate(at.Child("fallbackServers").Index(i), server))
			}
		}
	}
	if effective.Mode == DNSModeNodeLocal && len(servers) == 0 {
		errs = append(errs, field.Required(at.Child("servers"), "mode NodeLocal needs at least one"))
	}
	if n.DaemonSet != nil && *n.DaemonSet != "" {
		namespace, name, found := strings.Cut(*n.DaemonSet, "/")
		if !found || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			errs = append(errs, field.Invalid(at.Child("daemonSet"), *n.DaemonSet, `must be "namespace/name", or "" for no gate`))
		}
	}
	if n.DaemonSetSelector != nil {
		errs = append(errs, validateDaemonSetSelector(n, at.Child("daemonSetSelector"))...)
	}
	if n.MaxUnavailable != nil {
		errs = append(errs, validateMaxUnavailable(n.MaxUnavailable, at.Child("maxUnavailable"))...)
	}
	return errs
}

func validateDaemonSetSelector(n *NodeLocal, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n.DaemonSet != nil {
		errs = append(errs, field.Forbidden(at, "daemonSet is set: only one of daemonSet and daemonSetSelector is allowed"))
	}
	for _, message := range validation.IsDNS1123Label(n.DaemonSetSelector.Namespace) {
		errs = append(errs, field.Invalid(at.Child("namespace"), n.DaemonSetSelector.Namespace, message))
	}
	if len(n.DaemonSetSelector.MatchLabels) == 0 {
		return append(errs, field.Required(at.Child("matchLabels"), "without one it would select every DaemonSet of the namespace"))
	}
	return append(errs, metav1validation.ValidateLabels(n.DaemonSetSelector.MatchLabels, at.Child("matchLabels"))...)
}

func validateMaxUnavailable(v *intstr.IntOrString, at *field.Path) field.ErrorList {
	if v.Type == intstr.Int {
		if v.IntVal < 0 {
			return field.ErrorList{field.Invalid(at, v.IntVal, "must not be negative")}
		}
		return nil
	}
	digits, found := strings.CutSuffix(v.StrVal, "%")
	if n, err := strconv.Atoi(digits); !found || err != nil || n < 0 || n > 100 {
		return field.ErrorList{field.Invalid(at, v.StrVal, "must be a number of nodes or a percentage from 0% to 100%")}
	}
	return nil
}

func validatePodOverrides(o *PodOverrides, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[Override]bool{}
	for i, allowed := range o.Allowed {
		at := at.Child("allowed").Index(i)
		errs = append(errs, oneOf(at, allowed, OverrideNdots, OverrideMode, OverrideOptions)...)
		if seen[allowed] {
			errs = append(errs, field.Duplicate(at, allowed))
		}
		seen[allowed] = true
	}
	at = at.Child("ndots")
	errs = append(errs, validateRange(int(*o.Ndots.Min), 1, maxNdots, at.Child("min"))...)
	errs = append(errs, validateRange(int(*o.Ndots.Max), 1, maxNdots, at.Child("max"))...)
	if *o.Ndots.Min > *o.Ndots.Max {
		errs = append(errs, field.Invalid(at.Child("min"), *o.Ndots.Min, fmt.Sprintf("must not be above max (%d)", *o.Ndots.Max)))
	}
	return errs
}

func validateRules(s *Spec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	excluded := NewExcluded(s.ExcludedNamespaces)
	for e := range s.Effective() {
		if e.Rule == nil {
			continue
		}
		rule, at := e.Rule, at.Index(e.Index)
		switch {
		case rule.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "a rule is known by its name"))
		case rule.Name == DefaultRule:
			errs = append(errs, field.Invalid(at.Child("name"), rule.Name, "stands for the policy's own fields, choose another name"))
		case seen[rule.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), rule.Name))
		default:
			for _, message := range validation.IsDNS1123Label(rule.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), rule.Name, message))
			}
		}
		seen[rule.Name] = true
		if rule.Mode != "" {
			errs = append(errs, oneOf(at.Child("mode"), rule.Mode, ModeEnforce, ModeDryRun, ModeOff)...)
		}
		errs = append(errs, validateMatch(&rule.Match, excluded, at.Child("match"))...)
		errs = append(errs, validateServiceHost(rule.ServiceHost, e.ServiceHost, at.Child("serviceHost"))...)
		errs = append(errs, validateDNS(rule.DNS, e.DNS, at.Child("dns"))...)
		errs = append(errs, validatePercent(rule.Rollout.Percent, at.Child("rollout", "percent"))...)
	}
	return errs
}

func validatePercent(percent *int32, at *field.Path) field.ErrorList {
	if percent == nil {
		return nil
	}
	return validateRange(int(*percent), 0, 100, at)
}

// validateHost accepts what client libraries put into a URL: a DNS name,
// with or without a trailing dot, or an IP address without brackets.
func validateHost(host string, at *field.Path) field.ErrorList {
	if _, err := netip.ParseAddr(host); err == nil {
		return validateAddress(host, at)
	}
	switch {
	case strings.Contains(host, "://") || strings.Contains(host, "/"):
		return field.ErrorList{field.Invalid(at, host, "must be a host, not a URL")}
	case strings.HasPrefix(host, "["):
		return field.ErrorList{field.Invalid(at, host, "must be an IPv6 address without brackets")}
	case strings.Contains(host, ":"):
		return field.ErrorList{field.Invalid(at, host, "must be a host without a port; use the field port")}
	}
	name := strings.TrimSuffix(host, ".")
	if last := name[strings.LastIndexByte(name, '.')+1:]; isDigits(last) {
		return field.ErrorList{field.Invalid(at, host, "is neither an IP address nor a DNS name")}
	}
	return validateDomain(name, at)
}

func validateDomain(domain string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, message := range validation.IsDNS1123Subdomain(domain) {
		errs = append(errs, field.Invalid(at, domain, message))
	}
	return errs
}

func validateAddresses(addresses []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, address := range addresses {
		errs = append(errs, validateAddress(address, at.Index(i))...)
	}
	seen := make(map[string]bool, len(addresses))
	for i, address := range addresses {
		if seen[canonical(address)] {
			errs = append(errs, field.Duplicate(at.Index(i), address))
		}
		seen[canonical(address)] = true
	}
	return errs
}

// canonical is an address in its shortest form: an IPv6 address has several.
func canonical(address string) string {
	if parsed, err := netip.ParseAddr(address); err == nil {
		return parsed.String()
	}
	return address
}

// validateUnique finds what a list has twice.
func validateUnique[T comparable](list []T, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := make(map[T]bool, len(list))
	for i, item := range list {
		if seen[item] {
			errs = append(errs, field.Duplicate(at.Index(i), item))
		}
		seen[item] = true
	}
	return errs
}

func validateAddress(address string, at *field.Path) field.ErrorList {
	parsed, err := netip.ParseAddr(address)
	switch {
	case err != nil || parsed.Zone() != "" || parsed.Is4In6():
		return field.ErrorList{field.Invalid(at, address, "must be an IPv4 or IPv6 address, without port, brackets or zone")}
	case parsed.IsUnspecified() || parsed.IsMulticast() || parsed == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return field.ErrorList{field.Invalid(at, address, "must be the address of a host")}
	}
	return nil
}

func validateAtMost(n, limit int, at *field.Path) field.ErrorList {
	if n > limit {
		return field.ErrorList{field.TooMany(at, n, limit)}
	}
	return nil
}

func validateRange(value, lowest, highest int, at *field.Path) field.ErrorList {
	if value < lowest || value > highest {
		return field.ErrorList{field.Invalid(at, value, fmt.Sprintf("must be between %d and %d", lowest, highest))}
	}
	return nil
}

func oneOf[T ~string](at *field.Path, value T, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, value, allowed)}
}

// orEmpty returns what a pointer points to, or something empty for nil.
func orEmpty[T any](block *T) *T {
	if block == nil {
		return new(T)
	}
	return block
}
