package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Compiled is a policy that is ready to decide: selectors and patterns are
// parsed and every rule is merged with the policy's own fields (Effective). It is
// immutable and safe for concurrent use.
type Compiled struct {
	name         string
	hash         string
	mode         Mode
	onError      OnError
	final        bool
	cluster      *Cluster
	excluded     *Excluded
	ownNamespace string
	aliases      []alias
	virtualNodes virtualNodeHints
	overrides    overrides
	base         settings
	rules        []rule
	resolvers    imageResolvers
	advice       adviceUse
	document     *InjectionPolicy
}

type alias struct {
	label       string
	feature     Feature
	disableOnly bool
}

// adviceUse is a compiled AdviceSettings.
type adviceUse struct {
	match AdviceMatch
	floor int32
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
	isName     bool   // host has to be looked up
	// endpoint is what pods get; empty with fromNodeIP.
	endpoint Endpoint
	// gated is false where nobody probes the endpoint.
	gated            bool
	interval         time.Duration
	failureThreshold int
}

type dnsSettings struct {
	featureSettings
	mode    DNSMode
	options []Option // ndots first
	// variants are the options with the other values of ndots that pods may get;
	// nil where annotations changed them.
	variants [][]Option
	// ndotsNamed is true where the rule or an annotation names ndots, and
	// ndotsOnly where therefore no resolver gets another one.
	ndotsNamed, ndotsOnly bool
	through               fallthroughSettings
	advice                adviceSettings
	searches              []string
	// leaveOwnConfig leaves pods alone that bring a dnsConfig.
	leaveOwnConfig bool
	nodeLocal      NodeLocal
	local          Upstream // nodeLocal.servers
	cluster        *Cluster
	cache          Cache // without a DaemonSet: no gate
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
		name:         p.Metadata.Name,
		hash:         hex.EncodeToString(sum[:])[:hashLength],
		mode:         s.Mode,
		onError:      s.OnError,
		final:        s.NamespaceOptOut == NamespaceOptOutFinal,
		cluster:      &s.Cluster,
		excluded:     NewExcluded(s.ExcludedNamespaces),
		ownNamespace: ownNamespace,
		overrides: overrides{
			ndots:    s.Allows(OverrideNdots),
			mode:     s.Allows(OverrideMode),
			options:  s.Allows(OverrideOptions),
			minNdots: *s.PodOverrides.Ndots.Min,
			maxNdots: *s.PodOverrides.Ndots.Max,
		},
		document: p,
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
	c.advice = adviceUse{s.Advice.Match, *s.Advice.Floor}
	c.rules = make([]rule, len(s.Rules))
	for e := range s.Effective() {
		if e.Rule == nil {
			c.base = newSettings(s, e)
			continue
		}
		r := &c.rules[e.Index]
		r.settings = newSettings(s, e)
		if r.matcher, err = compileMatch(&e.Rule.Match); err != nil {
			return nil, fmt.Errorf("compile rule %s: %w", e.Rule.Name, err)
		}
	}
	return c, nil
}

// newSettings compiles what applies to the pods of a rule.
func newSettings(s *Spec, e *Effective) settings {
	compiled := settings{
		rule: e.Name(), mode: e.Mode, percent: e.Percent,
		serviceHost: newServiceHostSettings(e.ServiceHost), dns: newDNSSettings(&s.Cluster, e.DNS),
	}
	compiled.serviceHost.disabled = slices.Contains(s.DisabledFeatures, FeatureNameServiceHost)
	compiled.dns.disabled = slices.Contains(s.DisabledFeatures, FeatureNameDNS)
	return compiled
}

func newServiceHostSettings(h *EffectiveServiceHost) serviceHostSettings {
	if h == nil {
		return serviceHostSettings{}
	}
	compiled := serviceHostSettings{
		featureSettings: featureSettings{configured: h.configured(), enabled: *h.Enabled, fromRule: h.EnabledBy == ByRule},
		host:            h.Host, fromNodeIP: h.HostFrom == HostFromNodeIP,
		interval: h.Probe.Interval.Duration, failureThreshold: int(*h.Probe.FailureThreshold),
	}
	if h.Port != nil {
		compiled.port = strconv.Itoa(int(*h.Port))
	}
	if h.Host != "" {
		compiled.endpoint = Endpoint{h.Host, cmp.Or(compiled.port, defaultPort)}
		compiled.gated = *h.Probe.Enabled
		_, err := netip.ParseAddr(h.Host)
		compiled.isName = err != nil
	}
	return compiled
}

func newDNSSettings(cluster *Cluster, d *EffectiveDNS) dnsSettings {
	if d == nil {
		return dnsSettings{}
	}
	compiled := dnsSettings{
		featureSettings: featureSettings{configured: true, enabled: *d.Enabled, fromRule: d.EnabledBy == ByRule},
		mode:            d.Mode,
		options:         append([]Option{ndotsOption(*d.Ndots)}, d.Options...),
		ndotsNamed:      d.NamesNdots(),
		ndotsOnly:       !d.FallsThrough(),
		through:         newFallthroughSettings(d.Fallthrough),
		advice: adviceSettings{
			apply: d.Advice == AdviceApply, high: d.MinConfidence == ConfidenceHigh, throughNamed: d.FallthroughNdotsBy == ByRule,
		},
		searches:       d.ExtraSearches,
		leaveOwnConfig: d.OwnConfig == OwnConfigLeave,
		nodeLocal:      d.NodeLocal,
		local:          Upstream(strings.Join(d.NodeLocal.Servers, ",")),
		cluster:        cluster,
	}
	compiled.cache, _ = d.NodeLocal.Cache()
	for _, ndots := range []int32{kubeletNdots, compiled.through.ndots, max(compiled.through.ndots, publicSuffixNdots)} {
		compiled.variants = append(compiled.variants, withNdots(compiled.options, ndots))
	}
	for ndots := int32(1); ndots <= maxAdvised && compiled.advice.apply && !compiled.ndotsNamed; ndots++ {
		compiled.variants = append(compiled.variants, withNdots(compiled.options, ndots))
	}
	return compiled
}

func withNdots(options []Option, ndots int32) []Option {
	options = slices.Clone(options)
	options[0] = ndotsOption(ndots)
	return options
}

// ndots is what resolv.conf gets.
func (d *dnsSettings) ndots() int32 {
	n, _ := smallNumber(d.options[0].Value)
	return n
}

// optionsWith are the options with another ndots.
func (d *dnsSettings) optionsWith(ndots int32) []Option {
	value := ndotsOption(ndots).Value
	for _, options := range d.variants {
		if options[0].Value == value {
			return options
		}
	}
	return withNdots(d.options, ndots)
}

func compileMatch(m *Match) (matcher, error) {
	compiled := matcher{
		namespaces:      compilePatterns(m.Namespaces),
		serviceAccounts: compilePatterns(m.ServiceAccounts),
		podAnnotations:  compileKeys(m.PodAnnotations),
		nodeSelector:    compileKeys(m.NodeSelector),
		runtimeClasses:  compilePatterns(m.RuntimeClasses),
		priorityClasses: compilePatterns(m.PriorityClasses),
		dnsPolicies:     m.DNSPolicies,
		hostNetwork:     m.HostNetwork,
	}
	for _, key := range m.Tolerations {
		compiled.tolerations = append(compiled.tolerations, compilePattern(unslashed(key)))
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
func compileSelector(s *metav1.LabelSelector) (*selector, error) {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return nil, nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, err
	}
	return newSelector(parsed), nil
}

func compileVirtualNodes(v *VirtualNodes) (virtualNodeHints, error) {
	hints := virtualNodeHints{
		tolerationKeys: v.TolerationKeys,
		runtimeClasses: compilePatterns(v.RuntimeClasses),
		schedulerNames: compilePatterns(v.SchedulerNames),
	}
	for _, text := range v.PodAnnotations {
		key, value, named := strings.Cut(text, "=")
		hints.podAnnotations = append(hints.podAnnotations, annotationHint{key, value, !named})
	}
	for _, text := range v.PodLabels {
		selector, err := labels.Parse(text)
		if err != nil {
			return virtualNodeHints{}, err
		}
		hints.podLabels = append(hints.podLabels, newSelector(selector))
	}
	for _, text := range v.NodeSelectors {
		selector, err := labels.Parse(text)
		if err != nil {
			return virtualNodeHints{}, err
		}
		hints.nodeSelectors = append(hints.nodeSelectors, newNodeHint(selector))
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

// WithoutRollout is the policy as it decides about workloads in the share of every
// rollout. Its document, and so its name and hash, are those of the policy.
func (c *Compiled) WithoutRollout() *Compiled {
	whole := *c
	whole.base.percent = 100
	whole.rules = slices.Clone(c.rules)
	for i := range whole.rules {
		whole.rules[i].percent = 100
	}
	return &whole
}

// Excludes reports whether a namespace is never touched: excluded by the
// policy, or Shorthop's own.
func (c *Compiled) Excludes(namespace string) bool {
	return c.excluded.Has(namespace) || c.ownNamespace != "" && namespace == c.ownNamespace
}
