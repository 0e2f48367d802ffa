package discovery_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/objectserver"
	"github.com/shorthop/shorthop/test/testfile"
)

// Flavours of clusters: testdata/flavours/<flavour>.txtar. The text before the first section says what is special about it.
// The sections:
//
//	resolv.conf    of our pod
//	objects.yaml   Services, their EndpointSlices, DaemonSets and redirects, as far as they matter
//	found.yaml     expected: what is discovered, under a policy that has a gate for every cache
//
// What else can be found out from the same objects may have further sections. `go test ./internal/discovery -update` rewrites
// what is expected.
func TestFlavours(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/flavours", func(t *testing.T, c *testfile.Case) {
		facts := discovery.Facts{ResolvConf: string(c.Section("resolv.conf"))}
		got := jsontest.YAML(t, findIn(t, facts, objectserver.Parse(t, c.Section("objects.yaml"))))
		c.Expect(t, "found.yaml", got)
	})
}

// found is what the objects of a cluster tell.
type found struct {
	Discovered discovery.Result  `json:"discovered"`
	Caches     []nodecache.Cache `json:"caches"`
	// Nobodys are addresses of caches that no node has and nothing redirects.
	Nobodys []string `json:"nobodys,omitzero"`
}

func findIn(t *testing.T, facts discovery.Facts, objects []unstructured.Unstructured) found {
	t.Helper()
	services, endpoints := map[string][]discovery.Service{}, map[string]map[string]int{}
	var redirects []nodecache.Redirect
	result := found{Caches: []nodecache.Cache{}}
	for i := range objects {
		object := &objects[i]
		namespace := object.GetNamespace()
		switch object.GetKind() {
		case "Service":
			services[namespace] = append(services[namespace], discovery.ServiceOf(objectserver.Typed(t, object, &corev1.Service{})))
		case "EndpointSlice":
			if endpoints[namespace] == nil {
				endpoints[namespace] = map[string]int{}
			}
			slice := objectserver.Typed(t, object, &discoveryv1.EndpointSlice{})
			endpoints[namespace][slice.Labels[discoveryv1.LabelServiceName]] += len(slice.Endpoints)
		case "DaemonSet":
			if cache, ok := nodecache.Of(objectserver.Typed(t, object, &appsv1.DaemonSet{})); ok {
				result.Caches = append(result.Caches, cache)
			}
		case "CiliumLocalRedirectPolicy":
			if redirect, ok := nodecache.RedirectOf(object); ok {
				redirects = append(redirects, redirect)
			}
		default:
			t.Fatalf("nothing reads a %s", object.GetKind())
		}
	}
	facts.Caches = result.Caches
	for _, namespace := range discovery.Namespaces() {
		discovery.MarkIdle(services[namespace], endpoints[namespace])
		facts.Services = append(facts.Services, services[namespace]...)
	}
	result.Discovered = discovery.Discover(facts)
	for i := range result.Caches {
		result.Nobodys = append(result.Nobodys, result.Caches[i].Nobodys(result.Caches[i].LocalIPs, redirects)...)
	}
	return result
}

// A unique local address of the same cluster is the cluster DNS or a cache, by what else is known.
func TestUniqueLocalAddresses(t *testing.T) {
	t.Parallel()
	const conf = "search a.svc.cluster.local svc.cluster.local cluster.local\nnameserver fd00::10\n"
	service := func(address string) []discovery.Service {
		return []discovery.Service{{Namespace: "kube-system", Name: "kube-dns", ClusterIPs: []string{address}, Ports: []int{53}}}
	}
	for name, test := range map[string]struct {
		facts discovery.Facts
		want  string
	}{
		"no Service can be read":                     {discovery.Facts{}, "fd00::10"},
		"it is the Service's":                        {discovery.Facts{Services: service("fd00::10")}, "fd00::10"},
		"in another form":                            {discovery.Facts{Services: service("fd00:0::10")}, "fd00::10"},
		"the Service has another":                    {discovery.Facts{Services: service("10.0.0.10")}, "10.0.0.10"},
		"the policy says it is":                      {discovery.Facts{CacheServers: []string{"fd00:0::10"}}, ""},
		"a cache says it is":                         {discovery.Facts{Services: []discovery.Service{{Namespace: "kube-system", Name: "other"}}, Caches: []nodecache.Cache{{LocalIPs: []string{"fd00::10"}}}}, ""},
		"a cache has it, and no Service can be read": {discovery.Facts{Caches: []nodecache.Cache{{LocalIPs: []string{"fd00::10"}}}}, "fd00::10"},
		"a cache has the Service's as":               {discovery.Facts{Services: service("fd00::10"), Caches: []nodecache.Cache{{LocalIPs: []string{"fd00::10"}}}}, "fd00::10"},
	} {
		test.facts.ResolvConf = conf
		got := discovery.Discover(test.facts)
		if len(got.DNSServers) > 0 && got.DNSServers[0] != test.want || len(got.DNSServers) == 0 && test.want != "" {
			t.Errorf("%s: got %v, want %q", name, got.DNSServers, test.want)
		}
		if len(got.Contradictions) > 0 {
			t.Errorf("%s: %v", name, got.Contradictions)
		}
	}
}
