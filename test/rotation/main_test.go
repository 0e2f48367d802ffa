package rotation_test

import (
	"context"
	"flag"
	"testing"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
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
)

func TestMain(m *testing.M) {
	if clustertest.LeftOut() {
		return
	}
	cluster.Main("rotation tests", m, func(ctx context.Context, dir string, after func(func() error)) (err error) {
		if program, err = rotation.Build(ctx, dir); err != nil {
			return err
		}
		if shared, err = cluster.Start(ctx, cluster.Options{}); err != nil {
			return err
		}
		after(shared.Stop)
		return nil
	})
}

// hang guards against tests that never end.
const hang = clustertest.Hang
