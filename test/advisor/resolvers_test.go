//go:build e2e

package advisor_test

import (
	"bytes"
	"testing"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

// enoughPairs is from how many pairs on a resolver must be named, or not for a reason.
const enoughPairs = 50

// compareResolvers judges without a policy that knows the images, as the log is and
// disturbed: which resolver a workload has must then come out of its queries.
func compareResolvers(t *testing.T, cluster *loggen.Cluster, log []byte) {
	t.Helper()
	names := map[resolver.Resolver]string{resolver.Glibc: "glibc", resolver.Musl: "musl", resolver.Go: "go?"}
	truth := make(map[string]string)
	for i := range cluster.Workloads {
		truth[cluster.Workloads[i].Name] = names[cluster.Workloads[i].Resolver]
	}
	for _, lossPerMille := range []int{0, 10, 50, 100, 300} {
		read := log
		if lossPerMille > 0 {
			read = loggen.Disturb(log, *seed, lossPerMille, 30)
		}
		report := adviseWithoutHints(t, cluster, read)
		counts := make(map[string]int)
		all, right := 0, 0
		for i := range report.Workloads {
			w := &report.Workloads[i]
			r := w.Resolver
			counts[truth[w.Name]+" taken for "+r.Name+"("+string(r.Reason)+")"]++
			if r.From != advisor.ResolverFromQueries || (r.Name == "") == (r.Reason == "") {
				t.Errorf("%s: %+v", w.Name, r)
			}
			if truth[w.Name] == "musl" && r.Name != "" && r.Name != "musl" {
				t.Errorf("%s stops at ndots, and is taken for %s", w.Name, r.Name)
			}
			if r.Pairs < enoughPairs {
				continue
			}
			all++
			if r.Name == truth[w.Name] || r.Name == "" {
				right++
			}
		}
		t.Logf("%d of 1,000 lost: of %d workloads with %d pairs or more, %d named rightly or not for a reason: %v", lossPerMille, all, enoughPairs, right, counts)
		if right*100 < 95*all {
			t.Errorf("%d of %d, want 95 %%", right, all)
		}
	}
}

// adviseWithoutHints is advise where nothing is known of the images.
func adviseWithoutHints(t *testing.T, cluster *loggen.Cluster, log []byte) *advisor.Report {
	t.Helper()
	clients := advisor.NewClients(nil, nil)
	for _, pod := range cluster.Pods() {
		clients.Add(&pod)
	}
	collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{
		ClusterDomain: loggen.ClusterDomain, Host: resolver.ResolvConf{Searches: []string{loggen.NodeSearch}},
	})
	if err := collector.Read(bytes.NewReader(log), nil); err != nil {
		t.Fatal(err)
	}
	return collector.Report(advisor.Settings{Names: -1})
}
