package advisor_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/jsontest"
)

// often is a log that is there for two hours, every minute, from other ports.
func often(log string) string {
	var b strings.Builder
	for n := range 120 {
		for line := range strings.Lines(log) {
			at := strings.Index(line, "10.0.0.1:") + len("10.0.0.1:")
			port, rest, _ := strings.Cut(line[at:], " ")
			number, _ := strconv.Atoi(port)
			fmt.Fprintf(&b, "2026-01-02T%02d:%02d:00Z %s%d %s", 3+n/60, n%60, line[:at], number+100*n, rest)
		}
	}
	return b.String()
}

// recommend is the only workload of a log, web in shop.
func recommend(t *testing.T, r resolver.Resolver, change func(*advisor.Pod), settings advisor.Settings, log string) *advisor.Workload {
	t.Helper()
	clients := advisor.NewClients(func(string) resolver.Resolver { return r }, nil)
	pod := webPod()
	started := time.Date(2026, 1, 2, 3, 30, 0, 0, time.UTC)
	status := `[{"restartCount": 1, "state": {"running": {"startedAt": "` + started.Format(time.RFC3339) + `"}}}]`
	jsontest.Unmarshal(t, []byte(status), &pod.Status.ContainerStatuses)
	change(pod)
	clients.Add(pod)
	collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{
		ClusterDomain: "cluster.local", Host: resolver.ResolvConf{Searches: []string{}},
	})
	if err := collector.Read(strings.NewReader(log), nil); err != nil {
		t.Fatal(err)
	}
	settings.Names = -1
	settings.LocalServers = []string{policy.DefaultNodeLocalServer}
	report := collector.Report(settings)
	if len(report.Workloads) != 1 {
		t.Fatalf("%d workloads", len(report.Workloads))
	}
	return &report.Workloads[0]
}

func TestWhatALogDoesNotHaveIsNotAsked(t *testing.T) {
	t.Parallel()
	// The last search domain answers, so nobody has asked for the name as it is: it
	// may be somebody's outside.
	log := chain(1, "A", "docs.team.test", "docs.team.test.cluster.local") + chain(2, "A", "a.b.c.example.com", "a.b.c.example.com")
	for _, r := range resolver.Resolvers() {
		w := recommend(t, r, func(*advisor.Pod) {}, advisor.Settings{}, log)
		if w.Recommendation == nil || w.Recommendation.Ndots != 3 {
			t.Errorf("%s: %s, %+v, want ndots 3", r, w.Reason, w.Recommendation)
		}
	}
}

// Behind a cache the log has only a part of what pods ask: that lowers confidence,
// and is said.
func TestALogThatIsMostlyOfNodes(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	for i := range 2000 {
		log.WriteString(chain(i, "A", "api.example.com", "api.example.com"))
		for k := range 5 {
			log.WriteString(strings.Replace(line(i, 100+k, "A", "api.example.com", "NOERROR"), "10.0.0.1", "192.168.0.1", 1))
		}
	}
	onNode := func(p *advisor.Pod) { p.Status.HostIP = "192.168.0.1" }
	w := recommend(t, resolver.Glibc, onNode, advisor.Settings{}, log.String())
	if w.Recommendation.Confidence != advisor.ConfidenceLow {
		t.Errorf("confidence %s because %s", w.Recommendation.Confidence, w.Recommendation.Because)
	}
	without := strings.ReplaceAll(log.String(), "192.168.0.1", "10.0.0.1")
	if w := recommend(t, resolver.Glibc, onNode, advisor.Settings{}, without); w.Recommendation.Confidence != advisor.ConfidenceMedium { // no timestamps
		t.Errorf("confidence %s because %s", w.Recommendation.Confidence, w.Recommendation.Because)
	}
}
