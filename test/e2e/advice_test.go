//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
)

// unheardOf is a name that the fetchers begin to look up, though none of theirs has needed more than ndots 2.
const unheardOf = "db." + otherNamespace + ".svc"

// noisy is how often another workload looks a name up while the habits do: its lines fill the cache's log, so that it is
// rotated twice.
const noisy = 9000

// TestAdviceInForce does nothing by hand after `helm upgrade`: the advisor's CronJob follows the log of the node-local
// cache, the replicas follow what it writes, and new pods get it. Its runs last 100 seconds and are content with a minute
// that is covered (testdata/enough.go); all else is as installed.
func TestAdviceInForce(t *testing.T) {
	a := &inForce{advised: advised{operator: &operator{dir: t.TempDir()}}}
	setUpAdvised(t, a.operator,
		"--set", "image.registry=", "--set", "image.repository="+images.HastyRepository, "--set", "image.tag="+images.HastyTag,
		"--set", "advisor.enabled=true", "--set", "advisor.schedule=* * * * *", "--set", "advisor.window=100s",
		"--set", "policy.dns.advice=Apply", "--set", "policy.dns.minConfidence=medium",
		// Fall-through whatever the probes say, which fail now and then on such a machine: they have tests of their own.
		"--set", "policy.dns.fallthrough.probe.enabled=false", "--set", "detector.interval=5s")
	a.cluster = queryLog(t, node.LogCluster)
	// Somebody asks for something all the time in every cluster that is in use. Only between lines of somebody the log is
	// known to cover the start of a pod, and the first of these pods has nobody else's before its own.
	createWorkload(t, otherNamespace, "steady", images.Go, "steady", "api."+node.ExternalZone+".")
	a.commands(t, 0, "kubectl rollout status deployment/steady -n "+otherNamespace)
	// A machine with much other work may not start the pods, or not look up enough, before a run ends: the next one sees more.
	valued := func(_ string, w *policy.AdvisedWorkload) bool {
		return w.Ndots != nil && w.Fallthrough != nil && len(w.References) > 0
	}
	for try := 0; try == 0 || !a.advises(t, valued); try++ {
		var run string
		a.soon(t, "a run records logs", func() bool { run = a.recording(t); return run != "" })
		time.Sleep(2 * time.Second) // the steady client has asked
		switch try {
		case 0:
			createWorkload(t, otherNamespace, "noisy", images.Go, append([]string{"lookup"}, slices.Repeat([]string{"api." + node.ExternalZone}, noisy)...)...)
			createHabits(t)
		case 6:
			text, _ := json.Marshal(a.document(t)) //nolint:errchkjson // it was read from JSON
			t.Fatalf("six runs have not seen enough:\n%s", text)
		default:
			a.commands(t, 0, "kubectl rollout restart deployment -n shop && kubectl rollout status deployment -n shop")
		}
		a.lookUp(t, 7, 8*time.Second)
		a.soon(t, "the run has ended", func() bool {
			pod, err := suite.client.CoreV1().Pods(releaseNamespace).Get(t.Context(), run, metav1.GetOptions{})
			return apierrors.IsNotFound(err) || err == nil && (pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed)
		})
	}
	if n := len(a.logFiles(t)); n < 3 {
		t.Errorf("the cache's log has %d files: it was not rotated twice", n)
	}
	a.everyReplicaHasIt(t)

	a.commands(t, 0, "kubectl get configmap shorthop -n shorthop-system -o jsonpath='{.data.policy\\.yaml}' > policy.yaml && "+
		"kubectl get configmap shorthop-advice -n shorthop-system -o jsonpath='{.binaryData.advice\\.json\\.gz}' | base64 -d > advice.json.gz && "+
		"kubectl get deployments -n shop -o yaml > workloads.yaml")
	a.commands(t, 0, "kubectl rollout restart deployment -n shop && kubectl rollout status deployment -n shop")
	a.lookUp(t, rounds, 0)
	a.asPredicted(t)

	a.somethingNew(t)
}

// inForce looks at what the advisor does.
type inForce struct{ advised }

// commands are those of an operator.
func (a *inForce) commands(t *testing.T, exit int, text string) string {
	t.Helper()
	output, code := a.run(t, text)
	if code != exit {
		t.Fatalf("%s\nexit code %d, want %d:\n%s", text, code, exit, output)
	}
	return output
}

// recording is the pod of a run that has just begun to record logs, empty where there is none.
func (a *inForce) recording(t *testing.T) string {
	t.Helper()
	pods, err := suite.client.CoreV1().Pods(releaseNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop-advisor"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		text, err := suite.client.CoreV1().Pods(releaseNamespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
		if err == nil && pod.Status.StartTime != nil && time.Since(pod.Status.StartTime.Time) < 20*time.Second && bytes.Contains(text, []byte("recording the log of")) {
			return pod.Name
		}
	}
	return ""
}

// document is the advice in its ConfigMap, nil while there is none.
func (a *inForce) document(t *testing.T) *policy.DNSAdvice {
	t.Helper()
	found, err := suite.client.CoreV1().ConfigMaps(releaseNamespace).Get(t.Context(), release+"-advice", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := found.BinaryData["advice.json.gz"]
	if len(data) == 0 {
		return nil
	}
	parts, err := advicefile.Parse([]advicefile.File{{Name: found.Name, Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	return parts[0]
}

// advises tells whether something holds of the advice for each workload.
func (a *inForce) advises(t *testing.T, holds func(habit string, w *policy.AdvisedWorkload) bool) bool {
	t.Helper()
	document, n := a.document(t), 0
	if document == nil {
		return false
	}
	for i := range document.Spec.Workloads {
		w := &document.Spec.Workloads[i]
		habit, _, _ := strings.Cut(w.Name, "-")
		if w.Namespace == advisedNamespace && habits[habit] != nil && holds(habit, w) {
			n++
		}
	}
	return n == len(habits)*len(resolvers)
}

// everyReplicaHasIt waits until the replicas have the advice of the ConfigMap in force.
func (a *inForce) everyReplicaHasIt(t *testing.T) {
	t.Helper()
	a.soon(t, "every replica has the advice", func() bool {
		compiled, err := policy.CompileAdvice(a.document(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range a.replicaNames(t) {
			var shown struct{ Advice *struct{ Hash string } }
			text, err := suite.client.CoreV1().Pods(releaseNamespace).ProxyGet("http", name, "8081", "/debug/policy", nil).DoRaw(t.Context())
			if err != nil {
				return false
			}
			if err := json.Unmarshal(text, &shown); err != nil {
				t.Fatal(err)
			}
			if shown.Advice == nil || shown.Advice.Hash != compiled.Hash() {
				return false
			}
		}
		return true
	})
}

// logFiles are the files of the cache's log, which is rotated.
func (a *inForce) logFiles(t *testing.T) []string {
	t.Helper()
	pods, err := suite.client.CoreV1().Pods(cacheNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=" + cacheName})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d pods of the cache: %v", len(pods.Items), err)
	}
	files, err := suite.node.PodLogs(cacheNamespace, pods.Items[0].Name, "node-cache")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// wholeLog is all of it, which `kubectl logs` does not have.
func (a *inForce) wholeLog(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range a.logFiles(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = bytes.NewReader(text)
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(r); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(&all, r); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// asPredicted compares the pods with what explain says that they get, from the advice alone, and with what their resolvers then
// ask by the models: the same answers, and as many queries.
func (a *inForce) asPredicted(t *testing.T) {
	t.Helper()
	now := len(a.answers) - 1
	if diff := cmp.Diff(a.answers[now-1], a.answers[now]); diff != "" {
		t.Errorf("other answers (-before +after):\n%s", diff)
	}
	log := ""
	count := func(round int, workload string) int { return strings.Count(log, " "+a.addresses[round][workload]+":") }
	// What the cache has printed reaches the file later on a busy machine.
	for all := -1; ; time.Sleep(time.Second) {
		log = a.wholeLog(t)
		sum := linesOf(log, a.addresses[now])
		if sum == all {
			break
		}
		all = sum
	}
	text := a.commands(t, 0, "kubectl-shorthop explain -f workloads.yaml --policy policy.yaml --advice advice.json.gz --node-resolv-conf "+
		suite.hostResolvConf+" -o json 2>/dev/null")
	var explained struct {
		Items []struct {
			Workload    struct{ Name string }
			Advice      policy.AdviceDecision
			Fallthrough struct {
				policy.Outcome
				Ndots   int32
				Carrier policy.Carrier
			}
			ResolvConf struct{ After resolver.ResolvConf }
		}
	}
	if err := json.Unmarshal([]byte(text), &explained); err != nil {
		t.Fatal(err)
	}
	var lines []string
	before, after := 0, 0
	for _, item := range explained.Items {
		name := item.Workload.Name
		habit, probe, _ := strings.Cut(name, "-")
		client := resolver.Client{Resolver: resolverOf(probe), ResolvConf: item.ResolvConf.After}
		if item.Fallthrough.Action == policy.ActionInject && item.Fallthrough.Carrier == policy.CarrierEnvironment {
			client.ResOptions = fmt.Sprintf("ndots:%d", item.Fallthrough.Ndots)
		}
		predicted := 0
		for _, lookedUp := range habits[habit] {
			for _, q := range client.Lookup(lookedUp, outcome).Queries {
				if client.ResolvConf.Nameservers[q.Server] == node.NodeLocalDNS {
					predicted += rounds
				}
			}
		}
		was, is := count(now-1, name), count(now, name)
		lines = append(lines, fmt.Sprintf("%-14s %-20s %6d before, %6d predicted, %6d in the log", name, item.Advice.Reason, was, predicted, is))
		if difference := max(is, predicted) - min(is, predicted); predicted == 0 || 100*difference > predicted {
			t.Errorf("%s: %d queries predicted, %d in the log: more than 1 %% apart", name, predicted, is)
		}
		if !item.Advice.Injects() {
			t.Errorf("%s: advice is %s", name, item.Advice.Reason)
		}
		before, after = before+was, after+is
	}
	slices.Sort(lines)
	t.Logf("%s\nall: %d before, %d after", strings.Join(lines, "\n"), before, after)
	if len(lines) != len(habits)*len(resolvers) || after >= before {
		t.Errorf("%d workloads, %d queries before, %d after", len(lines), before, after)
	}
}

// outcome is the world that the workloads ask: two Services, and everything below a zone outside.
func outcome(_ int, name string, kind resolver.RRType) resolver.Outcome {
	switch {
	case name == "cart."+advisedNamespace+".svc."+node.ClusterDomain, name == "db."+otherNamespace+".svc."+node.ClusterDomain:
		if kind == resolver.A {
			return resolver.Answer
		}
		return resolver.NoData
	case (name == node.ExternalZone || strings.HasSuffix(name, "."+node.ExternalZone)) && !strings.HasSuffix(name, "."+node.CorpZone):
		return resolver.Answer
	}
	return resolver.NXDomain
}

// resolverOf is the model of a probe's resolver.
func resolverOf(probe string) resolver.Resolver {
	return map[string]resolver.Resolver{images.Glibc: resolver.Glibc, images.Musl: resolver.Musl, images.Go: resolver.Go}[probe]
}

// somethingNew lets the fetchers look up another name, until a run has seen it, and looks at who learns of it.
func (a *inForce) somethingNew(t *testing.T) {
	t.Helper()
	old := map[string]*corev1.Pod{}
	fetchers := func() (pods map[string]*corev1.Pod) {
		running, err := suite.client.CoreV1().Pods(advisedNamespace).List(t.Context(), metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil {
			t.Fatal(err)
		}
		pods = map[string]*corev1.Pod{}
		for i := range running.Items {
			pod := &running.Items[i]
			if strings.HasPrefix(pod.Labels["app"], "fetcher-") && pod.DeletionTimestamp == nil && (old[pod.Labels["app"]] == nil || old[pod.Labels["app"]].UID != pod.UID) {
				pods[pod.Labels["app"]] = pod
			}
		}
		return pods
	}
	ask := func(pod *corev1.Pod) []string { return runIn[answer](t, pod, "lookup", unheardOf)[0].Addresses }
	ndots := func(pod *corev1.Pod) (n int) {
		if match := regexp.MustCompile(`ndots:(\d+)`).FindStringSubmatch(runIn[report](t, pod, "report")[0].ResolvConf); match != nil {
			n, _ = strconv.Atoi(match[1])
		}
		return n
	}
	maps.Copy(old, fetchers())
	musl := "fetcher-" + images.Musl
	if n, answers := ndots(old[musl]), ask(old[musl]); n != 2 || len(answers) > 0 { // the floor
		t.Errorf("%s has ndots %d and %v for %s: advice is not in force, or the name needs no more", musl, n, answers, unheardOf)
	}
	a.soon(t, "a run has seen what the name needs", func() bool {
		for _, pod := range old {
			ask(pod)
		}
		time.Sleep(2 * time.Second)
		return a.advises(t, func(habit string, w *policy.AdvisedWorkload) bool {
			return habit != "fetcher" || w.Needed["3"] != "" && w.Ndots != nil && *w.Ndots == 3
		})
	})
	a.everyReplicaHasIt(t)

	// Pods beside the old ones, which nobody restarts.
	a.commands(t, 0, "kubectl scale -n shop --replicas 2 deployment/"+strings.Join(slices.Sorted(maps.Keys(old)), " deployment/")+" && kubectl rollout status deployment -n shop")
	for name, pod := range fetchers() {
		if answers := ask(pod); len(answers) == 0 {
			t.Errorf("a new pod of %s does not find %s", name, unheardOf)
		}
		if n := ndots(pod); name == musl && n != 3 {
			t.Errorf("a new pod of %s has ndots %d", name, n)
		}
	}
	var audited struct {
		Workloads []struct {
			Name     string
			Findings []struct {
				Class, Reason string
				Pods          int
			}
		}
	}
	text := a.commands(t, 1, "kubectl-shorthop audit -n shop -o json 2>/dev/null")
	if err := json.Unmarshal([]byte(text), &audited); err != nil {
		t.Fatal(err)
	}
	raised := map[string]int{}
	for _, w := range audited.Workloads {
		for _, f := range w.Findings {
			if f.Class == "stale" && f.Reason == "advice_raised" {
				raised[w.Name] += f.Pods
			} else if f.Class != "ok" && f.Class != "skipped" { // fall-through does not exist for every resolver
				t.Errorf("audit says of %s: %+v\n%s", w.Name, f, text)
			}
		}
	}
	if raised[musl] != 1 {
		t.Errorf("audit has raised advice for %v, and must for one pod of %s:\n%s", raised, musl, text)
	}
	events := a.commands(t, 0, "kubectl get events -n shorthop-system --field-selector reason=AdviceRaised -o jsonpath='{.items[*].message}'")
	if !strings.Contains(events, "fetcher-") || !strings.Contains(events, unheardOf) {
		t.Errorf("Events: %q", events)
	}
	a.alertIsTrue(t)
}

// alertIsTrue evaluates the alert's expression over what the replicas say.
func (a *inForce) alertIsTrue(t *testing.T) {
	t.Helper()
	output, err := suite.helm(t.Context(), append([]string{"template", release, chartFolder, "--show-only", "templates/monitoring.yaml",
		"--set", "metrics.prometheusRule.enabled=true", "--api-versions", "monitoring.coreos.com/v1"}, "--set", "certificates.mode=self-managed")...)
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var expression string
	for _, document := range strings.Split(output, "\n---\n") {
		var rule struct {
			Spec struct {
				Groups []struct {
					Rules []struct{ Alert, Expr string }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(document), &rule); err != nil {
			t.Fatal(err)
		}
		for _, group := range rule.Spec.Groups {
			for _, r := range group.Rules {
				if r.Alert == "ShorthopAdviceRaised" {
					expression = r.Expr
				}
			}
		}
	}
	const series = "shorthop_pods_advice_raised"
	samples := map[string]string{}
	a.soon(t, "the replica that scans has counted", func() bool {
		clear(samples)
		for _, name := range a.replicaNames(t) {
			text, err := suite.client.CoreV1().Pods(releaseNamespace).ProxyGet("http", name, "8080", "/metrics", nil).DoRaw(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				if value, found := strings.CutPrefix(line, series+" "); found {
					samples[name] = strings.TrimSpace(value)
				}
			}
		}
		return len(samples) == 1 && !slices.Contains(slices.Collect(maps.Values(samples)), "0")
	})
	test := map[string]any{
		"evaluation_interval": "1m", "rule_files": []string{},
		"tests": []any{map[string]any{"interval": "1m", "input_series": []any{}, "promql_expr_test": []any{}}},
	}
	only := test["tests"].([]any)[0].(map[string]any)
	for name, value := range samples {
		label := fmt.Sprintf(`{namespace=%q}`, releaseNamespace)
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		only["input_series"] = []any{map[string]any{"series": fmt.Sprintf("%s{namespace=%q, pod=%q}", series, releaseNamespace, name), "values": value + "x5"}}
		only["promql_expr_test"] = []any{map[string]any{"expr": expression, "eval_time": "1m", "exp_samples": []any{map[string]any{"labels": label, "value": number}}}}
	}
	text, err := yaml.Marshal(test)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(a.dir, "alert.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool := fromEnvironment("PROMTOOL", filepath.Join(repository, ".cache", "tools", "promtool-v0.312.0", "promtool"))
	if said, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput(); err != nil || expression == "" {
		t.Errorf("%s is not true of %v: %v\n%s", expression, samples, err, said)
	}
}
