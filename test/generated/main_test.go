// Package generated_test creates generated pods, with every field that the API has, and checks the promises about them:
// a pod that is accepted without Shorthop is accepted with it, no value of the user's changes, a second review changes
// nothing, and Undo gives the pod back.
//
//	apiserver_test.go  each pod twice at a real kube-apiserver, without us and with us, of any version
//	thirdparty_test.go the same beside another webhook that edits the pod between two reviews of ours
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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

var (
	podCount = flag.Int("pods", 500, "how many pods each test draws")
	podFirst = flag.Int("first", 0, "number of the first pod that is drawn, to replay one without those before it")
	podSeed  = flag.Uint64("seed", 1, "what the pods are drawn from; 0 draws a seed, which every failure names")
)

// shared is the control plane of all tests; serverVersion is its minor version.
var (
	shared        *cluster.Cluster
	serverVersion int
)

func TestMain(m *testing.M) {
	if clustertest.LeftOut() {
		return
	}
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

// eachPod calls do with the number of every pod, for several at a time, and says on standard error how far a long run is.
func eachPod(t *testing.T, count int, tally *tally, do func(number int)) {
	t.Helper()
	done := new(atomic.Int64)
	if ctx, long := t.Context(), 5000; count >= long {
		go tell(ctx, t.Name(), count, done, tally)
	}
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for number := range numbers {
				do(number)
				done.Add(1)
			}
		})
	}
	for i := *podFirst; i < *podFirst+count && t.Context().Err() == nil; i++ {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
	tally.checkMeaning()
}

func tell(ctx context.Context, test string, count int, done *atomic.Int64, tally *tally) {
	started, tick := time.Now(), time.NewTicker(15*time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n := done.Load()
			fmt.Fprintf(os.Stderr, "%s: %d of %d pods, %.0f a second; %d patched, %d wrong\n",
				test, n, count, float64(n)/time.Since(started).Seconds(), tally.total(patched), tally.total(wrong...))
		}
	}
}
