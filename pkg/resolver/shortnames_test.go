package resolver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/shortnames"
)

const kubeletNdots = 5

// searchLists are those of nodes without and with search domains of their own.
func searchLists() map[string][]string {
	return map[string][]string{
		"the cluster's domains":                    shortnames.Searches(),
		"the cluster's domains and those of nodes": append(shortnames.Searches(), shortnames.NodeSearches()...),
	}
}

func answerUnder(r resolver.Resolver, searches []string, ndots int, name string) string {
	conf := resolver.ResolvConf{Nameservers: []string{"10.96.0.10"}, Searches: searches, Options: []string{fmt.Sprintf("ndots:%d", ndots)}}
	lookup := r.Lookup(conf, name, names(shortnames.Exist()...))
	if lookup.Status != resolver.Found {
		return string(lookup.Status)
	}
	return lookup.Name()
}

// Every form of a name has the same answer under the default as under what
// kubelet writes by itself.
func TestShortNamesKeepTheirAnswersUnderTheDefault(t *testing.T) {
	t.Parallel()
	for domains, searches := range searchLists() {
		for _, r := range resolver.Resolvers() {
			for _, form := range shortnames.Forms() {
				want := form.Answer
				if !slices.ContainsFunc(append([]string{""}, searches...), func(domain string) bool {
					return strings.TrimSuffix(strings.TrimSuffix(form.Name, ".")+"."+domain, ".") == want
				}) {
					want = string(resolver.NotFound)
				}
				for _, ndots := range []int{kubeletNdots, policy.DefaultNdots} {
					if got := answerUnder(r, searches, ndots, form.Name); got != want {
						t.Errorf("%s, %s, ndots %d: %s (%s) is %s, want %s", r, domains, ndots, form.Name, form.Kind, got, want)
					}
				}
			}
		}
	}
}

// What each lower value loses is what lint names, and only musl loses it: the
// default is the lowest value that loses nothing. SRV names without the
// cluster domain need one more.
func TestOnlyMuslLosesShortNamesBelowTheDefault(t *testing.T) {
	t.Parallel()
	stops := func(r resolver.Resolver) bool { return r == resolver.Musl || r == resolver.MuslBefore124 }
	for ndots := 1; ndots <= kubeletNdots; ndots++ {
		for _, r := range resolver.Resolvers() {
			lost := map[string]bool{}
			for _, form := range append(shortnames.Forms(), shortnames.ServiceRecord()) {
				if answerUnder(r, shortnames.Searches(), ndots, form.Name) != answerUnder(r, shortnames.Searches(), kubeletNdots, form.Name) {
					lost[form.Kind] = true
				}
			}
			if !stops(r) {
				if len(lost) > 0 {
					t.Errorf("%s loses %v under ndots %d", r, lost, ndots)
				}
				continue
			}
			var named []string
			for _, kind := range []string{"service.namespace", "service.namespace.svc", "pod.service.namespace.svc"} {
				if lost[kind] {
					named = append(named, kind)
				}
			}
			if diff := cmp.Diff(policy.ShortNamesLost(ndots), named); diff != "" {
				t.Errorf("%s, ndots %d: lint names other forms than are lost (-lint +lost):\n%s", r, ndots, diff)
			}
			if srv := lost[shortnames.ServiceRecord().Kind]; srv != (ndots < kubeletNdots) {
				t.Errorf("%s, ndots %d: SRV name lost: %t", r, ndots, srv)
			}
		}
	}
}
