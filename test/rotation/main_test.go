package rotation_test

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/rotation"
)

var (
	duration = flag.Duration("duration", 0, "how long to create pods in each test; it ends with a whole cycle, of which there is at least one")
	rate     = flag.Int("rate", 50, "pods per second")
)

// What TestMain sets up for all tests, which run one after the other: each has
// the machine for its load.
var (
	shared  *cluster.Cluster
	program string
	// processes are the webhooks that run, so that none is left behind when the
	// tests are interrupted.
	processes sync.Map // of *cluster.Webhook to nothing
)

func TestMain(m *testing.M) {
	flag.Parse()
	cluster.Main("rotation tests", m, func(ctx context.Context, dir string, after func(func() error)) (err error) {
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
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %s", hang, what)
		}
	}
}
