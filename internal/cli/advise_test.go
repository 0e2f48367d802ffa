package cli_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/loggen"
	"github.com/shorthop/shorthop/test/testfile"
)

// simulated is the pods and the log of a simulated cluster.
func simulated(t *testing.T) (cluster *loggen.Cluster, pods, log []byte) {
	t.Helper()
	var out bytes.Buffer
	cluster = loggen.New(loggen.Options{Seed: 3, Timestamps: true})
	if _, err := cluster.Write(&out); err != nil {
		t.Fatal(err)
	}
	list := map[string]any{"apiVersion": "v1", "kind": "List", "items": cluster.Pods()}
	pods = jsontest.Marshal(t, list)
	return cluster, pods, out.Bytes()
}

// simulatedPolicy says what is in the images of a simulated cluster.
func simulatedPolicy() []byte {
	text := "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: simulated}\nspec:\n  resolvers:\n"
	for _, r := range []resolver.Resolver{resolver.Glibc, resolver.Musl, resolver.Go} {
		text += fmt.Sprintf("  - images: [\"registry.example/%s:1\"]\n    resolver: %s\n", r, r)
	}
	return []byte(text)
}

// TestLinesWithoutEnd tells a log that is one long line from one that is empty.
func TestLinesWithoutEnd(t *testing.T) {
	t.Parallel()
	_, pods, _ := simulated(t)
	for what, c := range map[string]struct{ log, want string }{
		"empty":    {"", "it is empty"},
		"zeros":    {strings.Repeat("\x00", 2<<20), "its lines are too long to be records"},
		"one word": {strings.Repeat("x", 2<<20), "its lines are too long to be records"},
	} {
		_, stderr, code := adviseWith(t, nil, map[string][]byte{"pods.json": pods, "dns.log": []byte(c.log)}, "--pods", "pods.json", "dns.log")
		if code != 2 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, %q, want %q", what, code, stderr, c.want)
		}
	}
}

// adviseWith runs advise with files that are only in memory.
func adviseWith(t *testing.T, stdin []byte, files map[string][]byte, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(append([]string{"advise"}, args...), cli.Streams{
		In: bytes.NewReader(stdin), Out: &out, Err: &errs,
		Open: func(name string) (io.ReadCloser, error) {
			data, found := files[name]
			if !found {
				return nil, os.ErrNotExist
			}
			return io.NopCloser(bytes.NewReader(data)), nil
		},
	})
	return out.String(), errs.String(), code
}

func zipped(t *testing.T, parts ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts { // a member each, as in a concatenated file
		w := gzip.NewWriter(&out)
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// However a log comes in, what it says is the same.
func TestAdviseReadsLogsFromAnywhere(t *testing.T) {
	t.Parallel()
	_, pods, log := simulated(t)
	half := bytes.LastIndexByte(log[:len(log)/2], '\n') + 1
	prefixed := bytes.ReplaceAll(log, []byte("2026-"), []byte("[pod/coredns-1/coredns] 2026-"))
	files := map[string][]byte{
		"pods.json": pods, "pods.json.gz": zipped(t, pods), "log": log, "log.gz": zipped(t, log[:half], log[half:]),
		"1": log[:half], "2": log[half:], "prefixed": prefixed, "policy": simulatedPolicy(),
	}
	var want advisor.Report
	for i, args := range [][]string{
		{"--pods", "pods.json", "log"},
		{"--pods", "pods.json"},
		{"--pods", "pods.json", "-"},
		{"--pods", "pods.json.gz", "log.gz"},
		{"--pods", "pods.json", "1", "2"},
		{"--pods", "pods.json", "prefixed"},
	} {
		stdout, stderr, code := adviseWith(t, log, files, append(args, "--policy", "policy", "-o", "json")...)
		if code != 1 {
			t.Fatalf("%q: exit code %d: %s", args, code, stderr)
		}
		got := jsontest.Decode[advisor.Report](t, []byte(stdout))
		for k := range got.Workloads {
			if c := got.Workloads[k].Completeness; c != nil {
				c.Logs = 0 // how many files there are
			}
		}
		if i == 0 {
			want = got
		}
		if diff := cmp.Diff(want.Workloads, got.Workloads); diff != "" {
			t.Errorf("%q (-from a file +so):\n%s", args, diff)
		}
	}
}

// The rules pass lint, and a second run over the rules adds none that are there.
func TestAdvisedPoliciesPassLint(t *testing.T) {
	t.Parallel()
	_, pods, log := simulated(t)
	policyFile := "examples/policy.yaml"
	example := testfile.Read(t, filepath.Join(repository, policyFile))
	files := map[string][]byte{"pods.json": pods, "log": log, "policy.yaml": example}
	// The example policy, with the images of the simulated cluster.
	_, resolvers, _ := strings.Cut(string(simulatedPolicy()), "  resolvers:\n")
	files["policy.yaml"] = []byte(strings.Replace(string(example), "  resolvers:\n", "  resolvers:\n"+resolvers, 1))
	files["simulated.yaml"] = simulatedPolicy()
	for _, args := range [][]string{{"--policy", "simulated.yaml"}, {"--policy", "policy.yaml"}} {
		rules, stderr, code := adviseWith(t, nil, files, append(args, "--pods", "pods.json", "-o", "policy", "log")...)
		if code != 1 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if !strings.Contains(rules, advisor.RulePrefix) {
			t.Errorf("no rules in\n%s", rules)
		}
		if _, stderr, code := run(t, []byte(rules), "lint", "-"); code != 0 {
			t.Errorf("lint: exit code %d: %s\n%s", code, stderr, rules)
		}
	}
}

// With --since, pods and logs come from the cluster: the cache's where there is one.
func TestAdviseAsksTheCluster(t *testing.T) {
	t.Parallel()
	cluster, _, log := simulated(t)
	var (
		mu    sync.Mutex
		asked []string
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path+"?"+r.URL.RawQuery)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		encode := func(v any) {
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		}
		list := map[string]any{"kind": "PodList", "apiVersion": "v1", "metadata": map[string]any{}}
		switch {
		case strings.HasSuffix(r.URL.Path, "/log"):
			if _, err := w.Write(log); err != nil {
				t.Error(err)
			}
			return
		case r.URL.Path == "/api/v1/pods" && r.URL.Query().Get("continue") == "":
			list["metadata"], list["items"] = map[string]any{"continue": "next"}, cluster.Pods()[:10]
		case r.URL.Path == "/api/v1/pods" && r.URL.Query().Get("continue") == "next":
			// As from an API server that keeps the list no longer.
			w.WriteHeader(http.StatusGone)
			encode(metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, ListMeta: metav1.ListMeta{Continue: "further"},
				Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: http.StatusGone,
			})
			return
		case r.URL.Path == "/api/v1/pods":
			list["items"] = cluster.Pods()[10:]
		case r.URL.Path == "/api/v1/namespaces/kube-system/pods" && strings.Contains(r.URL.Query().Get("labelSelector"), "coredns"): // by two labels
			list["items"] = []any{map[string]any{
				"metadata": map[string]any{"name": "coredns-1", "namespace": "kube-system"},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "coredns"}}},
			}}
		case r.URL.Path == "/api/v1/namespaces":
			list["kind"], list["items"] = "NamespaceList", []any{map[string]any{"metadata": map[string]any{"name": "stage"}}}
		case r.URL.Path == "/api/v1/services":
			list["kind"], list["items"] = "ServiceList", []any{}
		case r.URL.Path == "/apis/apps/v1/statefulsets":
			w.WriteHeader(http.StatusForbidden)
			encode(metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: "not you"})
			return
		default:
			list["items"] = []any{}
		}
		encode(list)
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c}}]\n", server.URL)
	testfile.Write(t, kubeconfig, text)
	files := map[string][]byte{"policy": simulatedPolicy()}
	stdout, stderr, code := adviseWith(t, nil, files, "--kubeconfig", kubeconfig, "--since", "90m", "--policy", "policy", "-o", "json")
	if code != 1 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if !strings.Contains(stderr, "the list of pods took so long to read that it is not of one moment") {
		t.Errorf("the list that expired is not told of: %s", stderr)
	}
	report := jsontest.Decode[advisor.Report](t, []byte(stdout))
	if report.Source.Pods != len(cluster.Workloads) || len(report.Workloads) != len(cluster.Workloads) {
		t.Errorf("%d pods and %d workloads, want %d", report.Source.Pods, len(report.Workloads), len(cluster.Workloads))
	}
	if !strings.Contains(stderr, "cannot read the StatefulSets of the cluster") {
		t.Errorf("that StatefulSets are not read is not told: %s", stderr)
	}
	names := []string{"/api/v1/namespaces?limit=500", "/api/v1/services?limit=500", "/apis/apps/v1/statefulsets?limit=500"}
	for _, path := range names {
		at := slices.Index(asked, path)
		if at < 0 {
			t.Errorf("%s was not asked for", path)
			continue
		}
		asked = slices.Delete(asked, at, at+1)
	}
	want := []string{
		"/api/v1/pods?limit=500",
		"/api/v1/pods?continue=next&limit=500",
		"/api/v1/pods?continue=further&limit=500",
		"/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app+in+%28node-local-dns%2Cnodelocaldns%29",
		"/api/v1/namespaces/kube-system/pods?labelSelector=app.kubernetes.io%2Fname+in+%28node-local-dns%29",
		"/api/v1/namespaces/openshift-dns/pods?labelSelector=k8s-app+in+%28node-local-dns%2Cnodelocaldns%29",
		"/api/v1/namespaces/openshift-dns/pods?labelSelector=app.kubernetes.io%2Fname+in+%28node-local-dns%29",
		"/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app+in+%28kube-dns%2Ccoredns%29",
		"/api/v1/namespaces/kube-system/pods?labelSelector=app.kubernetes.io%2Fname+in+%28coredns%2Crke2-coredns%29",
		"/api/v1/namespaces/kube-system/pods?labelSelector=dns.operator.openshift.io%2Fdaemonset-dns",
		"/api/v1/namespaces/openshift-dns/pods?labelSelector=k8s-app+in+%28kube-dns%2Ccoredns%29",
		"/api/v1/namespaces/openshift-dns/pods?labelSelector=app.kubernetes.io%2Fname+in+%28coredns%2Crke2-coredns%29",
		"/api/v1/namespaces/openshift-dns/pods?labelSelector=dns.operator.openshift.io%2Fdaemonset-dns",
		"/api/v1/namespaces/kube-system/pods/coredns-1/log?container=coredns&sinceSeconds=5400&timestamps=true",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// A stream from the API server that breaks off, and a log that is not to be had, say
// less than there was: what there is is read, with low confidence, and both are told.
func TestAdviseTellsOfLogsOfTheClusterThatAreNotWhole(t *testing.T) {
	t.Parallel()
	cluster, _, log := simulated(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list := map[string]any{"kind": "PodList", "apiVersion": "v1", "metadata": map[string]any{}, "items": []any{}}
		dns := func(name string) any {
			return map[string]any{"metadata": map[string]any{"name": name, "namespace": "kube-system"}, "spec": map[string]any{"containers": []any{map[string]any{"name": "coredns"}}}}
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "coredns-1/log"):
			w.Header().Set("Content-Length", fmt.Sprint(len(log)))
			if _, err := w.Write(log[:len(log)/2]); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		case strings.HasSuffix(r.URL.Path, "coredns-2/log"):
			w.WriteHeader(http.StatusForbidden)
			list = map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "not you"}
		case r.URL.Path == "/api/v1/pods":
			list["items"] = cluster.Pods()
		case r.URL.Path == "/api/v1/namespaces/kube-system/pods":
			list["items"] = []any{dns("coredns-1"), dns("coredns-2")}
		}
		if err := json.NewEncoder(w).Encode(list); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c}}]\n", server.URL)
	testfile.Write(t, kubeconfig, text)
	stdout, stderr, code := adviseWith(t, nil, nil, "--kubeconfig", kubeconfig, "--since", "90m", "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"kube-system/coredns-1: breaks off", "kube-system/coredns-2: could not be read"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error does not have %q: %s", want, stderr)
		}
	}
	report := jsontest.Decode[advisor.Report](t, []byte(stdout))
	if report.Source.Logs != 1 || len(report.Source.Files) != 2 || report.Source.Queries == 0 {
		t.Errorf("%d logs of %d, %d queries", report.Source.Logs, len(report.Source.Files), report.Source.Queries)
	}
	for i := range report.Workloads {
		if r := report.Workloads[i].Recommendation; r != nil && (r.Apply || r.Confidence != advisor.ConfidenceLow) {
			t.Errorf("%s: confidence %s, to be applied %t", report.Workloads[i].Name, r.Confidence, r.Apply)
		}
	}
}

// A file that was cut off has less than what happened, and nothing in it tells.
func TestAdviseRefusesWhatWasCutOff(t *testing.T) {
	t.Parallel()
	_, pods, log := simulated(t)
	whole, wholePods := zipped(t, log), zipped(t, pods)
	for name, files := range map[string]map[string][]byte{
		"log":  {"pods": pods, "log": whole[:len(whole)/2]},
		"end":  {"pods": pods, "log": whole[:len(whole)-1]},
		"pods": {"pods": wholePods[:len(wholePods)/2], "log": log},
	} {
		if _, stderr, code := adviseWith(t, nil, files, "--pods", "pods", "log"); code != 2 || !strings.Contains(stderr, "cannot read ") {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
	}
}
