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
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/test/loggen"
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
	pods, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return cluster, pods, out.Bytes()
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
		"1": log[:half], "2": log[half:], "prefixed": prefixed,
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
		stdout, stderr, code := adviseWith(t, log, files, append(args, "-o", "json")...)
		if code != 1 {
			t.Fatalf("%q: exit code %d: %s", args, code, stderr)
		}
		var got advisor.Report
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
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
	example, err := os.ReadFile(filepath.Join(repository, policyFile))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"pods.json": pods, "log": log, "policy.yaml": example}
	for _, args := range [][]string{{}, {"--policy", "policy.yaml"}} {
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
		case r.URL.Path == "/api/v1/pods":
			list["items"] = cluster.Pods()[10:]
		case r.URL.Query().Get("labelSelector") == "k8s-app=kube-dns":
			list["items"] = []any{map[string]any{
				"metadata": map[string]any{"name": "coredns-1", "namespace": "kube-system"},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "coredns"}}},
			}}
		default:
			list["items"] = []any{}
		}
		encode(list)
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c}}]\n", server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := adviseWith(t, nil, nil, "--kubeconfig", kubeconfig, "--since", "90m", "-o", "json")
	if code != 1 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var report advisor.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Source.Pods != len(cluster.Workloads) || len(report.Workloads) != len(cluster.Workloads) {
		t.Errorf("%d pods and %d workloads, want %d", report.Source.Pods, len(report.Workloads), len(cluster.Workloads))
	}
	want := []string{
		"/api/v1/pods?limit=500",
		"/api/v1/pods?continue=next&limit=500",
		"/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dnode-local-dns",
		"/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns",
		"/api/v1/namespaces/kube-system/pods/coredns-1/log?container=coredns&sinceSeconds=5400&timestamps=true",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
