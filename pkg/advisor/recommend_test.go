package advisor_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/jsontest"
)

// inject makes a pod one that Shorthop has pointed at the node's cache, and at
// fallbacks.
func inject(p *advisor.Pod, ndots string, fallbacks ...string) {
	p.Spec.DNSPolicy = "None"
	p.Spec.DNSConfig = &policy.DNSConfig{
		Nameservers: append([]string{policy.DefaultNodeLocalServer}, fallbacks...),
		Searches:    []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Options:     []policy.DNSOption{{Name: "ndots", Value: new(ndots)}},
	}
	p.Metadata.Annotations = map[string]string{policy.AnnotationInjected: fmt.Sprintf(
		`{"dns":"NodeLocal","added":{"options":["ndots"],"nameservers":%d,"searches":3}}`, 1+len(fallbacks))}
}

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

func TestReasonsNotToApply(t *testing.T) {
	t.Parallel()
	external := chain(1, "A", "api.example.com", "api.example.com") + chain(1, "AAAA", "api.example.com", "api.example.com")
	usersNdots := func(p *advisor.Pod) {
		p.Spec.DNSConfig = &policy.DNSConfig{Options: []policy.DNSOption{{Name: "ndots", Value: new("5")}}}
	}
	for name, test := range map[string]struct {
		change   func(*advisor.Pod)
		settings advisor.Settings
		log      string
		want     advisor.Reason
	}{
		"something is saved":                   {func(*advisor.Pod) {}, advisor.Settings{}, external, ""},
		"nothing is saved":                     {func(*advisor.Pod) {}, advisor.Settings{}, line(1, 1, "A", "api.example.com", "NOERROR"), advisor.ReasonNothingSaved},
		"the pods set ndots":                   {usersNdots, advisor.Settings{}, external, advisor.ReasonUsersNdots},
		"the namespace is excluded":            {func(*advisor.Pod) {}, advisor.Settings{ExcludedNamespaces: []string{"shop"}}, external, advisor.ReasonExcludedNamespace},
		"the namespace begins like excluded":   {func(*advisor.Pod) {}, advisor.Settings{ExcludedNamespaces: []string{"kube-system", "sh*"}}, external, advisor.ReasonExcludedNamespace},
		"the namespace is excluded before all": {usersNdots, advisor.Settings{ExcludedNamespaces: []string{"shop"}}, external, advisor.ReasonExcludedNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := recommend(t, resolver.Glibc, test.change, test.settings, often(test.log))
			if w.Recommendation == nil || w.Reason != test.want || w.ReasonText != test.want.Sentence() || (test.want == "") != w.Recommendation.Apply {
				t.Errorf("reason %q (%s), recommendation %+v; want %q", w.Reason, w.ReasonText, w.Recommendation, test.want)
			}
		})
	}
}

func TestFallbackOfMusl(t *testing.T) {
	t.Parallel()
	log := chain(1, "A", "api.example.com", "api.example.com") + chain(1, "AAAA", "api.example.com", "api.example.com") +
		line(2, 1, "A", "web.shop.svc.cluster.local", "NOERROR") + line(2, 2, "AAAA", "web.shop.svc.cluster.local", "NOERROR")
	rest := func(drop bool, servers ...string) *advisor.Fallback {
		n := int64(len(servers))
		return &advisor.Fallback{Servers: servers, Queries: 120 * 10 * n, Then: 120 * 4 * n, Drop: drop}
	}
	twoServers := func(p *advisor.Pod) { inject(p, "5", "10.0.0.10", "10.0.0.11") }
	oneServer := func(p *advisor.Pod) { inject(p, "5", "10.0.0.10") }
	for name, test := range map[string]struct {
		resolver resolver.Resolver
		change   func(*advisor.Pod)
		drop     bool
		want     *advisor.Fallback
	}{
		"musl asks one fallback":              {resolver.Musl, oneServer, false, rest(false, "10.0.0.10")},
		"an older musl asks two":              {resolver.MuslBefore124, twoServers, false, rest(false, "10.0.0.10", "10.0.0.11")},
		"musl, and the fallback is to go":     {resolver.Musl, oneServer, true, rest(true, "10.0.0.10")},
		"glibc asks one server after another": {resolver.Glibc, oneServer, true, nil},
		"an unknown resolver":                 {"", oneServer, true, nil},
		"no fallback":                         {resolver.Musl, func(p *advisor.Pod) { inject(p, "5") }, true, nil},
		"the user's own nameserver stays": {resolver.Musl, func(p *advisor.Pod) {
			inject(p, "5")
			p.Spec.DNSConfig.Nameservers = append(p.Spec.DNSConfig.Nameservers, "192.0.2.53")
		}, true, nil},
		"pods that ask the cluster's DNS": {resolver.Musl, func(*advisor.Pod) {}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := recommend(t, test.resolver, test.change, advisor.Settings{DropFallback: test.drop}, often(log))
			if diff := cmp.Diff(test.want, w.Recommendation.Fallback); diff != "" {
				t.Errorf("fallback (-want +got):\n%s", diff)
			}
			report := advisor.Report{Workloads: []advisor.Workload{*w}}
			rules, _ := advisor.Rules(&report, []advisor.WorkloadKey{w.WorkloadKey}, nil)
			if len(rules) != 1 {
				t.Fatalf("%d rules: %s %+v", len(rules), w.Reason, w.Recommendation)
			}
			wantName := "advised-ndots-1"
			if test.want != nil && test.drop {
				wantName += "-no-fallback"
			}
			if got := rules[0].DNS.NodeLocal.FallbackServers; rules[0].Name != wantName || (got != nil) != (test.want != nil && test.drop) || len(got) > 0 || *rules[0].DNS.Ndots != 1 {
				t.Errorf("rule %s, ndots %d, fallback servers %#v; want %s", rules[0].Name, *rules[0].DNS.Ndots, got, wantName)
			}
		})
	}
	// With the best ndots in force, the fallback alone is worth a rule.
	w := recommend(t, resolver.Musl, func(p *advisor.Pod) { inject(p, "1", "10.0.0.10") }, advisor.Settings{DropFallback: true},
		often(line(1, 1, "A", "api.example.com", "NOERROR")+chain(2, "A", "gone", "")+line(3, 1, "A", "web.shop.svc.cluster.local", "NOERROR")))
	if !w.Recommendation.Apply || w.Recommendation.Saved != 0 {
		t.Errorf("%+v", w.Recommendation)
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
