package audit_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/test/objectserver"
)

// heldWorkloads are what pods of namespace shop may say that they belong to. Those of another namespace are others.
const heldWorkloads = `
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {strategy: {type: Recreate}}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: paused, namespace: shop}, spec: {paused: true}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: other}, spec: {paused: true}}
- {apiVersion: apps/v1, kind: DaemonSet, metadata: {name: agent, namespace: shop}, spec: {updateStrategy: {type: RollingUpdate}}}
- {apiVersion: apps/v1, kind: DaemonSet, metadata: {name: driver, namespace: shop}, spec: {updateStrategy: {type: OnDelete}}}
- {apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: shop}, spec: {updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}}}
- {apiVersion: apps/v1, kind: StatefulSet, metadata: {name: paused, namespace: shop}, spec: {updateStrategy: {type: RollingUpdate}}}
- {apiVersion: apps/v1, kind: StatefulSet, metadata: {name: by-hand, namespace: shop}, spec: {updateStrategy: {type: OnDelete}}}
- {apiVersion: apps/v1, kind: StatefulSet, metadata: {name: canary, namespace: shop}, spec: {updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}}}
`

// restarts reads how the pods of each workload are created again, from an API server that forbids these lists.
func restarts(t *testing.T, forbidden ...string) (got map[string]string, unread []error) {
	t.Helper()
	config := objectserver.Start(t, objectserver.Parse(t, []byte(heldWorkloads)))
	asked := map[string]int{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
			asked[resource]++
			for _, name := range forbidden {
				if resource == name {
					return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
				}
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
	unread = audit.CheckRestarts(t.Context(), client.AppsV1(), "shop", workloads)
	got = map[string]string{}
	for _, w := range workloads {
		if r := w.Restart; r != nil {
			got[strings.ToLower(w.QualifiedKind())+"/"+w.Name] = strings.TrimPrefix(strings.Join(r.Command, " ")+r.Advice, "kubectl -n shop rollout ")
		}
	}
	for resource, n := range asked {
		if n > 1 {
			t.Errorf("%s are asked for %d times", resource, n)
		}
	}
	return got, unread
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// There is no command where it would leave pods as they are.
func TestCheckRestarts(t *testing.T) {
	t.Parallel()
	const (
		paused    = "its rollout is paused, which a restart is refused for: resume it, or delete its pods one after the other"
		onDelete  = "its updateStrategy is OnDelete, so a restart replaces none of its pods: delete them one after the other"
		partition = "its updateStrategy has a partition, so a restart leaves the pods below it as they are: delete its pods one after the other"
	)
	want := map[string]string{
		"deployment/web":                     "restart deployment/web",
		"deployment/paused":                  paused,
		"deployment/gone":                    "restart deployment/gone",
		"daemonset/agent":                    "restart daemonset/agent",
		"daemonset/driver":                   onDelete,
		"statefulset/db":                     "restart statefulset/db",
		"statefulset/paused":                 "restart statefulset/paused",
		"statefulset/by-hand":                onDelete,
		"statefulset/canary":                 partition,
		"replicaset/paused":                  "delete its pods one after the other: it creates new ones",
		"statefulset.apps.kruise.io/by-hand": "restart it as its own controller wants it, or delete its pods one after the other",
	}
	got, unread := restarts(t)
	if diff := cmp.Diff(want, got); diff != "" || len(unread) > 0 {
		t.Errorf("restarts (-want +got):\n%s\n%v", diff, unread)
	}

	want["deployment/paused"], want["statefulset/by-hand"], want["statefulset/canary"] =
		"restart deployment/paused", "restart statefulset/by-hand", "restart statefulset/canary"
	got, unread = restarts(t, "deployments", "statefulsets")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restarts of what cannot be read (-want +got):\n%s", diff)
	}
	if len(unread) != 2 || unread[0].Error() != "needs the right to list deployments" || unread[1].Error() != "needs the right to list statefulsets" {
		t.Errorf("not read: %v", unread)
	}
}
