// Package faults_test shows what becomes of reviews and pods while something around Shorthop fails. Each fault is a test;
// docs/failure-modes.md lists them all, with those of other packages, and what was observed.
//
//	controlplane_test.go  the API server and etcd: away, hanging, restarted; namespaces that the cache does not know as they are
//	files_test.go         certificates that have expired or are broken; a log that cannot be written
//	clients_test.go       slow, idle and many connections, large and deep bodies, more reviews than can be answered
//	replicas_test.go      a replica that dies under load, two replicas with different policies
//
// The server is the real program in a process of its own.
package faults_test

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/rotation"
)

var overload = flag.Duration("overload", 2*time.Second, "how long to ask for a review every 50 us")

// What TestMain sets up for all tests. Those that harm the control plane run one after the other, before the others.
var (
	shared  *cluster.Cluster
	program string
	// processes are the webhooks that run, so that none is left behind when the tests are interrupted.
	processes sync.Map // of *cluster.Webhook to nothing
)

func TestMain(m *testing.M) {
	flag.Parse()
	cluster.Main("fault tests", m, func(ctx context.Context, dir string, after func(func() error)) (err error) {
		if program, err = rotation.Build(ctx, dir); err != nil {
			return err
		}
		if shared, err = cluster.Start(ctx, cluster.Options{}); err != nil {
			return err
		}
		after(shared.Stop)
		after(func() error {
			processes.Range(func(process, _ any) bool {
				process.(*cluster.Webhook).Kill()
				return true
			})
			return nil
		})
		return nil
	})
}

// hang guards against tests that never end.
const hang = 2 * time.Minute

// eventually waits until holds is true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %s", hang, what)
		}
	}
}
