// Package integration_test runs Shorthop against a real kube-apiserver: what the API server makes of our answers, what
// it sends us, and what it keeps from us.
//
// One control plane serves all tests. Each test has a scope (scope_test.go): namespaces of its own, and webhook
// configurations that select no others, so the order of the tests does not matter. A webhook is either a handler of this
// process (serve_test.go) or the real program (program_test.go).
//
//	samples_test.go    the sample pods through the real program; explain says the same
//	failures_test.go   what the API server does with answers that are wrong, and what we do when something is
//	filter_test.go     what the webhook configuration keeps from us is nothing that we would change
//	optout_test.go     every opt-out and kill switch, through the API server, and a new policy that has one
//	clientca_test.go   only API servers that show a certificate may call
//	gates_test.go      hosts and caches that do not work are not injected, until they do
//	discovery_test.go  the cluster DNS is found
//	audit_test.go      what operators find in the audit log, and developers on their terminal
package integration_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// What TestMain sets up for all tests.
var (
	shared *cluster.Cluster
	// second is what the API server serves under its second name.
	second *secondIdentity
	// auditLog is the API server's audit log.
	auditLog string
	// programs is where the programs are built.
	programs string
)

func TestMain(m *testing.M) {
	if clustertest.LeftOut() {
		return
	}
	cluster.Main("integration tests", m, func(ctx context.Context, dir string, after func(func() error)) (err error) {
		auditLog, programs = filepath.Join(dir, "audit.log"), dir
		if second, err = newSecondIdentity(dir); err != nil {
			return err
		}
		shared, err = cluster.Start(ctx, cluster.Options{
			AuditLog: auditLog,
			APIServerArgs: map[string][]string{
				"audit-log-maxsize": {"4096"}, // MB; without it the file would be replaced at 100
				"tls-sni-cert-key":  {second.flag()},
			},
		})
		if err != nil {
			return err
		}
		after(shared.Stop)
		return copyExamplePolicy(ctx, dir)
	})
}
