package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Compiled is a policy that is ready to decide: selectors and patterns are
// parsed and every rule is merged with the policy's own fields. It is
// immutable and safe for concurrent use.
type Compiled struct {
	name    string
	hash    string
	mode    Mode
	onError OnError
	final   bool
	// clusterDomain is empty where the policy leaves it to discovery.
	clusterDomain string
	excluded      map[string]struct{}
	ownNamespace  string
	aliases       []alias
	virtualNodes  virtualNodeHints
	overrides     overrides
	base          settings
	rules         ruleIndex
	resolvers     []imageResolver
	document      *InjectionPolicy
}

type alias struct {
	label       string
	feature     Feature
	disableOnly bool
}

type overrides struct {
	ndots, mode, options bool
	minNdots, maxNdots   int32
}

type rule struct {
	matcher
	settings
}

// settings is what applies to a pod once its rule is known.
type settings struct {
	rule        string
	mode        Mode
	serviceHost serviceHostSettings
	dns         dnsSettings
	percent     int32
}

type serviceHostSettings struct {
	featureSettings
	host       string
	fromNodeIP bool
	port       string // empty: not injected
	// endpoint is what pods get, and has a gate; empty with fromNodeIP.
	endpoint         Endpoint
	interval         time.Duration
	failureThreshold int
}

type dnsSettings struct {
	featureSettings
	mode      DNSMode
	options   []Option // ndots first
	searches  []string
	servers   []string
	fallbacks []string
	// defaultFallbacks is true where fallbacks are the policy's default, to
	// which discovery may know better.
	defaultFallbacks bool
	cache            Cache // without a DaemonSet: no gate
}

type featureSettings struct {
	disabled   bool // for every pod
	configured bool
	enabled    bool
	fromRule   bool // enabled is the rule's word, not the policy's
}

// hashLength is the number of hex digits of the policy's hash. It tells
// policies apart, it does not protect them.
const hashLength = 12

// Compile prepares a policy that Parse has accepted. ownNamespace is the
// namespace Shorthop runs in, which is excluded as well; empty where there is
// none, as in offline use. The policy must not be changed afterwards.
func Compile(p *InjectionPolicy, ownNamespace string) (*Compiled, error) {
	if errs := Validate(p); len(errs) > 0 {
		return nil, fmt.Errorf("compile policy: %w", errs.ToAggregate())
	}
	canonical, err := json.Marshal(p.Spec)
	if err != nil {
		return nil, fmt.Errorf("compile policy: %w", err)
	}
	sum := sha256.Sum256(canonical)
	s := &p.Spec
	c := &Compiled{
		name:          p.Metadata.Name,
		hash:          hex.EncodeToString(sum[:])[:hashLength],
		mode:          s.Mode,
		onError:       s.OnError,
		final:         s.NamespaceOptOut == NamespaceOptOutFinal,
		clusterDomain: s.Cluster.Domain,
		excluded:      make(map[string]struct{}, len(s.ExcludedNamespaces)+1),
		ownNamespace:  ownNamespace,
		overrides: overrides{
			ndots:    slices.Contains(s.PodOverrides.Allowed, OverrideNdots),
			mode:     slices.Contains(s.PodOverrides.Allowed, OverrideMode),
			options:  slices.Contains(s.PodOverrides.Allowed, OverrideOptions),
			minNdots: *s.PodOverrides.Ndots.Min,
			maxNdots: *s.PodOverrides.Ndots.Max,
		},
		document: p,
	}
	for _, namespace := range s.ExcludedNamespaces {
		c.excluded[namespace] = struct{}{}
	}
	if ownNamespace != "" {
		c.excluded[ownNamespace] = struct{}{}
	}
	for _, a := range s.LabelAliases {
		feature := FeatureDNS
		if a.Feature == FeatureNameServiceHost {
			feature = FeatureServiceHost
		}
		c.aliases = append(c.aliases, alias{a.Label, feature, a.DisableOnly})
	}
	if c.virtualNodes, err = compileVirtualNodes(&s.VirtualNodes); err != nil {
		return nil, fmt.Errorf("compile spec.virtualNodes: %w", err)
	}
	c.resolvers = compileResolvers(s.Resolvers)
	c.base = merge(s, &Rule{Name: DefaultRule})
	rules, matches := make([]rule, len(s.Rules)), make([]*Match, len(s.Rules))
	for i := range s.Rules {
		rules[i].settings, matches[i] = merge(s, &s.Rules[i]), &s.Rules[i].Match
		if rules[i].matcher, err = compileMatch(matches[i]); err != nil {
			return nil, fmt.Errorf("compile rule %s: %w", s.Rules[i].Name, err)
		}
	}
	c.rules = newRuleIndex(rules, matches)
	return c, nil
}

// merge lays a rule over the policy's own fields. Only what the rule names
// changes.
func merge(s *Spec, r *Rule) settings {
	merged := settings{
		rule:        r.Name,
		mode:        stricter(s.Mode, r.Mode),
		serviceHost: mergeServiceHost(orEmpty(s.ServiceHost), orEmpty(r.ServiceHost)),
		dns:         mergeDNS(s, r.DNS),
		percent:     *s.Rollout.Percent,
	}
	if r.Rollout.Percent != nil {
		merged.percent = *r.Rollout.Percent
	}
	merged.serviceHost.disabled = slices.Contains(s.DisabledFeatures, FeatureNameServiceHost)
	merged.dns.disabled = slices.Contains(s.DisabledFeatures, FeatureNameDNS)
	return merged
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

func mergeServiceHost(base, over *ServiceHost) serviceHostSettings {
	host, from, port := base.Host, base.HostFrom, base.Port
	if over.Host != "" || over.HostFrom != "" {
		host, from = over.Host, over.HostFrom
	}
	if over.Port != nil {
		port = over.Port
	}
	merged := serviceHostSettings{host: host, fromNodeIP: from == HostFromNodeIP}
	if port != nil {
		merged.port = strconv.Itoa(int(*port))
	}
	merged.configured = host != "" || from != ""
	if host != "" {
		merged.endpoint = Endpoint{host, cmp.Or(merged.port, defaultPort)}
	}
	var probe Probe
	for _, block := range []*Probe{orEmpty(base.Probe), orEmpty(over.Probe)} {
		overridePointer(&probe.Interval, block.Interval)
		overridePointer(&probe.FailureThreshold, block.FailureThreshold)
	}
	setDefaultProbe(&probe)
	merged.interval, merged.failureThreshold = probe.Interval.Duration, int(*probe.FailureThreshold)
	merged.enabled = true
	merged.fromRule = base.Host == "" && base.HostFrom == ""
	merged.applyEnabled(base.Enabled, over.Enabled)
	return merged
}

func mergeDNS(s *Spec, over *DNS) dnsSettings {
	if s.DNS == nil && over == nil {
		return dnsSettings{}
	}
	base := orEmpty(s.DNS)
	var merged dnsSettings
	merged.configured, merged.enabled = true, true
	merged.fromRule = s.DNS == nil
	merged.applyEnabled(base.Enabled, orEmpty(over).Enabled)

	ndots := int32(DefaultNdots)
	merged.mode = DNSModeOptions
	var options []Option
	var local NodeLocal
	for _, block := range []*DNS{base, orEmpty(over)} {
		if block.Mode != "" {
			merged.mode = block.Mode
		}
		if block.Ndots != nil {
			ndots = *block.Ndots
		}
		overrideList(&options, block.Options)
		overrideList(&merged.searches, block.ExtraSearches)
		overrideList(&local.Servers, block.NodeLocal.Servers)
		overrideList(&local.FallbackServers, block.NodeLocal.FallbackServers)
		overridePointer(&local.DaemonSet, block.NodeLocal.DaemonSet)
		overridePointer(&local.MaxUnavailable, block.NodeLocal.MaxUnavailable)
	}
	setDefaultNodeLocal(&local, merged.mode == DNSModeNodeLocal)
	if daemonSet := *orEmpty(local.DaemonSet); daemonSet != "" && len(local.Servers) > 0 {
		merged.cache = Cache{daemonSet, *local.MaxUnavailable}
	}
	merged.defaultFallbacks = local.FallbackServers == nil
	setDefaultList(&local.FallbackServers, s.Cluster.DNSServers...)
	merged.servers, merged.fallbacks = local.Servers, local.FallbackServers
	merged.options = append([]Option{ndotsOption(ndots)}, options...)
	return merged
}

func (f *featureSettings) applyEnabled(base, over *bool) {
	if base != nil {
		f.enabled, f.fromRule = *base, false
	}
	if over != nil {
		f.enabled, f.fromRule = *over, true
	}
}

// overrideList replaces a list that the overriding block names, even if by an
// empty one.
func overrideList[T any](list *[]T, over []T) {
	if over != nil {
		*list = over
	}
}

// overridePointer does the same for a value.
func overridePointer[T any](value **T, over *T) {
	if over != nil {
		*value = over
	}
}

func compileMatch(m *Match) (matcher, error) {
	compiled := matcher{
		namespaces:      compilePatterns(m.Namespaces),
		serviceAccounts: compilePatterns(m.ServiceAccounts),
	}
	for _, owner := range m.Owners {
		compiled.owners = append(compiled.owners, ownerPattern{
			kind: owner.Kind, name: compilePattern(owner.Name), any: owner.Name == "",
		})
	}
	var err error
	if compiled.podSelector, err = compileSelector(m.PodSelector); err != nil {
		return matcher{}, err
	}
	compiled.namespaceSelector, err = compileSelector(m.NamespaceSelector)
	return compiled, err
}

// compileSelector returns nil for a selector that is not named or is empty:
// both hold for everything.
func compileSelector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return nil, nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

func compileVirtualNodes(v *VirtualNodes) (virtualNodeHints, error) {
	hints := virtualNodeHints{
		tolerationKeys: v.TolerationKeys,
		runtimeClasses: compilePatterns(v.RuntimeClasses),
		schedulerNames: compilePatterns(v.SchedulerNames),
	}
	for _, lists := range []struct {
		texts    []string
		compiled *[]labels.Selector
	}{{v.PodLabels, &hints.podLabels}, {v.NodeSelectors, &hints.nodeSelectors}} {
		for _, text := range lists.texts {
			selector, err := labels.Parse(text)
			if err != nil {
				return virtualNodeHints{}, err
			}
			*lists.compiled = append(*lists.compiled, selector)
		}
	}
	return hints, nil
}

// Name is the policy's metadata.name.
func (c *Compiled) Name() string { return c.name }

// Hash is a short hash of the policy with all its defaults: equal for policies
// that decide alike because they say the same.
func (c *Compiled) Hash() string { return c.hash }

// OnError says what a pod gets when reviewing it fails.
func (c *Compiled) OnError() OnError { return c.onError }

// Document is the defaulted document. The caller must not change it.
func (c *Compiled) Document() *InjectionPolicy { return c.document }

// Excludes reports whether a namespace is never touched: excluded by the
// policy, or Shorthop's own.
func (c *Compiled) Excludes(namespace string) bool {
	_, excluded := c.excluded[namespace]
	return excluded
}
