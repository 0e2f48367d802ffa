package mutate_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// What a patch adds is bounded, and pods that it could take over the API
// server's limits are left alone (object_size): the largest pod of its kind that
// is patched has, with the patch, no more than 1 MiB.
func TestAPatchGrowsAPodWithinItsBound(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	host := strings.Repeat(strings.Repeat("h", 61)+".", 4) + "local"
	search := strings.Repeat(strings.Repeat("s", 60)+".", 3) + "example.com"
	compiled := compile(t, fmt.Appendf(nil, `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
spec:
  cluster: {domain: %q, dnsServers: [10.0.0.10]}
  serviceHost: {host: %q, port: 65535}
  dns: {mode: NodeLocal, ndots: 15, extraSearches: [%q, "a.%s", "b.%s"], fallthrough: {ndots: 14}, options: [{name: use-vc}, {name: trust-ad}]}
  resolvers: [{images: [a], resolver: glibc}]
`, search[:183]+"x", host, search, search[:180]+"x", search[:180]+"x"), "")
	for _, n := range []int{1, 10, 100, 800} {
		var containers strings.Builder
		for i := range n {
			fmt.Fprintf(&containers, `{"name":"%s%d","image":"a"},`, strings.Repeat("n", 60), 100+i)
		}
		pod := fmt.Appendf(nil, `{"metadata":{"name":"web"},"spec":{"containers":[%s]}}`, strings.TrimSuffix(containers.String(), ","))
		review := func(size int) mutate.Result {
			return mutate.Review(compiled, policy.Request{
				Operation: policy.OperationCreatePod, Namespace: strings.Repeat("x", 63), NamespaceKnown: true,
				Pod: decode(t, pod), ObjectSize: size,
			})
		}
		largest := sort.Search(limit, func(size int) bool { return review(size).Decision.DNS.Reason == policy.ReasonObjectSize }) - 1
		result := review(largest)
		if !result.Decision.Fallthrough.Injects() || !result.Decision.ServiceHost.Injects() || result.Decision.DNS.Mode != policy.DNSModeNodeLocal {
			t.Fatalf("%d containers: %+v", n, result.Decision)
		}
		growth := len(apply(t, pod, patchOf(t, result))) - len(pod)
		if bound := limit - largest; growth > bound {
			t.Errorf("%d containers grow by %d bytes, the bound is %d", n, growth, bound)
		} else {
			t.Logf("%d containers grow by %d of %d bytes", n, growth, bound)
		}
	}
}
