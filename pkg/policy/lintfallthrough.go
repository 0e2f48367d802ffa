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
	if f := d.Fallthrough; f != nil {
		at := at.Child("fallthrough")
		switch {
		case len(l.written.Resolvers) == 0:
			l.warn(at, "has no effect: spec.resolvers says of no image which resolver it contains")
		case f.Ndots != nil && *f.Ndots >= *e.Ndots:
			l.warn(at.Child("ndots"), "%d has no effect: the pods have ndots %d", *f.Ndots, *e.Ndots)
		}
		if f.RequireLocal != nil && !*f.RequireLocal {
			l.warn(at.Child("requireLocal"), "false: pods keep their options for life, and an outage of what the cluster DNS asks makes lookups of names that end in .svc fail with c-ares and Netty, and take longer with others")
		}
		if p := f.Probe; p != nil && p.Enabled != nil && !*p.Enabled {
			l.warn(at.Child("probe", "enabled"), "false: nobody notices where the DNS servers begin to have addresses for names that nobody has, which every resolver that falls through believes")
		}
	}
	if len(d.ExtraSearches) > 0 && l.musl && int(*e.Ndots) <= DefaultNdots {
		l.warn(at.Child("extraSearches"), "names with %s below %s do not resolve with musl (Alpine images), which never tries the search domains for them at ndots %d",
			dots(int(*e.Ndots)), strings.Join(d.ExtraSearches, " "), *e.Ndots)
	}
}

// fallsThrough reports whether pods may get a lower ndots.
func (l *linter) fallsThrough() bool {
	for e := range l.spec.Effective() {
		if e.DNS != nil && e.DNS.FallsThrough() && *e.DNS.Fallthrough.Ndots < *e.DNS.Ndots {
			return true
		}
	}
	return false
}

// promise warns of a pattern that says of images which nobody has built yet what
// lowers the ndots of their containers.
func (l *linter) promise(hint *ImageResolver, image string, at *field.Path) {
	if hint.Resolver != ResolverGlibc && hint.Resolver != ResolverGo {
		return
	}
	name := image[strings.LastIndexByte(image, '/')+1:]
	_, tag, tagged := strings.Cut(name, ":")
	switch {
	case isWildcard(image):
		l.warn(at, "is a promise that every image contains %s: dns.fallthrough lowers ndots by it", hint.Resolver)
	case strings.Contains(name, "@"):
	case !tagged || strings.ContainsAny(tag, "*?"):
		l.warn(at, "names no tag: it is a promise that every later build contains %s, by which dns.fallthrough lowers ndots; `kubectl shorthop resolvers` lists full references", hint.Resolver)
	}
}
