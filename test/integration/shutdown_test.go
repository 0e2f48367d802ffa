package integration_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
)

// TestNoPodIsLostWhenTheServerIsAskedToStop creates pods without a pause, sends SIGTERM, and goes on beyond the end of the
// process. Every pod is created; those of the shutdown delay are mutated as if nothing were.
func TestNoPodIsLostWhenTheServerIsAskedToStop(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("shutdown", nil)
	document := policyWithNdots(t, 3)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	webhook := s.startWebhook(file, "--shutdown-delay", "2s")
	s.registerAndWait(configuration(s.name, parse(t, document), webhook.endpoint), namespace, isPatched)

	// What the creators know of the server when they begin to create a pod.
	const (
		serving  = iota
		draining // SIGTERM was received, and the delay is not over
		stopping // the delay may be over
		gone
	)
	var phase atomic.Int32
	var mu sync.Mutex
	created, unpatched := map[int32]int{}, map[int32]int{}
	ctx, stopCreating := context.WithCancel(t.Context())
	defer stopCreating()
	var creators sync.WaitGroup
	for c := range 3 {
		creators.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				began := phase.Load()
				pod, err := shared.Client.CoreV1().Pods(namespace).Create(
					t.Context(), plainPod(fmt.Sprintf("pod-%d-%d", c, n)), metav1.CreateOptions{})
				if err != nil {
					t.Errorf("a pod is not created: %v", err)
					return
				}
				if ended := phase.Load(); began != ended {
					continue // it belongs to no phase, but it was created
				}
				mu.Lock()
				created[began]++
				if !isPatched(pod) {
					unpatched[began]++
				}
				mu.Unlock()
			}
		})
	}
	count := func(phase int32) int {
		mu.Lock()
		defer mu.Unlock()
		return created[phase]
	}
	enough := func(phase int32) {
		t.Helper()
		err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) { return count(phase) >= 20, nil })
		if err != nil {
			t.Fatalf("phase %d: %v", phase, err)
		}
	}
	enough(serving)

	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := webhook.Stop(t.Context())
		ended <- end{code, err}
	}()
	if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) { return !webhook.isReady(t), nil }); err != nil {
		t.Fatalf("the server is still ready: %v", err)
	}
	phase.Store(draining)
	enough(draining)
	phase.Store(stopping) // the delay may be over at any time now

	if e := <-ended; e.err != nil || e.code != 0 {
		t.Errorf("the server ended with exit code %d and error %v", e.code, e.err)
	}
	phase.Store(gone)
	enough(gone)
	stopCreating()
	creators.Wait()

	for name, phase := range map[string]int32{"before SIGTERM": serving, "during the delay": draining} {
		if unpatched[phase] > 0 {
			t.Errorf("%s: %d of %d pods are not patched", name, unpatched[phase], created[phase])
		}
	}
	if unpatched[gone] != created[gone] {
		t.Errorf("without a server %d of %d pods are patched", created[gone]-unpatched[gone], created[gone])
	}
	t.Logf("%d pods before SIGTERM, %d during the delay, %d until the end, of which %d were not patched, %d after it",
		created[serving], created[draining], created[stopping], unpatched[stopping], created[gone])
}
