//go:build e2e

package resolver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/shortnames"
)

const kubeletNdots = 5

// TestShortNamesKeepTheirAnswers asks the real resolvers for every form of a
// name of the cluster, with and without search domains of nodes: under the
// default they have the addresses that they have under kubelet's ndots. Under
// lower values musl loses the forms that lint names.
func TestShortNamesKeepTheirAnswers(t *testing.T) {
	for _, name := range strings.Split(options.resolvers, ",") {
		t.Run(name, func(t *testing.T) {
			r, probe := build(t, name)
			s, err := newSandbox(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			ask := func(searches []string, ndots int, form shortnames.Form) observation {
				t.Helper()
				c := testCase{
					Resolver: r, Name: form.Name, Hostname: "pod", Zone: randomZone{Exist: shortnames.Exist()},
					Conf: resolver.ResolvConf{Nameservers: []string{"127.0.1.1"}, Searches: searches, Options: []string{fmt.Sprintf("ndots:%d", ndots), "timeout:30"}},
				}
				o, err := s.observe(request{Case: c, Probe: probe})
				if err != nil {
					t.Fatal(err)
				}
				if difference := differs(c, o); difference != "" {
					t.Errorf("%s, ndots %d: the model differs (-model +observed):\n%s", form.Name, ndots, difference)
				}
				return o
			}
			asked, lost := 0, map[int][]string{}
			for _, searches := range [][]string{shortnames.Searches(), append(shortnames.Searches(), shortnames.NodeSearches()...)} {
				for _, form := range append(shortnames.Forms(), shortnames.ServiceRecord()) {
					want := ask(searches, kubeletNdots, form)
					if want.Status != resolver.Found && form.Kind != "below a node's search domain" {
						t.Errorf("%s, %d search domains: %s under kubelet's ndots", form.Name, len(searches), want.Status)
					}
					for ndots := 1; ndots <= policy.DefaultNdots; ndots++ {
						got := ask(searches, ndots, form)
						asked++
						if got.Status != want.Status || !slices.Equal(got.Addresses, want.Addresses) {
							lost[ndots] = append(lost[ndots], form.Kind)
						}
					}
				}
			}
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			stops := r == resolver.Musl || r == resolver.MuslBefore124
			for ndots := 1; ndots <= policy.DefaultNdots; ndots++ {
				kinds := slices.Compact(slices.Sorted(slices.Values(lost[ndots])))
				t.Logf("ndots %d loses %d forms: %s", ndots, len(kinds), strings.Join(kinds, ", "))
				srv := slices.Contains(kinds, shortnames.ServiceRecord().Kind)
				kinds = slices.DeleteFunc(kinds, func(kind string) bool { return kind == shortnames.ServiceRecord().Kind })
				if !stops && (srv || len(kinds) > 0) || ndots == policy.DefaultNdots && len(kinds) > 0 {
					t.Errorf("under ndots %d, lost: %v", ndots, lost[ndots])
				}
				for _, named := range policy.ShortNamesLost(ndots) {
					if stops && !slices.Contains(kinds, named) {
						t.Errorf("lint says that ndots %d loses %s, and it does not", ndots, named)
					}
				}
			}
			t.Logf("%s: %d lookups below kubelet's ndots", r, asked)
		})
	}
}
