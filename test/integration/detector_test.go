package integration_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/detector"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// A server that may not list pods says so and is otherwise as it should be. TestAuditOfManyPods has one that may.
func TestDetectorWithoutPermission(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("detector", nil)
	user := s.name + "-detector"
	grant(t, shared.Client, user,
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces", "services"}, Verbs: []string{"get", "list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}},
	)
	policyFile := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, policyFile, fmt.Sprintf(policyWithSpec, "{dns: {}}"))
	webhook := s.startWebhook(policyFile, "--kubeconfig", kubeconfigAs(t, shared, user),
		"--own-namespace", namespace, "--detect-interval", "100ms")
	err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		return webhook.metric(t, `shorthop_errors_total{stage="detector"}`) >= 2, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !webhook.isReady(t) {
		t.Error("the server is not ready")
	}
}

// The Lease may be missing from the beginning, as where Argo CD leaves it out, and it may be deleted: the server makes it and
// scans on.
func TestDetectorWithoutItsLease(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("detector", nil)
	policyFile := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, policyFile, fmt.Sprintf(policyWithSpec, "{dns: {}}"))
	webhook := s.startWebhook(policyFile, "--kubeconfig", shared.Kubeconfig(),
		"--own-namespace", namespace, "--detect-interval", "100ms", "--detect-lease", "gone")
	leases := shared.Client.CoordinationV1().Leases(namespace)
	const lastScan = "shorthop_detector_last_success_timestamp_seconds"
	var gone types.UID
	for _, lacking := range []string{"from the beginning", "deleted"} {
		since := float64(time.Now().UnixMilli()) / 1000
		clustertest.Eventually(t, "a Lease that was missing is there, and pods are looked at: "+lacking, func() bool {
			lease, err := leases.Get(t.Context(), "gone", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			_, body := get(t, webhook.MetricsURL)
			if lease.UID == gone || !strings.Contains(body, "\n"+lastScan+" ") || webhook.metric(t, lastScan) <= since {
				return false
			}
			gone = lease.UID
			return true
		})
		if err := leases.Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if !webhook.isReady(t) {
		t.Error("the server is not ready")
	}
}

// scans records what a detector reports.
type scans struct {
	found     chan map[audit.Class]int
	failed    atomic.Int32
	elsewhere atomic.Int32
}

func (s *scans) Scanned(counts *audit.Counts, _ time.Time) { s.found <- counts.Classes }
func (s *scans) ScanFailed()                               { s.failed.Add(1) }
func (s *scans) ScansElsewhere()                           { s.elsewhere.Add(1) }

// A bug in what a scan needs is counted and nothing more; it is not what brings the server down. The next scan goes on.
func TestDetectorOutlivesAPanic(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("detector", nil)
	s.create(namespace, plainPod("web"))
	compiled := compile(t, fmt.Sprintf(policyWithSpec, "{dns: {}}"))
	var ready, asked atomic.Int32
	recorder := &scans{found: make(chan map[audit.Class]int, 100)}
	d, err := detector.New(detector.Options{
		Config: shared.Config, Namespace: namespace, Lease: "detector", Interval: 10 * time.Millisecond,
		Ready:      func() bool { return ready.Add(1) > 1 },
		Policy:     func() *policy.Compiled { return compiled },
		Gates:      func() *policy.Gates { return nil },
		Discovered: func() *policy.Discovered { return nil },
		Advice:     func() *policy.Advice { return nil },
		Namespaces: func(context.Context, string) (policy.Namespace, bool) {
			if asked.Add(1) == 1 {
				panic("a bug")
			}
			return policy.Namespace{}, true
		},
		Recorder: recorder,
		Log:      logr.Discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Start(ctx) }()
	select {
	case classes := <-recorder.found:
		if classes[audit.Missed] == 0 {
			t.Errorf("no pod is missed, though one was created without a webhook: %v", classes)
		}
	case err := <-ended:
		t.Fatalf("it has ended: %v", err)
	}
	if n := recorder.failed.Load(); n != 1 {
		t.Errorf("%d scans failed, want 1", n)
	}
	if ready.Load() < 2 {
		t.Error("it did not wait until everything was read")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if recorder.elsewhere.Load() != 1 {
		t.Error("it does not say that it scans no more")
	}
}
