// Package generated_test creates generated pods, with every field that the API has, and checks the promises about them:
// a pod that is accepted without Shorthop is accepted with it, no value of the user's changes, a second review changes
// nothing, and Undo gives the pod back.
//
//	apiserver_test.go  each pod twice at a real kube-apiserver, without us and with us, of any version
//	reviews_test.go    each pod as reviews over HTTP, with fields at every level that no version knows
//	compare_test.go    what may differ between the two pods; it knows the promise and the record, not our code
//
// The flags -pods and -seed say how much and what is drawn. A failure names the pod's number, and -first begins there.
package generated_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
)

var (
	podCount = flag.Int("pods", 300, "how many pods each test draws")
	podFirst = flag.Int("first", 0, "number of the first pod that is drawn, to replay one without those before it")
	podSeed  = flag.Uint64("seed", 0, "what the pods are drawn from; 0 draws a seed, which every failure names")
)

// shared is the control plane of all tests; serverVersion is its minor version.
var (
	shared        *cluster.Cluster
	serverVersion int
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *podSeed == 0 {
		*podSeed = rand.Uint64()
	}
	cluster.Main("tests with generated pods", m, func(ctx context.Context, _ string, after func(func() error)) (err error) {
		dir := os.Getenv("KUBEBUILDER_ASSETS")
		if dir == "" {
			dir = filepath.Join("..", "..", ".cache", "control-plane", cluster.DefaultVersion)
		}
		if serverVersion, err = minorVersion(ctx, dir); err != nil {
			return err
		}
		if shared, err = cluster.Start(ctx, cluster.Options{BinaryAssetsDirectory: dir, APIServerArgs: gateFlags(serverVersion)}); err != nil {
			return err
		}
		after(shared.Stop)
		return prepare(ctx)
	})
}

// source is what a pod is drawn from.
func source(pod int) *rand.Rand { return rand.New(rand.NewPCG(*podSeed, uint64(pod))) }

func logReplay(t *testing.T) {
	t.Helper()
	t.Logf("replay with: go test ./test/generated -run %s -seed=%d -pods=%d; one pod with -first=NUMBER -pods=1", t.Name(), *podSeed, *podCount)
}

// progress says on standard error how far a long run is, until the test ends.
func progress(t *testing.T, done *atomic.Int64, tally *tally) {
	t.Helper()
	const long = 5000
	if *podCount < long {
		return
	}
	started := time.Now()
	ctx := t.Context()
	go func() {
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				n := done.Load()
				fmt.Fprintf(os.Stderr, "%s: %d of %d pods, %.0f a second; %d patched, %d wrong\n",
					t.Name(), n, *podCount, float64(n)/time.Since(started).Seconds(), tally.total(patched), tally.total(wrong...))
			}
		}
	}()
}
