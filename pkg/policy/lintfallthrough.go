package policy

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// through checks one block of dns, the policy's or a rule's, for what its pods
// get in effect.
func (l *linter) through(d *DNS, e *EffectiveDNS, at *field.Path) {
	if d == nil {
		return
	}
	if d.Fallthrough != nil {
		l.ofFallthrough(d, e, at.Child("fallthrough"))
	}
	if len(d.ExtraSearches) == 0 {
		return
	}
	below := strings.Join(d.ExtraSearches, " ")
	if l.musl && int(*e.Ndots) <= DefaultNdots {
		l.warn(at.Child("extraSearches"), "names with %s below %s do not resolve with musl (Alpine images), which never tries the search domains for them at ndots %d",
			dots(int(*e.Ndots)), below, *e.Ndots)
	}
	if through := *e.Fallthrough.Ndots; l.lowers(e) {
		l.warn(at.Child("extraSearches"), "names with %s or more below %s are asked outside first where containers get ndots %d by fallthrough: what the outside has under such a name counts; if it may have any, a rule with fallthrough.ndots %d keeps its pods from it",
			dots(int(through)), below, through, *e.Ndots)
	}
}

// ofFallthrough checks what a block of dns says of fall-through.
func (l *linter) ofFallthrough(d *DNS, e *EffectiveDNS, at *field.Path) {
	f := d.Fallthrough
	env := e.Fallthrough.Env == FallthroughEnvKnown
	switch {
	case len(l.written.Resolvers) == 0:
		l.warn(at, "has no effect: spec.resolvers says of no image which resolver it contains")
	case f.Ndots != nil && *f.Ndots >= *e.Ndots:
		own := l.spec.effective(-1).DNS
		if d == l.written.DNS || e.NamesNdots() || own == nil || !l.lowers(own) {
			l.warn(at.Child("ndots"), "%d is not below the pods' ndots, which is %d: they have no fall-through", *f.Ndots, *e.Ndots)
		} // else it is how a rule keeps its pods from the policy's
	case d == l.written.DNS && l.fallsThrough(): // if not its own pods, those of a rule
	case *e.Fallthrough.Ndots >= *e.Ndots:
		l.warn(at, "has no effect: its ndots is %d, and the pods have ndots %d", *e.Fallthrough.Ndots, *e.Ndots)
	case !anyFallsThrough(l.written.Resolvers, env) && env:
		l.warn(at, "has no effect: spec.resolvers has no image with go, and none with glibc that has no beside, resOptions or localDomain")
	case !anyFallsThrough(l.written.Resolvers, env):
		l.warn(at, "has no effect: with env Never only pods of nothing but Go get a lower ndots, and spec.resolvers has no image with go")
	}
	open := f.Probe != nil && f.Probe.Enabled != nil && !*f.Probe.Enabled // whatever the servers say
	switch local := f.RequireLocal; {
	case local != nil && !*local:
		l.warn(at.Child("requireLocal"), "false: pods keep their options for life, and an outage of what the cluster DNS asks makes lookups of names that end in .svc fail with c-ares and Netty, and take longer with others")
	case local != nil && !*e.Fallthrough.Probe.Enabled:
		l.warn(at.Child("requireLocal"), "true has no effect: probe.enabled is false, so nobody finds out whether the servers answer these names themselves")
	}
	if open {
		l.warn(at.Child("probe", "enabled"), "false: nobody notices where the DNS servers begin to have addresses for names that nobody has, which every resolver that falls through believes")
		if p := f.Probe; p.Timeout != nil || p.Interval != nil || p.FailureThreshold != nil {
			l.warn(at.Child("probe"), "timeout, interval and failureThreshold have no effect: enabled is false")
		}
	}
}

// fallsThrough reports whether pods may get a lower ndots: of settings in which it
// is lower, and of images that spec.resolvers knows to allow it.
func (l *linter) fallsThrough() bool {
	for e := range l.spec.Effective() {
		if e.DNS != nil && l.lowers(e.DNS) {
			return true
		}
	}
	return false
}

// lowers is fallsThrough for pods that get these settings.
func (l *linter) lowers(e *EffectiveDNS) bool {
	f := e.Fallthrough
	return e.FallsThrough() && *f.Ndots < *e.Ndots && anyFallsThrough(l.written.Resolvers, f.Env == FallthroughEnvKnown)
}

// promise warns of a pattern that says of images which nobody has built yet what
// lowers the ndots of their containers.
func (l *linter) promise(hint *ImageResolver, image string, at *field.Path) {
	if hint.Resolver != ResolverGlibc && hint.Resolver != ResolverGo {
		return
	}
	name, digest, pinned := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], "@")
	name, tag, tagged := strings.Cut(name, ":")
	const instead = "; name versions in pods, and take their full references from `kubectl shorthop resolvers`"
	switch {
	case isWildcard(image):
		l.warn(at, "is a promise that every image contains %s: dns.fallthrough lowers ndots by it", hint.Resolver)
	case pinned && !strings.ContainsAny(digest, "*?"):
	case strings.ContainsAny(name, "*?"):
		l.warn(at, "names no repository: it is a promise that whatever matches it contains %s, by which dns.fallthrough lowers ndots"+instead, hint.Resolver)
	case !tagged || strings.ContainsAny(tag, "*?"):
		l.warn(at, "names no tag: it is a promise that every later build contains %s, by which dns.fallthrough lowers ndots"+instead, hint.Resolver)
	case tag == "latest":
		l.warn(at, "names a tag that moves: it is a promise that every later build contains %s, by which dns.fallthrough lowers ndots"+instead, hint.Resolver)
	}
}
