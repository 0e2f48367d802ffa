//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
	"github.com/shorthop/shorthop/test/e2e/results"
)

// TestContainersOfAPodGetWhatTheirResolverAllows has one pod with a container of each kind, and a name that costs 8 queries
// by default: only glibc asks less, and nobody's resolver changes.
func TestContainersOfAPodGetWhatTheirResolverAllows(t *testing.T) {
	hostResolvConf(t, "nameserver 10.9.9.9\n")
	pod := suite.known("fallthrough", images.Glibc)
	for _, beside := range []string{images.Musl, images.Cgo, images.Own} {
		container := suite.known("fallthrough", beside).Spec.Containers[0]
		container.Name = beside
		pod.Spec.Containers = append(pod.Spec.Containers, container)
	}
	forced := *pod.Spec.Containers[2].DeepCopy()
	forced.Name, forced.Env = "forced", []corev1.EnvVar{{Name: policy.EnvResOptions, Value: "ndots:2"}}
	pod.Spec.Containers = append(pod.Spec.Containers, forced)
	pod = startPod(t, pod)
	for container, want := range map[string]struct {
		variable       string
		queries, flows int
	}{
		"probe":     {"ndots:2", 2, 1},
		images.Musl: {"", 8, 4},
		// Go's resolver has a port for each query, glibc's one for each name.
		images.Cgo: {"", 8, 8},
		images.Own: {images.OwnResOptions, 8, 4},
		// What a cgo program does where somebody sets the variable all the same: that is why it does not get it.
		"forced": {"ndots:2", 2, 1},
	} {
		t.Run(container, func(t *testing.T) {
			got := runInContainer[report](t, pod, container, "report")[0]
			variable := ""
			for _, entry := range got.Env {
				if name, value, _ := strings.Cut(entry, "="); name == policy.EnvResOptions {
					variable = value
				}
			}
			if variable != want.variable || !strings.Contains(got.ResolvConf, "ndots:4") {
				t.Errorf("RES_OPTIONS is %q, want %q, beside\n%s", variable, want.variable, got.ResolvConf)
			}
			cell := measure(t, pod, container, lookups[0].name, func() {})
			if cell.Queries != want.queries || cell.Flows != want.flows || !cell.Resolved {
				t.Errorf("%+v, want %d queries from %d ports and an answer", cell, want.queries, want.flows)
			}
		})
	}
}

// TestFallThroughIsAsExplained is TestPodsAreAsExplained for what decides about fall-through: in one namespace every
// resolver with every change, in the others every resolver and every change once.
func TestFallThroughIsAsExplained(t *testing.T) {
	var pods []*corev1.Pod
	for n, namespace := range []string{"fallthrough", "fallthrough-forwarded", "fallthrough-cache", "options-2", "closed"} {
		for p, probe := range []string{images.Glibc, images.Musl, images.Go, images.Cgo, images.Own} {
			for c, change := range []func(*corev1.Pod){
				func(*corev1.Pod) {},
				func(pod *corev1.Pod) { // somebody else's container beside it
					sidecar := suite.known(namespace, images.Musl, "report").Spec.Containers[0]
					sidecar.Name = "sidecar"
					pod.Spec.Containers = append(pod.Spec.Containers, sidecar)
				},
				func(pod *corev1.Pod) {
					pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: policy.EnvResOptions, Value: "timeout:3"}}
				},
				func(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.AnnotationNdots: "3"} },
				func(pod *corev1.Pod) {
					pod.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"user.example.com"}}
				},
			} {
				if n > 0 && (n+p+c)%5 != 0 {
					continue
				}
				pod := suite.known(namespace, probe, "report")
				change(pod)
				pods = append(pods, pod)
			}
		}
	}
	comparePods(t, pods)
}

// upstreamStates are the states of the gate, and who gets fall-through in each: nobody asks for anything in
// fallthrough-vouched.
var upstreamStates = []struct {
	outside  node.Outside
	itself   bool // the cluster DNS answers svc.
	state    string
	reason   policy.Reason
	injected []string
}{
	{node.OutsideAnswers, true, "local", "", []string{"fallthrough", "fallthrough-cache", "fallthrough-forwarded", "fallthrough-vouched"}},
	{node.OutsideSilent, true, "local", "", []string{"fallthrough", "fallthrough-cache", "fallthrough-forwarded", "fallthrough-vouched"}},
	{node.OutsideClosed, true, "local", "", []string{"fallthrough", "fallthrough-cache", "fallthrough-forwarded", "fallthrough-vouched"}},
	{node.OutsideLies, true, "local", "", []string{"fallthrough", "fallthrough-cache", "fallthrough-forwarded", "fallthrough-vouched"}},
	{node.OutsideAnswers, false, "forwarded", policy.ReasonServiceNotLocal, []string{"fallthrough-forwarded", "fallthrough-vouched"}},
	{node.OutsideSilent, false, "closed", policy.ReasonUpstreamSlow, []string{"fallthrough-vouched"}},
	{node.OutsideClosed, false, "closed", policy.ReasonUpstreamFails, []string{"fallthrough-vouched"}},
	{node.OutsideLies, false, "closed", policy.ReasonUpstreamInventsAnswers, []string{"fallthrough-vouched"}},
	{node.OutsideAnswers, true, "local", "", []string{"fallthrough", "fallthrough-cache", "fallthrough-forwarded", "fallthrough-vouched"}},
}

// TestTheUpstreamGateOnTheNode takes the world outside through all it may do, with and without the block in the cluster
// DNS, and asks both replicas for their gates, at the cluster DNS and through the node-local cache, and for pods.
func TestTheUpstreamGateOnTheNode(t *testing.T) {
	outsideBack(t)
	for _, s := range upstreamStates {
		t.Run(fmt.Sprintf("%s, answers svc. %t", s.outside, s.itself), func(t *testing.T) {
			setOutside(t, s.outside, s.itself)
			waitUpstream(t, s.state, s.reason)
			var injected []string
			for _, namespace := range []string{"fallthrough", "fallthrough-cache", "fallthrough-forwarded", "fallthrough-vouched"} {
				created, err := suite.client.CoreV1().Pods(namespace).Create(t.Context(), suite.known(namespace, images.Glibc), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(created.Spec.Containers[0].Env, corev1.EnvVar{Name: policy.EnvResOptions, Value: "ndots:2"}) {
					injected = append(injected, namespace)
				}
			}
			if diff := cmp.Diff(s.injected, injected); diff != "" {
				t.Errorf("namespaces whose pods get fall-through (-want +got):\n%s", diff)
			}
		})
	}
}

// measureOutside fills in what pods ask, and whether they get an answer, while the outside does what it should not.
func measureOutside(t *testing.T, table *results.Queries) {
	t.Helper()
	outsideBack(t)
	rows := []int{0, 3, 4, 5, 6} // of lookups: those with one dot and three are like the one with two
	for _, s := range upstreamStates[:8] {
		setOutside(t, s.outside, s.itself)
		waitUpstream(t, s.state, s.reason)
		group := string(s.outside)
		if !slices.Contains(table.Outside, group) {
			table.Outside = append(table.Outside, group)
		}
		gated := []struct{ namespace, name string }{{"plain", "default"}, {"fallthrough", "gate"}, {"fallthrough-vouched", "no gate"}}
		cells := make([][]results.Cell, len(gated)*len(resolvers))
		t.Run(fmt.Sprintf("%s, answers svc. %t", s.outside, s.itself), func(t *testing.T) {
			for i := range cells {
				setting, resolver := gated[i/len(resolvers)], resolvers[i%len(resolvers)]
				if i/len(resolvers) == 0 && s.itself {
					continue // shown as clusters are without us
				}
				t.Run(setting.name+" "+resolver, func(t *testing.T) {
					t.Parallel()
					pod := startPod(t, suite.known(setting.namespace, resolver))
					for _, row := range rows {
						cell := measureOnce(t, pod, lookups[row].name)
						cell.Kind, cell.Name, cell.Resolver = lookups[row].kind, lookups[row].name, resolver
						cell.Setting = results.OutsideSetting(group, setting.name, s.itself)
						cells[i] = append(cells[i], cell)
					}
				})
			}
		})
		for _, measured := range cells {
			table.Cells = append(table.Cells, measured...)
		}
	}
	for _, cell := range table.Cells {
		if group, setting, ok := results.OfOutside(cell); ok && setting != "no gate" && !cell.Resolved {
			t.Errorf("%s does not resolve %s while the outside is %s, under %q", cell.Resolver, cell.Name, group, setting)
		}
	}
}

// measureOnce looks up a name and counts the queries, however long it takes.
func measureOnce(t *testing.T, pod *corev1.Pod, name string) results.Cell {
	t.Helper()
	log := queryLog(t, node.LogCluster)
	got := runIn[answer](t, pod, "lookup", name)[0]
	if err := node.Settle(log); err != nil {
		t.Fatal(err)
	}
	return results.Cell{
		Resolved: got.Error == "" && len(got.Addresses) > 0 && !slices.Contains(got.Addresses, node.InventedA),
		Queries:  from(queries(t, log), pod.Status.PodIP), Seconds: int(got.Milliseconds/1000 + 0.5),
	}
}

// hostResolvConf gives the node another resolv.conf until the test ends.
func hostResolvConf(t *testing.T, content string) {
	t.Helper()
	if err := suite.node.SetHostResolvConf(content); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := suite.node.SetHostResolvConf(node.DefaultHostResolvConf); err != nil {
			t.Error(err)
		}
	})
}

func setOutside(t *testing.T, outside node.Outside, itself bool) {
	t.Helper()
	if err := suite.node.AnswerSvc(itself); err != nil {
		t.Fatal(err)
	}
	if err := suite.node.SetOutside(t.Context(), outside); err != nil {
		t.Fatal(err)
	}
}

// outsideBack leaves the outside as it was.
func outsideBack(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if err := suite.node.AnswerSvc(true); err != nil {
			t.Error(err)
		}
		if err := suite.node.SetOutside(context.WithoutCancel(t.Context()), node.OutsideAnswers); err != nil {
			t.Error(err)
		}
	})
}

// waitUpstream waits until all replicas have the gate in this state, at the cluster DNS and through the cache.
func waitUpstream(t *testing.T, state string, reason policy.Reason) {
	t.Helper()
	var seen []string
	if err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		seen = nil
		pods, err := suite.client.CoreV1().Pods(releaseNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop"})
		if err != nil {
			return false, err
		}
		for i := range pods.Items {
			text, err := suite.client.CoreV1().Pods(releaseNamespace).ProxyGet("http", pods.Items[i].Name, "8081", "/debug/policy", nil).DoRaw(ctx)
			if err != nil {
				return false, err
			}
			var document struct {
				Gates []struct {
					Gate, Target, State string
					Reason              policy.Reason
				}
			}
			if err := json.Unmarshal(text, &document); err != nil {
				return false, err
			}
			for _, gate := range document.Gates {
				if gate.Gate == "upstream" {
					seen = append(seen, fmt.Sprintf("%s at %s: %s %q", pods.Items[i].Name, gate.Target, gate.State, gate.Reason))
				}
			}
		}
		want := fmt.Sprintf(": %s %q", state, reason)
		return len(seen) == 2*len(pods.Items) && !slices.ContainsFunc(seen, func(gate string) bool { return !strings.HasSuffix(gate, want) }), nil
	}); err != nil {
		t.Fatalf("the gates do not come to %s %q: %v\n%s", state, reason, err, strings.Join(seen, "\n"))
	}
}
