package audit_test

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/test/objectserver"
	"github.com/shorthop/shorthop/test/testfile"
)

// restarts reads how the pods of each workload are created again, from an API server that forbids these lists.
func restarts(t *testing.T, objects []byte, forbidden ...string) []byte {
	t.Helper()
	config := objectserver.Start(t, objectserver.Parse(t, objects))
	asked := map[string]int{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			resource := path.Base(r.URL.Path)
			asked[resource]++
			if slices.Contains(forbidden, resource) {
				return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
			}
			return next.RoundTrip(r)
		})
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	missed := audit.Finding{Class: audit.Missed, Reason: audit.ReasonNotInjected}
	tally := audit.NewTally()
	for _, owner := range []string{
		"Deployment/web", "Deployment/paused", "Deployment/gone", "DaemonSet/agent", "DaemonSet/driver",
		"StatefulSet/db", "StatefulSet/paused", "StatefulSet/by-hand", "StatefulSet/canary", "ReplicaSet/paused",
	} {
		kind, name, _ := strings.Cut(owner, "/")
		tally.Add(pod("apps/v1", kind, name, nil), audit.Verdict{ServiceHost: missed, DNS: missed})
	}
	tally.Add(pod("apps.kruise.io/v1beta1", "StatefulSet", "by-hand", nil), audit.Verdict{ServiceHost: missed, DNS: missed})
	tally.Add(pod("apps/v1", "DaemonSet", "driver-that-is-ok", nil), audit.Verdict{})
	workloads := tally.Workloads(func(audit.Class) bool { return true })
	unread := audit.CheckRestarts(t.Context(), client.AppsV1(), "shop", workloads)
	var got []string
	for _, w := range workloads {
		if r := w.Restart; r != nil {
			how := strings.TrimPrefix(strings.Join(r.Command, " ")+r.Advice, "kubectl -n shop rollout ")
			got = append(got, fmt.Sprintf("%s/%s: %s\n", strings.ToLower(w.QualifiedKind()), w.Name, how))
		}
	}
	slices.Sort(got)
	for _, err := range unread {
		got = append(got, fmt.Sprintf("not read: %v\n", err))
	}
	for resource, n := range asked {
		if n > 1 {
			t.Errorf("%s are asked for %d times", resource, n)
		}
	}
	return []byte(strings.Join(got, ""))
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// There is no command where it would leave pods as they are.
func TestCheckRestarts(t *testing.T) {
	t.Parallel()
	c := testfile.ReadCase(t, "testdata/restarts.txtar")
	c.OnlyHas(t, "workloads.yaml", "restarts", "forbidden")
	c.Expect(t, "restarts", restarts(t, c.Section("workloads.yaml")))
	c.Expect(t, "forbidden", restarts(t, c.Section("workloads.yaml"), "deployments", "statefulsets"))
}
