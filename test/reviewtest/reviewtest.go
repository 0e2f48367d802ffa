// Package reviewtest prepares what tests of reviews need, policies, advice and gates, and applies a patch as the API server
// does.
package reviewtest

import (
	"net"
	"slices"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Parse reads a policy.
func Parse[T string | []byte](tb testing.TB, document T) *policy.InjectionPolicy {
	tb.Helper()
	parsed, err := policy.Parse([]byte(document))
	if err != nil {
		tb.Fatalf("%v\n%s", err, document)
	}
	return parsed
}

// Compile reads a policy and compiles it for a server in a namespace.
func Compile[T string | []byte](tb testing.TB, document T, ownNamespace string) *policy.Compiled {
	tb.Helper()
	compiled, err := policy.Compile(Parse(tb, document), ownNamespace)
	if err != nil {
		tb.Fatal(err)
	}
	return compiled
}

// Advice reads a document of advice and compiles it.
func Advice[T string | []byte](tb testing.TB, document T) *policy.Advice {
	tb.Helper()
	parsed, err := policy.ParseAdvice([]byte(document))
	if err != nil {
		tb.Fatalf("%v\n%s", err, document)
	}
	compiled, err := policy.CompileAdvice(parsed)
	if err != nil {
		tb.Fatal(err)
	}
	return compiled
}

// Gates returns all gates of a policy. Those of hosts and caches are open, except those that closed names, as host:port or as
// namespace/name. upstream is the reason of every upstream's gate, empty for an open one.
func Gates(compiled *policy.Compiled, closed []string, upstream policy.Reason) *policy.Gates {
	gates := &policy.Gates{
		ServiceHosts: map[policy.Endpoint]bool{}, Caches: map[policy.Cache]bool{}, Upstreams: map[policy.Upstream]policy.Reason{},
	}
	for _, probe := range compiled.UpstreamProbes() {
		gates.Upstreams[probe.Upstream] = upstream
	}
	for _, probe := range compiled.HostProbes() {
		gates.ServiceHosts[probe.Endpoint] = !slices.Contains(closed, net.JoinHostPort(probe.Host, probe.Port))
	}
	for _, cache := range compiled.Caches() {
		gates.Caches[cache] = !slices.Contains(closed, cache.DaemonSet)
	}
	return gates
}

// Patch applies a JSON Patch with the library of the API server.
func Patch(tb testing.TB, object, patch []byte) []byte {
	tb.Helper()
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		tb.Fatalf("patch cannot be decoded: %v\n%s", err, patch)
	}
	patched, err := decoded.Apply(object)
	if err != nil {
		tb.Fatalf("patch does not apply: %v\npatch: %s\nobject: %.4000s", err, patch, object)
	}
	return patched
}
