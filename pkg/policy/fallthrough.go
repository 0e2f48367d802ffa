package policy

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Resolvers that fall through get a lower ndots than others, as dns.fallthrough
// says. A name with ndots dots or more is asked as it is first; glibc, Go and
// c-ares then try the search list; musl, Perl's Net::DNS and PHP's amphp/dns do
// not. Two carriers:
//
//	resolv.conf   pods of which every container's image holds nothing but Go:
//	              the ndots that DNS writes
//	RES_OPTIONS   each container whose image is known to allow it (see
//	              ResOptionsReason); musl and Go without cgo do not read it, so
//	              that wrong knowledge is harmless. Netty from 4.1.50 and dnsjava
//	              from 3.0 do, and try the search list after NXDOMAIN, as c-ares
//
// A pod gets neither where one of these applies; the first is the reason:
//
//	DNS is skipped for the pod, for any reason but              DNS's own reason
//	  ephemeral_container
//	the pod's dnsConfig, an annotation, or the rule names       ndots_set
//	  ndots, and the rule names no fallthrough
//	the pod's dnsConfig names searches                          own_searches
//	fallthrough.ndots is not below resolv.conf's                ndots_not_lower
//	no container may have either                                the containers' reason
//	a namespace with a headless Service is a name outside, so   namespace_is_public_suffix
//	  that 3 counts, and 3 is not below resolv.conf's
//	the gate of the DNS servers                                 upstream_*, svc_not_local
//
// An ephemeral container finds the resolv.conf of the running pod, so that file's
// ndots counts for it (running).

const (
	// EnvResOptions has resolver options that count after those of resolv.conf.
	EnvResOptions = "RES_OPTIONS"
	// EnvLocalDomain replaces resolv.conf's search list.
	EnvLocalDomain = "LOCALDOMAIN"
)

// publicSuffixNdots is the lowest value while a namespace of the cluster is a name
// outside: with it "pod.service.namespace" is asked outside last, as with every value
// above 2.
const publicSuffixNdots = 3

// Carrier is what takes the lower ndots to a resolver.
type Carrier string

const (
	// CarrierEnvironment is RES_OPTIONS.
	CarrierEnvironment Carrier = "RES_OPTIONS"
	// CarrierResolvConf is the pod's resolv.conf, through dnsConfig.
	CarrierResolvConf Carrier = "resolv.conf"
)

// FallthroughDecision says what containers whose resolver falls through get.
// Which containers: see Compiled.ResOptionsReason.
type FallthroughDecision struct {
	Outcome
	// Ndots and Carrier are there where something is injected.
	Ndots   int32   `json:"ndots,omitzero"`
	Carrier Carrier `json:"carrier,omitzero"`
	// ResOptions is the value of RES_OPTIONS with that carrier.
	ResOptions string `json:"resOptions,omitzero"`
}

// fallthroughSettings is a compiled Fallthrough.
type fallthroughSettings struct {
	ndots        int32
	env          bool
	requireLocal bool
	gated        bool
	probe        UpstreamProbe // without servers
}

func newFallthroughSettings(f *Fallthrough) fallthroughSettings {
	p := f.Probe
	return fallthroughSettings{
		ndots: *f.Ndots, env: f.Env == FallthroughEnvKnown, requireLocal: *f.RequireLocal, gated: *p.Enabled,
		probe: UpstreamProbe{
			Timeout: p.Timeout.Duration, Interval: p.Interval.Duration, FailureThreshold: int(*p.FailureThreshold), RequireLocal: *f.RequireLocal,
		},
	}
}

// ThroughEnvironment reports whether containers get RES_OPTIONS.
func (d *FallthroughDecision) ThroughEnvironment() bool {
	return d.Injects() && d.Carrier == CarrierEnvironment
}

// resOptions are the values of RES_OPTIONS, made once.
var resOptions = func() (values [maxNdots + 1]string) {
	for n := range values {
		values[n] = ndotsOption(int32(n)).String()
	}
	return values
}()

// decideFallthrough decides for a pod whose DNS is patched, and for an ephemeral
// container in a pod whose DNS would be patched if it were created now. dns has what
// annotations say, and for a new pod what advice says; mode tells which servers the pod
// asks.
func (c *Compiled) decideFallthrough(r *Request, dns *dnsSettings, outcome Outcome, mode DNSMode) FallthroughDecision {
	skip := func(reason Reason) FallthroughDecision {
		return FallthroughDecision{Outcome: Outcome{ActionSkip, reason}}
	}
	f, ndots := &dns.through, dns.ndots()
	if r.Operation == OperationAddEphemeralContainer {
		ndots, mode = r.running()
	}
	switch {
	case (dns.ndotsOnly || r.Pod.HasOption("ndots")) && r.heeds(ReasonNdotsSet):
		return skip(ReasonNdotsSet)
	case r.Pod.hasSearches() && r.heeds(ReasonOwnSearches):
		return skip(ReasonOwnSearches)
	case f.ndots >= ndots && r.heeds(ReasonNdotsNotLower):
		return skip(ReasonNdotsNotLower)
	}
	carrier := CarrierEnvironment
	if r.Operation != OperationAddEphemeralContainer && c.holdsOnlyGo(r.Pod) {
		carrier = CarrierResolvConf
	} else if reason := c.noResOptions(r, f); reason != "" && r.heeds(reason) {
		return skip(reason)
	}
	d := FallthroughDecision{Outcome: Outcome{ActionInject, outcome.Reason}, Ndots: f.ndots, Carrier: carrier}
	if r.Gates != nil && r.Gates.PublicNamespace && d.Ndots < publicSuffixNdots && r.heeds(ReasonNamespaceIsPublicSuffix) {
		d.Ndots, d.Reason = publicSuffixNdots, ReasonNamespaceIsPublicSuffix
		if d.Ndots >= ndots {
			return skip(ReasonNamespaceIsPublicSuffix)
		}
	}
	if f.gated {
		if reason := r.upstream(dns.upstream(mode)); reason != "" && (reason != ReasonServiceNotLocal || f.requireLocal) && r.heeds(reason) {
			return skip(reason)
		}
	}
	if carrier == CarrierEnvironment {
		d.ResOptions = resOptions[d.Ndots]
	}
	return d
}

// hasSearches reports whether the pod's own dnsConfig names search domains,
// below which there may be longer short names than the cluster's.
func (p *Pod) hasSearches() bool {
	return p.Spec.DNSConfig != nil && len(p.Spec.DNSConfig.Searches) > 0
}

// holdsOnlyGo reports whether every image of the pod is known to hold nothing
// but Go programs without cgo.
func (c *Compiled) holdsOnlyGo(pod *Pod) bool {
	for _, list := range [...][]Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if hint := c.resolvers.of(list[i].Image).hint; hint == nil || hint.Resolver != ResolverGo {
				return false
			}
		}
	}
	return len(pod.Spec.Containers) > 0
}

// noResOptions returns why no container gets RES_OPTIONS, or "" if one does. Of
// several reasons it is the one that a user is least likely to expect.
func (c *Compiled) noResOptions(r *Request, f *fallthroughSettings) Reason {
	if !f.env {
		return ReasonResOptionsNever
	}
	rank := len(resOptionsReasons)
	for _, container := range r.newContainers {
		reason := c.ResOptionsReason(container)
		if reason == "" {
			return ""
		}
		rank = min(rank, slices.Index(resOptionsReasons[:], reason))
	}
	if rank == len(resOptionsReasons) {
		return ReasonNoNewContainer
	}
	return resOptionsReasons[rank]
}

// resOptionsReasons are those of ResOptionsReason, the least expected first.
var resOptionsReasons = [...]Reason{
	ReasonResOptionsUnseen, ReasonResOptionsSet, ReasonResolverBeside, ReasonResolverUnknown, ReasonResolverOther,
}

// ResOptionsReason says why a container does not get RES_OPTIONS; empty if it
// does. The first that applies:
//
//	spec.resolvers does not know the image                         resolver_unknown
//	its resolver is another one than glibc                         resolver_other
//	the image has RES_OPTIONS or LOCALDOMAIN in its ENV            res_options_set
//	env names one of them, in any way                              res_options_set
//	variables come by envFrom, and ours would replace one of them  res_options_unseen
//	a Go program with cgo, Net::DNS or amphp/dns would change      resolver_beside
func (c *Compiled) ResOptionsReason(container *Container) Reason {
	hint := c.resolvers.of(container.Image).hint
	switch {
	case hint == nil:
		return ReasonResolverUnknown
	case hint.Resolver != ResolverGlibc:
		return ReasonResolverOther
	case hint.ResOptions != nil, hint.LocalDomain != nil:
		return ReasonResOptionsSet
	}
	for i := range container.Env {
		if name := container.Env[i].Name; name == EnvResOptions || name == EnvLocalDomain {
			return ReasonResOptionsSet
		}
	}
	switch {
	case bool(container.EnvFrom):
		return ReasonResOptionsUnseen
	case len(hint.Beside) > 0:
		return ReasonResolverBeside
	}
	return ""
}

// running returns the ndots of the running pod's resolv.conf, and whom it asks.
func (r *Request) running() (ndots int32, mode DNSMode) {
	pod := r.Pod
	if r.Running != nil {
		pod = r.Running
	}
	ndots, mode = kubeletNdots, DNSModeOptions
	if pod.Spec.DNSPolicy == "None" { // kubelet adds no options then
		ndots, mode = 1, DNSModeNodeLocal
	}
	if config := pod.Spec.DNSConfig; config != nil {
		for i := range config.Options { // the last one counts
			option := &config.Options[i]
			if option.Name != "ndots" || option.Value == nil {
				continue
			}
			if n, ok := smallNumber(*option.Value); ok {
				ndots = n
			}
		}
	}
	return ndots, mode
}

// smallNumber reads digits; resolvers cap ndots at 15.
func smallNumber(text string) (n int32, ok bool) {
	if !isDigits(text) {
		return 0, false
	}
	for i := range len(text) {
		n = min(n*10+int32(text[i]-'0'), maxNdots)
	}
	return n, true
}

// Upstream names the servers whose word about names outside the cluster counts
// for a pod: the addresses of a node-local cache, with commas, or
// UpstreamCluster.
type Upstream string

// UpstreamCluster is the cluster DNS, at the addresses that the policy has or
// that were discovered.
const UpstreamCluster Upstream = ""

// UpstreamProbe says how the gate of an upstream is kept. Where several blocks
// of a policy have the same, the shortest times and the lowest threshold apply.
type UpstreamProbe struct {
	Upstream
	// Addresses are asked; none for a cluster DNS that the policy does not name.
	Addresses         []string
	Timeout, Interval time.Duration
	FailureThreshold  int
	// RequireLocal is true where a block of the policy needs the servers to
	// answer themselves.
	RequireLocal bool
}

func (d *dnsSettings) upstream(mode DNSMode) Upstream {
	if mode == DNSModeNodeLocal {
		return d.local
	}
	return UpstreamCluster
}

// UpstreamProbes lists the upstreams by which fall-through is decided, each
// once. There are none where no image is known to fall through: then nothing
// would be decided by what they say.
func (c *Compiled) UpstreamProbes() []UpstreamProbe {
	var probes []UpstreamProbe
	add := func(u Upstream, addresses []string, p UpstreamProbe) {
		i := slices.IndexFunc(probes, func(known UpstreamProbe) bool { return known.Upstream == u })
		if i < 0 {
			p.Upstream, p.Addresses = u, addresses
			probes = append(probes, p)
			return
		}
		known := &probes[i]
		known.Timeout, known.Interval = min(known.Timeout, p.Timeout), min(known.Interval, p.Interval)
		known.FailureThreshold = min(known.FailureThreshold, p.FailureThreshold)
		known.RequireLocal = known.RequireLocal || p.RequireLocal
	}
	for s := range c.allSettings {
		d := &s.dns
		if !d.configured || d.ndotsOnly || !d.through.gated || !c.mayFallThrough(d) {
			continue
		}
		add(UpstreamCluster, c.cluster.DNSServers, d.through.probe)
		if d.local != UpstreamCluster && (d.mode == DNSModeNodeLocal || c.overrides.mode) {
			add(d.local, d.nodeLocal.Servers, d.through.probe)
		}
	}
	return probes
}

// mayFallThrough reports whether a pod may get the lower ndots of these
// settings, for all that spec.resolvers says.
func (c *Compiled) mayFallThrough(d *dnsSettings) bool {
	if d.through.ndots >= max(d.ndots(), kubeletNdots) { // kubelet's counts for ephemeral containers
		return false
	}
	return anyFallsThrough(c.document.Spec.Resolvers, d.through.env)
}

// anyFallsThrough reports whether an image is known that falls through: env says
// whether containers may get RES_OPTIONS.
func anyFallsThrough(hints []ImageResolver, env bool) bool {
	return slices.ContainsFunc(hints, func(hint ImageResolver) bool {
		return hint.Resolver == ResolverGo || env && hint.Resolver == ResolverGlibc &&
			hint.ResOptions == nil && hint.LocalDomain == nil && len(hint.Beside) == 0
	})
}

// FallsThrough reports whether any pod may get a lower ndots because its
// resolver falls through: whether it matters what the outside says.
func (c *Compiled) FallsThrough() bool {
	for s := range c.allSettings {
		if s.dns.configured && !s.dns.ndotsOnly && c.mayFallThrough(&s.dns) {
			return true
		}
	}
	return false
}

// validateFallthrough checks one block, with what is in effect where it stands.
func validateFallthrough(f, effective *Fallthrough, at *field.Path) field.ErrorList {
	if f == nil {
		return nil
	}
	var errs field.ErrorList
	if f.Ndots != nil {
		errs = append(errs, validateRange(int(*f.Ndots), 2, maxNdots, at.Child("ndots"))...)
	}
	if f.Env != "" {
		errs = append(errs, oneOf(at.Child("env"), f.Env, FallthroughEnvKnown, FallthroughEnvNever)...)
	}
	if f.Probe == nil {
		return errs
	}
	at = at.Child("probe")
	if i := f.Probe.Interval; i != nil && i.Duration < time.Second {
		errs = append(errs, field.Invalid(at.Child("interval"), i.Duration.String(), "must be at least 1s"))
	}
	if n := f.Probe.FailureThreshold; n != nil && *n < 1 {
		errs = append(errs, field.Invalid(at.Child("failureThreshold"), *n, "must be at least 1"))
	}
	timeout, interval := effective.Probe.Timeout.Duration, effective.Probe.Interval.Duration
	switch t := f.Probe.Timeout; {
	case t != nil && (t.Duration < 10*time.Millisecond || t.Duration > 5*time.Second):
		errs = append(errs, field.Invalid(at.Child("timeout"), t.Duration.String(), "must be from 10ms to 5s"))
	case interval >= time.Second && timeout >= interval:
		errs = append(errs, field.Invalid(at.Child("timeout"), timeout.String(), "must be below the interval, which is "+interval.String()))
	}
	return errs
}
