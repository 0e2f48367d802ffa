//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
	"github.com/shorthop/shorthop/test/e2e/results"
)

// resolvers are the probes that look up names.
var resolvers = []string{images.Glibc, images.Musl, images.Go}

// settings are the columns of the table: what Shorthop does to a pod, by the namespace whose rule says so.
var settings = []struct{ namespace, name string }{
	{"plain", "default"},
	{"options-4", "Options ndots:4"},
	{"options-2", "Options ndots:2"},
	{"options-1", "Options ndots:1"},
	{"options-tcp", "Options ndots:2 use-vc"},
	{"node-local", "NodeLocal ndots:2, fallback"},
	{"node-local-only", "NodeLocal ndots:2"},
	// glibc by RES_OPTIONS, Go by dnsConfig, musl not at all.
	{"fallthrough", "Fall-through"},
}

// lookups are the rows of the table: a kind of name, and a name whose search shares no step with the others', so that none
// finds in the cache what another has left there. The Services' names are in services.
var lookups = []struct{ kind, name string }{
	{"external", "api.example.com"},
	{"external, one dot", "example.com"},
	{"external, three dots", "www.eu.example.com"},
	{"service", "web"},
	{"service.namespace", "shop.default"},
	{"service.namespace.svc", "cart.default.svc"},
	{"service, full name", "stock.default.svc.cluster.local"},
}

// services exist in the namespace default; the first one in all namespaces.
var services = []string{"web", "shop", "cart", "stock"}

// TestQueriesPerLookup counts what one lookup of A and AAAA asks, with three search domains, by resolver and setting.
func TestQueriesPerLookup(t *testing.T) {
	// Three search domains: those of the cluster, and none of the node.
	hostResolvConf(t, "nameserver 10.9.9.9\n")
	for namespace := range namespaces {
		createService(t, namespace, services[0])
	}
	for _, service := range services[1:] {
		createService(t, "default", service)
	}

	// Pods that ask the cluster DNS are told apart by their address, so they can be measured at the same time. What the
	// node-local cache asks cannot be told apart, and it must be empty at first: those pods are measured one by one.
	cells := make([][]results.Cell, len(settings)*len(resolvers))
	for _, nodeLocal := range []bool{false, true} {
		t.Run(fmt.Sprintf("node-local %t", nodeLocal), func(t *testing.T) {
			for i := range cells {
				setting, resolver := settings[i/len(resolvers)], resolvers[i%len(resolvers)]
				if isNodeLocal(setting.namespace) != nodeLocal {
					continue
				}
				t.Run(setting.name+" "+resolver, func(t *testing.T) {
					if !nodeLocal {
						t.Parallel()
					}
					cells[i] = measurePod(t, setting.namespace, resolver)
				})
			}
		})
	}
	var table results.Queries
	for i := range cells {
		setting, resolver := settings[i/len(resolvers)], resolvers[i%len(resolvers)]
		if resolver == resolvers[0] {
			table.Settings = append(table.Settings, setting.name)
		}
		for _, cell := range cells[i] {
			cell.Setting, cell.Resolver = setting.name, resolver
			table.Cells = append(table.Cells, cell)
		}
	}
	measureOutside(t, &table)
	if t.Failed() {
		return
	}
	t.Logf("\n%s", table.Markdown())

	// The headline, and what a fallback costs musl.
	external := lookups[0].name
	for _, resolver := range resolvers {
		fallback, fallsThrough := 2, 2
		if resolver == images.Musl {
			fallback = 4     // it asks both servers
			fallsThrough = 8 // it stops
		}
		for setting, want := range map[string]int{
			"default": 8, "Options ndots:2": 2, "Options ndots:1": 2, "NodeLocal ndots:2": 2, "NodeLocal ndots:2, fallback": fallback,
			"Fall-through": fallsThrough,
		} {
			got := table.Cell(external, resolver, setting)
			if got.Queries != want || !got.Resolved {
				t.Errorf("%s looks up %s under %s: %+v, want %d queries and an answer", resolver, external, setting, got, want)
			}
		}
	}
	// Why the default is ndots:4, and fall-through for those that do not stop.
	for _, resolver := range resolvers {
		for _, lookup := range lookups {
			for _, setting := range append(settings[:2:2], settings[len(settings)-1]) {
				if got := table.Cell(lookup.name, resolver, setting.name); !got.Resolved {
					t.Errorf("%s does not resolve %s under %s", resolver, lookup.name, setting.name)
				}
			}
		}
	}
	if *writeResults {
		if err := table.Write(repository + "/docs/results"); err != nil {
			t.Fatal(err)
		}
	}
}

func isNodeLocal(namespace string) bool { return strings.HasPrefix(namespace, "node-local") }

// measurePod counts the queries of all lookups in a new pod.
func measurePod(t *testing.T, namespace, resolver string) []results.Cell {
	t.Helper()
	pod := suite.pod(namespace, resolver)
	if strings.HasPrefix(namespace, "fallthrough") {
		pod = suite.known(namespace, resolver)
	}
	pod = startPod(t, pod)
	restart := func() {
		if !isNodeLocal(namespace) {
			return
		}
		if err := suite.node.RestartNodeLocal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	var cells []results.Cell
	for _, lookup := range lookups {
		cell := measure(t, pod, "probe", lookup.name, restart)
		cell.Kind, cell.Name = lookup.kind, lookup.name
		cells = append(cells, cell)
	}
	return cells
}

// shortestTimeout is below that of every resolver under every setting of the test, in milliseconds: musl asks again after
// half a second where the options are timeout:1 and attempts:2.
const shortestTimeout = 450

// measure is measureIn, some times over where a resolver may have asked again because a busy machine kept it waiting; again is
// done before.
func measure(t *testing.T, pod *corev1.Pod, container, name string, again func()) results.Cell {
	t.Helper()
	for try := 1; ; try++ {
		cell, milliseconds := measureIn(t, pod, container, name)
		if milliseconds < shortestTimeout || try == 5 {
			return cell
		}
		t.Logf("a lookup of %s took %.0f ms, and is measured anew", name, milliseconds)
		again()
	}
}

// measureIn looks up a name twice and counts the queries. It also says how long the slower lookup took.
func measureIn(t *testing.T, pod *corev1.Pod, container, name string) (cell results.Cell, milliseconds float64) {
	t.Helper()
	for _, repeated := range []bool{false, true} {
		atCluster, atNodeLocal, tracked := queryLog(t, node.LogCluster), queryLog(t, node.LogNodeLocal), queryLog(t, node.LogFlows)
		answers := runInContainer[answer](t, pod, container, "lookup", name)
		if err := node.Settle(atCluster, atNodeLocal, tracked); err != nil {
			t.Fatal(err)
		}
		milliseconds = max(milliseconds, answers[0].Milliseconds)
		cluster := queries(t, atCluster)
		direct, reached := from(cluster, pod.Status.PodIP), from(cluster, pod.Status.PodIP)
		if isNodeLocal(pod.Namespace) {
			// The cache asks from an address of the node. It asks for others, too: the gates' probes go through it.
			reached += from(slices.DeleteFunc(cluster, func(q node.Query) bool {
				return !strings.HasPrefix(q.Name, strings.TrimSuffix(name, ".")+".")
			}), node.ClusterDNS)
		}
		if repeated {
			cell.RepeatedReached = reached
			continue
		}
		cell.Flows = flowsOf(t, tracked, pod)
		cell.Queries = direct + from(queries(t, atNodeLocal), pod.Status.PodIP)
		cell.Reached = reached
		cell.Resolved = answers[0].Error == "" && len(answers[0].Addresses) > 0
	}
	return cell, milliseconds
}

// flowsOf counts the new conntrack entries of a pod for DNS.
func flowsOf(t *testing.T, log *node.QueryLog, pod *corev1.Pod) int {
	t.Helper()
	all, err := log.Flows()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, flow := range all {
		if flow.Port == "53" && flow.Source == pod.Status.PodIP {
			count++
		}
	}
	return count
}

func queryLog(t *testing.T, name string) *node.QueryLog {
	t.Helper()
	log, err := suite.node.QueryLog(name)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// queries are those for addresses; the cache also asks something else when it starts.
func queries(t *testing.T, log *node.QueryLog) []node.Query {
	t.Helper()
	all, err := log.Queries()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(q node.Query) bool { return q.Type != "A" && q.Type != "AAAA" })
}

func from(queries []node.Query, client string) int {
	count := 0
	for _, query := range queries {
		if query.Client == client {
			count++
		}
	}
	return count
}

// createService creates a Service with a ClusterIP and nothing behind it: DNS has it all the same.
func createService(t *testing.T, namespace, name string) {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	_, err := suite.client.CoreV1().Services(namespace).Create(t.Context(), service, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("creating a Service: %v", err)
	}
	waitResolved(t, fmt.Sprintf("%s.%s.svc.%s.", name, namespace, node.ClusterDomain))
}

// waitResolved waits until the cluster DNS knows a name.
func waitResolved(t *testing.T, name string) {
	t.Helper()
	if err := suite.node.WaitResolved(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}
