package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

// What findings rest on is said where it is not what new pods meet.
func TestRemarksAboutWhatDecides(t *testing.T) {
	t.Parallel()
	whole := func() *doctor.InForce {
		return &doctor.InForce{From: "pod a", Gates: &policy.Gates{}, Discovered: &policy.Discovered{}, Filter: &webhookconfig.Filter{}}
	}
	for name, c := range map[string]struct {
		change func(*doctor.InForce)
		want   []string
	}{
		"a replica":                {func(*doctor.InForce) {}, nil},
		"no replica":               {func(f *doctor.InForce) { f.NoReplica, f.From = errors.New("none"), "ConfigMap a/b" }, []string{"no replica could be asked (none): going by ConfigMap a/b"}},
		"other gates":              {func(f *doctor.InForce) { f.Gates = nil }, []string{"the replicas have other health gates"}},
		"several ConfigMaps":       {func(f *doctor.InForce) { f.SeveralConfigMaps = "2 keys look like a policy" }, []string{"2 keys look like a policy"}},
		"a filter of another":      {func(f *doctor.InForce) { f.OtherFilter = true }, []string{"was made for another policy than this one"}},
		"a filter that is unknown": {func(f *doctor.InForce) { f.Filter, f.NoFilter = nil, "needs a right" }, []string{"which new pods the API server leaves out is not known (needs a right): going by the policy alone"}},
		"a filter that does not count, of another": {func(f *doctor.InForce) { f.Filter, f.NoFilter, f.OtherFilter = nil, "made for another", true },
			[]string{"is not known (made for another)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := whole()
			c.change(found)
			got := remarksAbout(found)
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("got %q, want %q in it", got[i], c.want[i])
				}
			}
			if (called(found) == nil) != (found.Filter == nil) {
				t.Error("the filter is not asked")
			}
		})
	}
}
