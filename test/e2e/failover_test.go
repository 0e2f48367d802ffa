//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/test/e2e/node"
	"github.com/shorthop/shorthop/test/e2e/results"
)

// TestNodeLocalCacheFails looks up names in running pods while the node-local cache is gone (its process is killed, so
// the kernel rejects queries) and while it hangs (queries are lost). With a fallback server, lookups succeed all the
// same; how long they take is the resolver's business, and printed. Without one, they fail until the cache is back.
func TestNodeLocalCacheFails(t *testing.T) {
	// How Shorthop sets up the pods, by the namespace whose rule says so.
	settings := []struct {
		namespace, name string
		fallback        bool
	}{
		{"node-local", "fallback", true},
		{"node-local-hasty", "fallback, timeout:1 attempts:2", true},
		{"node-local-only", "no fallback", false},
	}
	type probe struct {
		setting, resolver string
		fallback          bool
		pod               *corev1.Pod
	}
	var probes []probe
	for _, setting := range settings {
		for _, resolver := range resolvers {
			probes = append(probes, probe{setting.name, resolver, setting.fallback, startPod(t, suite.pod(setting.namespace, resolver))})
		}
	}
	t.Cleanup(func() {
		if err := suite.node.RestartNodeLocal(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})

	var table results.Failover
	for i, state := range []struct {
		name   string
		change func() error
		dead   bool
	}{
		{"works", func() error { return nil }, false},
		{"is killed", func() error { suite.node.KillNodeLocal(); return nil }, true},
		{"is back", func() error { return suite.node.StartNodeLocal(t.Context()) }, false},
		{"hangs", suite.node.FreezeNodeLocal, true},
	} {
		if err := state.change(); err != nil {
			t.Fatal(err)
		}
		rows := make([]results.FailoverRow, len(probes))
		t.Run(state.name, func(t *testing.T) { // side by side, as some wait long
			for j, p := range probes {
				t.Run(p.setting+" "+p.resolver, func(t *testing.T) {
					t.Parallel()
					// A name of its own each time, so that nothing has kept an answer.
					name := fmt.Sprintf("failover-%d-%s.%s", i, p.pod.Name, node.ExternalZone)
					got := runIn[answer](t, p.pod, "lookup", name)[0]
					rows[j] = results.FailoverRow{
						Cache: state.name, Setting: p.setting, Resolver: p.resolver,
						Resolved: got.Error == "", Error: got.Error, Milliseconds: got.Milliseconds,
					}
					if want := p.fallback || !state.dead; rows[j].Resolved != want {
						t.Errorf("the name resolves: %t, want %t: %+v", rows[j].Resolved, want, got)
					}
				})
			}
		})
		table.Rows = append(table.Rows, rows...)
	}
	t.Logf("\n%s", table.Markdown())
	if *writeResults && !t.Failed() {
		if err := table.Write(repository + "/docs/results"); err != nil {
			t.Fatal(err)
		}
	}
}
