package advisor

import (
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// inForce is the resolv.conf that a group's lookups go by: with the ndots of
// RES_OPTIONS where its resolvers read that. own tells that it is so: then the file's
// ndots, which is what a rule changes, means nothing to the pods.
//
//	resolvers                      RES_OPTIONS counts
//	all glibc or c-ares            yes
//	none of these                  no
//	not known, or of both kinds    if no name with a number of dots that makes the
//	                               difference went the file's way
func inForce(conf resolver.ResolvConf, g *group, names map[string]*observed) (effective resolver.ResolvConf, own bool) {
	if g.options == "" {
		return conf, false
	}
	merged := conf
	merged.Options = slices.Clone(conf.Options)
	for word := range strings.FieldsSeq(g.options) {
		name, _, _ := strings.Cut(word, ":")
		merged.Options = slices.DeleteFunc(merged.Options, func(option string) bool {
			other, _, _ := strings.Cut(option, ":")
			return other == name
		})
		merged.Options = append(merged.Options, word)
	}
	all, none := readsResOptions(g)
	if none || !all && !wentBy(ndotsOf(merged), ndotsOf(conf), dotted(conf.Searches), names) {
		return conf, false
	}
	return merged, true
}

// wentBy tells whether names with a number of dots that makes the difference between
// two values of ndots were looked up by the first.
func wentBy(ndots, other int, suffixes []string, names map[string]*observed) bool {
	if len(suffixes) == 0 || ndots == other {
		return false
	}
	var searched, direct int
	for name, o := range names {
		dots := strings.Count(name, ".")
		if dots < min(ndots, other) || dots >= max(ndots, other) || o.most(querylog.OK) == 0 {
			continue
		}
		if first := names[name+suffixes[0]]; first.any() {
			searched++ // though the name has an answer as it is
		} else {
			direct++
		}
	}
	if ndots < other {
		return direct > 0 && searched == 0
	}
	return searched > 0
}
