// Package faults_test shows what becomes of reviews and pods while something around Shorthop fails. Each fault is a test;
// docs/failure-modes.md lists them all, with those of other packages, and what was observed.
//
//	controlplane_test.go  the API server and etcd: away, hanging, restarted; namespaces that the cache does not know as they are
//	files_test.go         certificates that have expired or are broken; a log that cannot be written
//	clients_test.go       slow, idle and many connections, large and deep bodies, more reviews than can be answered
//	strangers_test.go     reviews, bodies and headers that no API server sends, many at once
//	connections_test.go   connections that speak HTTP/2 as they like, and handshakes that are too long
//	namespaces_test.go    namespaces that are none, or do not exist, and what the API server is then asked for
//	replicas_test.go      a replica that dies under load, two replicas with different policies
//	vanish_test.go        a replica whose node vanishes without a word (with -vanish, as root)
//
// The server is the real program in a process of its own.
package faults_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/rotation"
)

var (
	overload = flag.Duration("overload", 2*time.Second, "how long to ask for a review every 50 us")
	hostile  = flag.Int("hostile", 1000, "how many hostile reviews to send at once, of each kind")
)

// What TestMain sets up for all tests. Those that harm the control plane run one after the other, before the others.
var (
	shared  *cluster.Cluster
	program string
)

func TestMain(m *testing.M) {
	if clustertest.LeftOut() {
		return
	}
	if err := enterNamespace(); err != nil {
		fmt.Fprintln(os.Stderr, "fault tests: entering a network namespace:", err)
		os.Exit(1)
	}
	cluster.Main("fault tests", m, func(ctx context.Context, dir string, after func(func() error)) (err error) {
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
