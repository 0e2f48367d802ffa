package faults_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

var (
	vanish = flag.Bool("vanish", false, "let the node of a replica vanish; takes two minutes, and root, for network namespaces of its own")
	warm   = flag.Int("vanish-warm", 25, "connections that the API server has to the replica before; it keeps up to 25")
	rate   = flag.Int("vanish-rate", 5, "pods a second that are created meanwhile")
)

const (
	// inside says that this process has its own network namespace.
	inside = "SHORTHOP_FAULTS_INSIDE"
	// grace is when a node that is silent counts as gone, and its pods as not ready: kube-controller-manager's
	// --node-monitor-grace-period, by default.
	grace = 50 * time.Second
)

// enterNamespace starts the tests again, in network and mount namespaces of their own, so that nothing of the machine's
// is touched.
func enterNamespace() error {
	if !*vanish || os.Getenv(inside) != "" {
		return nil
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--net", "--mount", "sh", "-c", `mount -t tmpfs none /run && ip link set lo up && exec "$@"`, "sh"}, os.Args...)
	return syscall.Exec(unshare, args, append(os.Environ(), inside+"=1"))
}

// TestANodeVanishes lets the node of one of two replicas vanish without a word while an API server has its connection to
// it: packets to it are answered by nothing, as when it loses power. What the API server makes of that is measured:
//
//	go test ./test/faults -run TestANodeVanishes -v -vanish
func TestANodeVanishes(t *testing.T) {
	if !*vanish {
		t.Skip("without -vanish")
	}
	c := clustertest.Start(t, cluster.Options{APIServerArgs: map[string][]string{"enable-aggregator-routing": {"true"}}})
	ca := clustertest.CA(t)
	replicas := []*farReplica{startFar(t, ca, 0), startFar(t, ca, 1)}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "shorthop"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}}
	if _, err := c.Client.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	slices := c.Client.DiscoveryV1().EndpointSlices("default")
	if _, err := slices.Create(t.Context(), endpoints(replicas[0]), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	parsed := reviewtest.Parse(t, simple)
	config := webhookconfig.New(parsed, webhookconfig.Options{OwnNamespace: "shorthop", Service: "shorthop", CABundle: ca.Bundle()})
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.Service.Namespace = "default"
	}
	if _, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "pods are injected", func() bool { is, _, err := createFar(t.Context(), c); return err == nil && is })
	// The API server has connections to the first one, which it keeps, and learns of the second.
	var before sync.WaitGroup
	for range *warm {
		before.Go(func() { _, _, _ = createFar(t.Context(), c) })
	}
	before.Wait()
	if _, err := slices.Update(t.Context(), endpoints(replicas...), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "the second one is known", func() bool {
		got, err := slices.Get(t.Context(), "shorthop-1", metav1.GetOptions{})
		return err == nil && len(got.Endpoints) == 2
	})

	seen := &outage{}
	replicas[0].vanish(t)
	seen.began = time.Now()
	forgotten := false
	tick := time.NewTicker(time.Second / time.Duration(*rate))
	defer tick.Stop()
	var creations sync.WaitGroup
	for !seen.over() && time.Since(seen.began) < 2*time.Minute {
		<-tick.C
		at := time.Since(seen.began)
		creations.Go(func() {
			is, took, err := createFar(t.Context(), c)
			seen.add(at, is, took, err)
		})
		if at > grace && !forgotten {
			forgotten = true
			if _, err := slices.Update(t.Context(), endpoints(replicas[1]), metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
	creations.Wait()
	t.Logf("%d connections, %d pods a second: %d were created, %d of them unpatched, the last one %s after the node vanished; the slowest took %s",
		*warm, *rate, seen.created, seen.unpatched, seen.last.Round(100*time.Millisecond), seen.slowest.Round(10*time.Millisecond))
	for _, err := range seen.errs {
		t.Errorf("a pod is not created: %v", err)
	}
	if seen.unpatched == 0 || !seen.over() {
		t.Errorf("%d pods are unpatched, and it is over: %t", seen.unpatched, seen.over())
	}
}

// outage is what is seen of it from outside.
type outage struct {
	mu                 sync.Mutex
	began              time.Time
	created, unpatched int
	last, injected     time.Duration
	slowest            time.Duration
	errs               []error
}

func (o *outage) add(at time.Duration, injected bool, took time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.errs = append(o.errs, err)
		return
	}
	o.created++
	o.slowest = max(o.slowest, took)
	if injected {
		o.injected = max(o.injected, at)
		return
	}
	o.unpatched++
	o.last = max(o.last, at)
}

// over: pods have been injected for 20 seconds, and the Service has forgotten the replica.
func (o *outage) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.injected-o.last > 20*time.Second && o.injected > grace+5*time.Second
}

// createFar creates a pod without storing it.
func createFar(ctx context.Context, c *cluster.Cluster) (injected bool, took time.Duration, err error) {
	began := time.Now()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "example.com/a"}}},
	}
	created, err := c.Client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return false, 0, err
	}
	return isInjected(created), time.Since(began), nil
}

// farReplica is a replica on a node of its own.
type farReplica struct{ node, address, gateway string }

func startFar(t *testing.T, ca *cluster.CA, n int) *farReplica {
	t.Helper()
	r := &farReplica{fmt.Sprintf("node-%d", n), fmt.Sprintf("10.77.%d.2", n), fmt.Sprintf("10.77.%d.1", n)}
	link := fmt.Sprintf("veth-%d", n)
	for _, args := range [][]string{
		{"netns", "add", r.node},
		{"link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", r.node},
		{"address", "add", r.gateway + "/30", "dev", link},
		{"link", "set", link, "up"},
		{"-n", r.node, "address", "add", r.address + "/30", "dev", "eth0"},
		{"-n", r.node, "link", "set", "eth0", "up"},
		{"-n", r.node, "link", "set", "lo", "up"},
	} {
		ip(t, args...)
	}
	dir := t.TempDir()
	policyFile := filepath.Join(dir, "policy.yaml")
	testfile.Write(t, policyFile, simple)
	if err := ca.WriteServingCert(dir, "shorthop.default.svc"); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), "ip", "netns", "exec", r.node, program,
		"--policy", policyFile, "--cert-source=provided", "--cert-dir", dir, "--cluster-access=false", "--own-namespace=shorthop",
		"--bind-address", r.address+":9443", "--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:8081", "--shutdown-delay=0s")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return r
}

// vanish lets the node answer nothing any more, and say nothing.
func (r *farReplica) vanish(t *testing.T) {
	t.Helper()
	ip(t, "-n", r.node, "route", "add", "blackhole", r.gateway+"/32")
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %q: %v\n%s", args, err, output)
	}
}

// endpoints is what the endpoint controller would write for these replicas.
func endpoints(replicas ...*farReplica) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "shorthop-1", Labels: map[string]string{discoveryv1.LabelServiceName: "shorthop"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(9443)), Protocol: new(corev1.ProtocolTCP)}},
	}
	for _, r := range replicas {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{r.address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	}
	return s
}
