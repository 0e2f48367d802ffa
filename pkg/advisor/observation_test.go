package advisor_test

import (
	"bytes"
	"testing"

	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

// TestANameThatIsNotFoundIsRoomNeeded has pods on musl that begin to look up a name of the cluster which their ndots hides. No
// ndots is known to be safe then, as nobody has asked for the name where it is: what is needed is room for it all the same, and
// not what the pods have.
func TestANameThatIsNotFoundIsRoomNeeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		ndots, want int
	}{
		{"db.data.svc", 1, 3}, {"db.data.svc", 2, 3}, {"db-0.db.data.svc", 2, 4}, {"db-0.db.data.svc", 3, 4}, {"db.data", 1, 2},
	} {
		cluster := loggen.New(loggen.Options{Seed: 1, Workloads: 2, Lookups: 100, Timestamps: true})
		for i := range cluster.Workloads {
			w := &cluster.Workloads[i]
			w.Namespace, w.Resolver, w.Ndots, w.Only, w.Names = "shop", resolver.Musl, test.ndots, 0, []string{"api.example.com", test.name}
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
				t.Errorf("%s under ndots %d: %+v, want ndots %d", test.name, test.ndots, w.Observation, test.want)
			}
		}
	}
}
