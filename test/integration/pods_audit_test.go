package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
)

// auditPods is 20,000 in 200 namespaces where figures are wanted:
// go test ./test/integration -run TestAuditOfManyPods -v -args -audit-pods 20000
var auditPods = flag.Int("audit-pods", 2000, "how many pods TestAuditOfManyPods creates; 1000 at most under -short")

// auditPage is how many pods kubectl-shorthop reads at once.
const auditPage = 500

// auditMemory is what kubectl-shorthop may take for 20,000 pods.
const auditMemory = 150 << 20

const (
	auditCache = "kube-system/node-local-dns"
	edgeCache  = "kube-system/edge-cache"
)

// podsAuditPolicy is the policy in force; an older one has another ndots. The host is the API server's own.
const podsAuditPolicy = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: audit}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: %s, port: %d}
  dns:
    mode: NodeLocal
    ndots: %d
    nodeLocal: {servers: [169.254.20.10]}
  rules:
  - name: edge
    match: {podSelector: {matchLabels: {edge: "true"}}}
    dns: {nodeLocal: {servers: [169.254.20.11], daemonSet: kube-system/edge-cache}}
  - name: slow
    match: {podSelector: {matchLabels: {slow: "true"}}}
    rollout: {percent: 0}
`

// byHand is a namespace with one pod of each workload of plantByHand.
const byHand = "by-hand"

// plantByHand creates pods that were missed, of workloads that are restarted in other ways.
func (a *auditedCluster) plantByHand() {
	t := a.t
	if err := a.CreateNamespace(t.Context(), byHand, nil); err != nil {
		t.Fatal(err)
	}
	app := map[string]string{"app": "driver"}
	driver := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "driver"}, Spec: appsv1.DaemonSetSpec{
		Selector:       &metav1.LabelSelector{MatchLabels: app},
		Template:       corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: plainPod("").Spec},
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
	}}
	must[*appsv1.DaemonSet](t)(a.Client.AppsV1().DaemonSets(byHand).Create(t.Context(), driver, metav1.CreateOptions{}))
	for _, owner := range []policy.OwnerReference{
		{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "agent"}, {APIVersion: "apps/v1", Kind: "DaemonSet", Name: "driver"},
		{APIVersion: "batch/v1", Kind: "Job", Name: "import"}, {APIVersion: "batch/v1", Kind: "Job", Name: "report-29000000"}, {},
	} {
		pod := plainPod("shell" + owner.Name)
		if owner.Kind != "" {
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name, UID: "0", Controller: new(true)}}
		}
		must[*corev1.Pod](t)(a.Client.CoreV1().Pods(byHand).Create(t.Context(), pod, metav1.CreateOptions{}))
	}
}

// tableByHand is what audit prints for that namespace.
const tableByHand = `NAMESPACE  WORKLOAD          PODS  CLASS   FEATURES          REASON
by-hand    cronjob/report    1/1   missed  service_host,dns  not_injected
by-hand    daemonset/agent   1/1   missed  service_host,dns  not_injected
by-hand    daemonset/driver  1/1   missed  service_host,dns  not_injected
by-hand    job/import        1/1   missed  service_host,dns  not_injected
by-hand    pod/shell         1/1   missed  service_host,dns  not_injected

policy audit, hash HASH, mode Enforce, from pod shorthop-0
pods in namespace by-hand: 5 missed
  service_host: 5 missed
  dns:          5 missed
  fallthrough:  5 skipped

NAMESPACE  PODS  INJECTED  STALE  MISSED  OPTED OUT  OTHER  
by-hand    5     0%        -      100%    -          -      
INJECTED is of the pods that are neither opted out nor skipped, the others are of all pods.

WHY NOT           FEATURE       CLASS    PODS
not_injected      service_host  missed   5
not_injected      dns           missed   5
resolver_unknown  fallthrough   skipped  5

not_injected: A new pod would be injected, and this one carries nothing: the webhook was not asked,
              or the settings of that time left the pod alone.
resolver_unknown: Which resolver the image contains is not known (` + "`kubectl shorthop resolvers`" + `).

To have these pods created again:
  kubectl -n by-hand rollout restart daemonset/agent

For these there is no such command:
  cronjob/report in by-hand: its next run gets new pods; one that never ends must be deleted
  daemonset/driver in by-hand: its updateStrategy is OnDelete, so a restart replaces none of its pods: delete them one after the other
  job/import in by-hand: let it end, or delete the Job and create it again
  pod/shell in by-hand: nobody creates it again: delete it and create it from its manifest
`

// planted are the pods of each class.
func planted(total int) map[audit.Class]int {
	want := audit.NewCounts().Classes
	want[audit.Missed] = 5 // by hand
	older, reviewed, missed := seeds()
	for _, s := range slices.Concat(older, reviewed, missed) {
		if s.leftOut == "" {
			want[s.class] += total * s.of / 100
		}
	}
	return want
}

// auditReport is what audit -o json prints, so far as tests look at it.
type auditReport struct {
	Policy struct {
		Hash           string `json:"hash"`
		From           string `json:"from"`
		GatesKnown     bool   `json:"gatesKnown"`
		DiscoveryKnown bool   `json:"discoveryKnown"`
	} `json:"policy"`
	Consistent bool `json:"consistent"`
	audit.Counts
	Workloads []audit.Workload `json:"workloads"`
	Progress  []audit.Progress `json:"progress"`
}

// auditRun is a run of the real program.
type auditRun struct {
	stdout, stderr string
	code           int
	// maxrss is what the kernel says at its end, peak what /proc said last; in bytes.
	maxrss, peak int64
}

// run runs kubectl-shorthop audit. stderr is written to as it comes.
func (a *auditedCluster) run(kubeconfig string, stderr *cluster.LogBuffer, args ...string) *auditRun {
	a.t.Helper()
	program, err := kubectlProgram()
	if err != nil {
		a.t.Fatal(err)
	}
	command := exec.CommandContext(a.t.Context(), program, append([]string{"audit", "--kubeconfig", kubeconfig}, args...)...)
	var stdout bytes.Buffer
	command.Stdout, command.Stderr = &stdout, stderr
	if err := command.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended, sampled := make(chan struct{}), make(chan int64)
	go func() {
		peak := int64(0)
		for {
			if n := memoryOf(command.Process.Pid, "VmHWM"); n > 0 {
				peak = n
			}
			select {
			case <-ended:
				sampled <- peak
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	err = command.Wait()
	close(ended)
	if exit, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		a.t.Fatal(exit)
	}
	usage := command.ProcessState.SysUsage().(*syscall.Rusage)
	return &auditRun{stdout.String(), stderr.String(), command.ProcessState.ExitCode(), usage.Maxrss << 10, <-sampled}
}

// memoryOf reads a field of /proc/PID/status, in bytes: VmHWM is the most resident memory that the process has had,
// RssAnon what it has now without mapped files. 0 where the process has ended.
func memoryOf(pid int, field string) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	match := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		return 0
	}
	kilobytes, _ := strconv.ParseInt(string(match[1]), 10, 64)
	return kilobytes << 10
}

func (r *auditRun) report(t *testing.T) *auditReport {
	t.Helper()
	report := &auditReport{}
	if err := json.Unmarshal([]byte(r.stdout), report); err != nil {
		t.Fatalf("%v: %s\n%s", err, r.stdout, r.stderr)
	}
	return report
}

// What an operator asks after an outage, on a cluster of some size: which pods missed injection, which carry an old
// decision, and what to do. And what the server itself makes of the same pods.
func TestAuditOfManyPods(t *testing.T) {
	t.Parallel()
	a := newAuditedCluster(t, nil)
	total := *auditPods
	began := time.Now()
	a.sow(total)
	t.Logf("%d pods in %d namespaces created in %s", total, len(a.namespaces), time.Since(began).Round(time.Second))

	// What the chart must allow the server for everything that it does here.
	grant(t, a.Client, "detector",
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces", "services"}, Verbs: []string{"get", "list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"daemonsets"}, Verbs: []string{"get", "list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"shorthop-detector"}, Verbs: []string{"get", "update"}},
	)
	a.createLease()
	kubeconfig := kubeconfigAs(t, a.Cluster, "detector")
	replica := a.start(kubeconfig, "--detect-interval", "1s")
	runAsPod(t, a.Cluster, a.kubelet, replica.Webhook, plainPod("shorthop-0"))

	want := planted(total)
	// Shorthop's own pod is there too.
	want[audit.Skipped]++
	t.Run("the command", func(t *testing.T) { a.checkCommand(t, total, want) })
	t.Run("the table", func(t *testing.T) { a.checkTable(t) })
	t.Run("the policy of the ConfigMap", func(t *testing.T) { a.checkWithoutReplica(t, want) })
	t.Run("the detector", func(t *testing.T) { a.checkDetector(t, replica, kubeconfig, want) })
}

// createLease does what the chart does.
func (a *auditedCluster) createLease() {
	lease := map[string]any{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
		"metadata": map[string]any{"name": "shorthop-detector", "namespace": doctorNamespace},
	}
	body, err := json.Marshal(lease)
	if err != nil {
		a.t.Fatal(err)
	}
	err = a.Client.CoordinationV1().RESTClient().Post().Namespace(doctorNamespace).Resource("leases").
		SetHeader("Content-Type", "application/json").Body(body).Do(a.t.Context()).Error()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *auditedCluster) checkCommand(t *testing.T, total int, want map[audit.Class]int) {
	stderr := &cluster.LogBuffer{}
	// The first page is held up until the command says what takes so long, as it does on slow clusters: after it the command
	// says how far it is, where there is more to come.
	door := a.openFrontDoor(func(request *http.Request) {
		if !isFirstPage(request) {
			return
		}
		_ = cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
			return strings.Contains(stderr.String(), "looking at pods"), nil
		})
	})
	run := a.run(door.kubeconfig, stderr, "-A", "-o", "json")
	report := run.report(t)
	t.Logf("kubectl-shorthop audit: %d pods, peak resident memory %.1f MiB (rusage %.1f MiB), output %d bytes",
		report.Pods, float64(run.peak)/(1<<20), float64(run.maxrss)/(1<<20), len(run.stdout))
	if run.code != 1 {
		t.Errorf("exit code %d, want 1: %s", run.code, run.stderr)
	}
	if run.peak == 0 || run.peak > auditMemory {
		t.Errorf("peak resident memory is %d bytes, want at most %d", run.peak, auditMemory)
	}
	progress := "looking at pods"
	if listed := report.Pods + report.LeftOut[audit.LeftOutFinished]; listed > auditPage {
		progress = fmt.Sprintf("%d of about %d pods", auditPage, listed)
	}
	if !strings.Contains(run.stderr, progress) {
		t.Errorf("standard error does not say %q: %s", progress, run.stderr)
	}
	if diff := cmp.Diff(want, report.Classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
	if p := report.Policy; !p.GatesKnown || !p.DiscoveryKnown || p.From != "pod shorthop-0" || p.Hash != compile(t, a.document).Hash() || !report.Consistent {
		t.Errorf("the policy is %+v, consistent is %t", p, report.Consistent)
	}
	a.checkProgress(t, report, want)
	if got, want := report.LeftOut[audit.LeftOutFinished], total*5/100; got != want {
		t.Errorf("%d finished pods are left out, want %d", got, want)
	}
	// Of stale and pinned pods, only DNS is.
	hosts := maps.Clone(want)
	hosts[audit.OK] += hosts[audit.Stale] + hosts[audit.Pinned]
	hosts[audit.Stale], hosts[audit.Pinned] = 0, 0
	if diff := cmp.Diff(hosts, report.Features[policy.FeatureServiceHost]); diff != "" {
		t.Errorf("classes of service_host (-want +got):\n%s", diff)
	}

	listed := map[audit.Class]int{}
	for _, w := range report.Workloads {
		class := w.Findings[0].Class
		listed[class] += w.Pods
		if w.Namespace == byHand {
			if onDelete := w.Name == "driver"; onDelete != (w.Restart != nil && strings.Contains(w.Restart.Advice, "OnDelete")) {
				t.Errorf("workload %+v with %+v", w, w.Restart)
			}
			continue // see checkTable
		}
		command := ""
		if class.Actionable() {
			command = "kubectl -n " + w.Namespace + " rollout restart deployment/" + w.Name
		}
		if w.Kind != "Deployment" || !strings.HasPrefix(w.Name, string(class)+"-") || w.Restart == nil != (command == "") || w.Restart != nil && strings.Join(w.Restart.Command, " ") != command {
			t.Errorf("workload %+v with %+v", w, w.Restart)
		}
	}
	for _, class := range audit.Classes() {
		n := 0
		if class.Actionable() || class == audit.Unknown {
			n = want[class]
		}
		if listed[class] != n {
			t.Errorf("workloads of class %s with %d pods are listed, want %d", class, listed[class], n)
		}
	}
}

func (a *auditedCluster) checkTable(t *testing.T) {
	namespace := a.namespaces[0]
	run := a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-n", namespace)
	for _, line := range []string{
		`audited-0  deployment/missed-0   5/5   missed   service_host,dns  not_injected`,
		`audited-0  deployment/stale-0    5/5   stale    dns               older_policy`,
		`audited-0  deployment/pinned-0   5/5   pinned   dns               gate_closed`,
		`audited-0  deployment/unknown-0  5/5   unknown  service_host,dns,fallthrough  rollout`,
		"  kubectl -n audited-0 rollout restart deployment/missed-0",
	} {
		pattern := strings.Join(strings.Fields(regexp.QuoteMeta(line)), `\s+`)
		if !regexp.MustCompile(`(?m)^\s*` + pattern + `$`).MatchString(run.stdout) {
			t.Errorf("there is no line %q in\n%s", line, run.stdout)
		}
	}
	if strings.Contains(run.stdout, "audited-1") || strings.Contains(run.stdout, "deployment/ok-0") {
		t.Errorf("more is listed than asked for:\n%s", run.stdout)
	}
	if run.code != 1 || run.stderr != "" {
		t.Errorf("exit code %d, want 1; on standard error: %s", run.code, run.stderr)
	}
	run = a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-n", namespace, "--all")
	if !strings.Contains(run.stdout, "deployment/ok-0") || !strings.Contains(run.stdout, "deployment/opted-out-0") {
		t.Errorf("--all does not list everything:\n%s", run.stdout)
	}

	run = a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-n", byHand)
	if diff := cmp.Diff(strings.Replace(tableByHand, "HASH", compile(t, a.document).Hash(), 1), run.stdout); diff != "" {
		t.Errorf("the table of a namespace (-want +got):\n%s", diff)
	}

	// Of another cache, the replica knows nothing.
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, strings.Replace(a.document, edgeCache, "kube-system/other", 1))
	run = a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-n", namespace, "--policy", file)
	if !strings.Contains(run.stderr, "the replicas have other health gates than this policy") || strings.Contains(run.stdout, "pinned") ||
		!strings.Contains(run.stdout, "from --policy\n") {
		t.Errorf("under another policy:\n%s%s", run.stdout, run.stderr)
	}

	// What the API server leaves out would not be reviewed again: there is nothing to restart.
	a.selectOnly(t, "none")
	run = a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-n", byHand)
	if run.code != 0 || strings.Contains(run.stdout, "rollout restart") || !strings.Contains(run.stdout, "left_out_by_filter  service_host  skipped") {
		t.Errorf("a namespace that the filter leaves out: exit code %d:\n%s%s", run.code, run.stdout, run.stderr)
	}
	a.selectOnly(t, "")

	run = a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-n", "kube-public")
	if run.code != 0 {
		t.Errorf("nothing to act on: exit code %d, want 0: %s", run.code, run.stdout)
	}
	run = a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-n", "nowhere")
	if run.code != 2 || run.stdout != "" {
		t.Errorf("no such namespace: exit code %d, want 2: %s", run.code, run.stdout)
	}
}

// selectOnly has the webhook select namespaces with a label of ours, "" for all.
func (a *auditedCluster) selectOnly(t *testing.T, value string) {
	t.Helper()
	configs := a.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	config, err := configs.Get(t.Context(), "shorthop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range config.Webhooks {
		config.Webhooks[i].NamespaceSelector.MatchLabels = nil
		if value != "" {
			config.Webhooks[i].NamespaceSelector.MatchLabels = map[string]string{scopeLabel: value}
		}
	}
	must[*admissionv1.MutatingWebhookConfiguration](t)(configs.Update(t.Context(), config, metav1.UpdateOptions{}))
}

// checkWithoutReplica asks while no replica is ready: the gates are not known, so nothing is pinned for sure.
func (a *auditedCluster) checkWithoutReplica(t *testing.T, want map[audit.Class]int) {
	pods := a.Client.CoreV1().Pods(doctorNamespace)
	pod, err := pods.Get(t.Context(), "shorthop-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	setReady := func(status corev1.ConditionStatus) {
		pod.Status.Conditions[0].Status = status
		if pod, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	setReady(corev1.ConditionFalse)
	defer setReady(corev1.ConditionTrue)
	run := a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-A", "-o", "json")
	report := run.report(t)
	want = maps.Clone(want)
	want[audit.OK] += want[audit.Pinned]
	want[audit.Pinned] = 0
	if diff := cmp.Diff(want, report.Classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
	if report.Policy.From != "ConfigMap "+doctorNamespace+"/shorthop" || report.Policy.GatesKnown || !strings.Contains(run.stderr, "no replica could be asked (no replica is ready)") {
		t.Errorf("the policy is %+v; on standard error: %s", report.Policy, run.stderr)
	}

	// What another policy would mean.
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, a.policy(4))
	report = a.run(a.Kubeconfig(), &cluster.LogBuffer{}, "-A", "-o", "json", "--policy", file).report(t)
	want[audit.Stale] += want[audit.OK]
	want[audit.OK] = 0
	if diff := cmp.Diff(want, report.Classes); diff != "" {
		t.Errorf("classes under another policy (-want +got):\n%s", diff)
	}
}

// checkDetector compares the gauges of the replica that scans, and of the next one.
func (a *auditedCluster) checkDetector(t *testing.T, first *process, kubeconfig string, want map[audit.Class]int) {
	shows := func(p *process) func(context.Context) (bool, error) {
		return func(context.Context) (bool, error) {
			_, text := get(t, p.MetricsURL)
			for name, class := range map[string]audit.Class{"missed": audit.Missed, "stale": audit.Stale, "pinned": audit.Pinned} {
				if !strings.Contains(text, fmt.Sprintf("\nshorthop_pods_%s %d\n", name, want[class])) {
					return false, nil
				}
			}
			return strings.Contains(text, "\nshorthop_detector_last_success_timestamp_seconds "), nil
		}
	}
	wait := func(p *process, why string) {
		t.Helper()
		if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 5*time.Minute, true, shows(p)); err != nil {
			_, text := get(t, p.MetricsURL)
			t.Fatalf("%s: %v; want %v in\n%s", why, err, want, regexp.MustCompile(`(?m)^shorthop_(pods|detector).*$`).FindAllString(text, -1))
		}
	}
	wait(first, "the first replica scans")
	t.Logf("the webhook that scans all the time: resident memory at most %.1f MiB, anonymous now %.1f MiB",
		float64(memoryOf(first.PID(), "VmHWM"))/(1<<20), float64(memoryOf(first.PID(), "RssAnon"))/(1<<20))
	if n := first.metric(t, `shorthop_errors_total{stage="detector"}`); n != 0 {
		t.Errorf("%v scans failed", n)
	}
	if !strings.Contains(first.Logs(), fmt.Sprintf(`"missed":%d,"stale":%d`, want[audit.Missed], want[audit.Stale])) {
		t.Error("no log line sums up a scan")
	}

	second := a.start(kubeconfig, "--detect-interval", "1s")
	if status, text := get(t, second.MetricsURL); status != http.StatusOK || strings.Contains(text, "\nshorthop_pods_missed ") {
		t.Errorf("a replica that does not scan has values (status %d)", status)
	}
	stopping, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if code, err := first.Stop(stopping); err != nil || code != 0 {
		t.Errorf("the first replica ended with %d, %v", code, err)
	}
	wait(second, "the second replica takes over")
}

// The API server forgets a list after some minutes. Audit goes on with what it has now, and says so.
func TestAuditOfAListThatExpires(t *testing.T) {
	t.Parallel()
	a := newAuditedCluster(t, map[string][]string{"etcd-compaction-interval": {"2s"}})
	const total = 1100
	a.sow(total)
	held := 0
	door := a.openFrontDoor(func(request *http.Request) {
		if isFirstPage(request) {
			return
		}
		if held++; held > 1 {
			return
		}
		// Until the API server refuses just this page.
		err := wait.PollUntilContextTimeout(t.Context(), time.Second, time.Minute, true, func(ctx context.Context) (bool, error) {
			// Compaction needs something to compact.
			must[*corev1.Pod](t)(a.Client.CoreV1().Pods(a.namespaces[0]).Create(ctx, plainPod(fmt.Sprintf("later-%d", time.Now().UnixNano())), metav1.CreateOptions{}))
			body, err := a.Client.CoreV1().RESTClient().Get().RequestURI(request.URL.RequestURI()).Stream(ctx)
			if err != nil {
				if apierrors.IsResourceExpired(err) {
					return true, nil
				}
				return false, err
			}
			_, err = io.Copy(io.Discard, body)
			body.Close()
			return false, err
		})
		if err != nil {
			t.Errorf("the list does not expire: %v", err)
		}
	})
	run := a.run(door.kubeconfig, &cluster.LogBuffer{}, "-A", "-o", "json")
	report := run.report(t)
	if report.Consistent || !strings.Contains(run.stderr, "not of one moment") {
		t.Errorf("consistent is %t; on standard error: %s", report.Consistent, run.stderr)
	}
	want := planted(total)
	// No replica could be asked about the gates. What came meanwhile may or may not be seen, and nothing else counts twice.
	want[audit.OK] += want[audit.Pinned]
	want[audit.Pinned] = 0
	if report.Classes[audit.Missed] < want[audit.Missed] {
		t.Errorf("%d pods are missed, want at least %d", report.Classes[audit.Missed], want[audit.Missed])
	}
	want[audit.Missed] = report.Classes[audit.Missed]
	if diff := cmp.Diff(want, report.Classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
}
