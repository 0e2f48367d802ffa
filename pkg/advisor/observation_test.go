package advisor_test

import (
	"bytes"
	"testing"

	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

// TestANameThatMuslDoesNotFindIsRoomNeeded has pods that begin to look up a name of the cluster which their ndots hides from
// musl. On musl, no ndots is known to be safe then, as nobody has asked for the name where it is: what is needed is room for it
// all the same, and not what the pods have. The others find it in the search list, but their next build may be one on musl.
func TestANameThatMuslDoesNotFindIsRoomNeeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		resolver    resolver.Resolver
		name        string
		ndots, want int
	}{
		{resolver.Musl, "db.data.svc", 1, 3}, {resolver.Musl, "db.data.svc", 2, 3}, {resolver.Musl, "db-0.db.data.svc", 2, 4},
		{resolver.Musl, "db-0.db.data.svc", 3, 4}, {resolver.Musl, "db.data", 1, 2},
		{resolver.Glibc, "db.data.svc", 1, 3}, {resolver.Glibc, "db.data.svc", 2, 3}, {resolver.Glibc, "db-0.db.data.svc", 3, 4},
		{resolver.Go, "db.data.svc", 2, 3}, {resolver.Go, "db.data", 1, 2},
	} {
		cluster := loggen.New(loggen.Options{Seed: 1, Workloads: 2, Lookups: 100, Timestamps: true})
		for i := range cluster.Workloads {
			w := &cluster.Workloads[i]
			w.Namespace, w.Resolver, w.Ndots, w.Only, w.Names = "shop", test.resolver, test.ndots, 0, []string{"api.example.com", test.name}
		}
		cluster.Workloads[1].Ndots, cluster.Workloads[1].Names = 0, []string{"web.data.svc", "db-0.db.data.svc"} // which names there are is known by others
		var log bytes.Buffer
		if _, err := cluster.Write(&log); err != nil {
			t.Fatal(err)
		}
		text, _ := stretched(t, log.Bytes(), day(0))
		report := adviseDay(t, cluster, make([]simulatedWorkload, 2), text)
		for i := range report.Workloads {
			if w := &report.Workloads[i]; w.Name == cluster.Workloads[0].Name && (w.Observation == nil || w.Observation.Ndots != test.want) {
				t.Errorf("%s of %s under ndots %d: %+v, want ndots %d", test.name, test.resolver, test.ndots, w.Observation, test.want)
			}
		}
	}
}
