//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
)

// TestDetectedValuesInstall installs what detect prints, unchanged, on clusters of several shapes, wants doctor to find no fault,
// and looks whom a pod asks. The shapes are imitated by what tells them: the ConfigMap of kube-proxy, which does not run here, and a
// DaemonSet with the arguments of node-cache, beside the cache that does run on the node. At the end the cache is first behind an
// address that nobody owns, and then on one of two nodes.
func TestDetectedValuesInstall(t *testing.T) {
	clusterDNSObjects(t)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if output, err := suite.helm(ctx, append([]string{"upgrade", release, chartFolder}, suite.flags()...)...); err != nil {
			t.Errorf("back to the policy of the other tests: %v\n%s", err, output)
		}
		if err := wait.PollUntilContextTimeout(ctx, time.Second, 90*time.Second, true, func(ctx context.Context) (bool, error) {
			return len(notPassing(examine(t))) == 0 || ctx.Err() != nil, nil
		}); err != nil {
			t.Logf("doctor, once the policy is back: %v", notPassing(examine(t)))
		}
	})

	for _, shape := range []struct {
		name, proxy, localIPs string
		mode, asks            string
	}{
		{"iptables without a cache", "iptables", "", "Options", node.ClusterDNS},
		{"iptables with a cache", "iptables", node.NodeLocalDNS + "," + node.ClusterDNS, "Options", node.ClusterDNS},
		{"IPVS without a cache", "ipvs", "", "Options", node.ClusterDNS},
		{"IPVS with a cache", "ipvs", node.NodeLocalDNS, "NodeLocal", node.NodeLocalDNS},
	} {
		if !t.Run(shape.name, func(t *testing.T) {
			kubeProxy(t, shape.proxy)
			cacheDaemonSet(t, shape.localIPs, true)
			values, code := detected(t)
			var document struct {
				Policy struct{ DNS struct{ Mode string } }
			}
			if err := yaml.Unmarshal(values, &document); err != nil || document.Policy.DNS.Mode != shape.mode || code != 0 {
				t.Fatalf("exit code %d, mode %q, want %q (error %v) in\n%s", code, document.Policy.DNS.Mode, shape.mode, err, values)
			}
			installValues(t, values)
			pod := startPod(t, suite.pod("plain", images.Musl))
			if got := runIn[report](t, pod, "report")[0].ResolvConf; !strings.Contains(got, "nameserver "+shape.asks+"\n") || strings.Index(got, "nameserver ") != strings.Index(got, "nameserver "+shape.asks) {
				t.Errorf("the pod asks somebody else than %s first:\n%s", shape.asks, got)
			}
			if got := runIn[answer](t, pod, "lookup", "kubernetes.default")[0]; got.Error != "" {
				t.Errorf("kubernetes.default: %s", got.Error)
			}
		}) {
			return
		}
	}

	t.Run("a cache behind an address that nobody owns", func(t *testing.T) {
		cacheDaemonSet(t, node.NodeLocalDNS, false)
		if values, code := detected(t); code != 1 || !strings.Contains(string(values), "nobody listens there") {
			t.Errorf("detect: exit code %d:\n%s", code, values)
		}
		if got := checkOf(examine(t), "node-local-cache"); got.Status != "fail" || !strings.Contains(got.Found, "nobody listens there") {
			t.Errorf("doctor: %+v", got)
		}
	})
	t.Run("a cache on one of two nodes", func(t *testing.T) {
		cacheDaemonSet(t, node.NodeLocalDNS, true)
		second := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-2", Labels: map[string]string{corev1.LabelHostname: "node-2"}}}
		create(t, suite.client.CoreV1().Nodes().Create, suite.client.CoreV1().Nodes().Delete, second)
		got := examine(t)
		if check := checkOf(got, "node-local-cache"); check.Status != "warn" || !strings.Contains(check.Found, "1 node of 2 without a cache") {
			t.Errorf("%+v", check)
		}
		if !slices.ContainsFunc(got.Paths, func(p drawnPath) bool {
			return p.Of == "dns" && strings.Contains(p.Hops[0].Name, "(1 of 2 nodes)") && slices.Contains(p.Notes, "1 node without a cache: pods there have only their fallback servers")
		}) {
			t.Errorf("the path: %+v", got.Paths)
		}
	})
}

// clusterDNSObjects are those of a cluster DNS as kubeadm has it, for the one that runs on the node, until the test ends.
func clusterDNSObjects(t *testing.T) {
	t.Helper()
	core := suite.client.CoreV1()
	ports := []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP}}
	create(t, core.Services("kube-system").Create, core.Services("kube-system").Delete, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec:       corev1.ServiceSpec{ClusterIP: node.ClusterDNS, Ports: ports},
	})
	endpointSlices := suite.client.DiscoveryV1().EndpointSlices("kube-system")
	create(t, endpointSlices.Create, endpointSlices.Delete, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kube-dns-node", Labels: map[string]string{discoveryv1.LabelServiceName: "kube-dns"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{node.IP}}},
	})
	create(t, core.ConfigMaps("kube-system").Create, core.ConfigMaps("kube-system").Delete, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "coredns"},
		Data:       map[string]string{"Corefile": ".:53 {\n  kubernetes " + node.ClusterDomain + " in-addr.arpa ip6.arpa\n  forward . /etc/resolv.conf\n  cache 30\n}\n"},
	})
}

// kubeProxy configures it, until the test ends.
func kubeProxy(t *testing.T, mode string) {
	t.Helper()
	maps := suite.client.CoreV1().ConfigMaps("kube-system")
	create(t, maps.Create, maps.Delete, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy"},
		Data:       map[string]string{"config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: " + mode + "\n"},
	})
}

// cacheDaemonSet stands for the node-local cache that runs on the node, until the test ends, and returns once it is available; without
// addresses there is none. owned: on the node's network, where it makes an interface for them.
func cacheDaemonSet(t *testing.T, localIPs string, owned bool) {
	t.Helper()
	if localIPs == "" {
		return
	}
	arguments := []string{"pause", "-localip", localIPs, "-conf", "/etc/Corefile"}
	if !owned {
		arguments = append(arguments, "-setupinterface=false", "-setupiptables=false", "-skipteardown=true")
	}
	labels := map[string]string{"k8s-app": cacheName}
	sets := suite.client.AppsV1().DaemonSets(cacheNamespace)
	create(t, sets.Create, sets.Delete, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: cacheName, Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				HostNetwork: owned, DNSPolicy: corev1.DNSDefault, TerminationGracePeriodSeconds: new(int64(1)),
				NodeSelector: map[string]string{corev1.LabelHostname: node.Name},
				Containers:   []corev1.Container{{Name: "node-cache", Image: images.Name(suite.prefix, images.Musl), ImagePullPolicy: corev1.PullNever, Args: arguments}},
			}},
		},
	})
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
		set, err := sets.Get(ctx, cacheName, metav1.GetOptions{})
		return err == nil && set.Status.ObservedGeneration >= set.Generation && set.Status.DesiredNumberScheduled == 1 && set.Status.NumberAvailable == 1, nil
	}); err != nil {
		t.Fatalf("the DaemonSet of the cache is not available: %v", err)
	}
}

// create creates an object that is deleted when the test ends; one of the same name may be on its way out.
func create[T metav1.Object](t *testing.T, create func(context.Context, T, metav1.CreateOptions) (T, error), remove func(context.Context, string, metav1.DeleteOptions) error, object T) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := create(ctx, object, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) && strings.Contains(err.Error(), "already allocated") {
			return false, nil
		}
		return err == nil, err
	}); err != nil {
		t.Fatalf("creating %s: %v", object.GetName(), err)
	}
	t.Cleanup(func() {
		if err := remove(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("deleting %s: %v", object.GetName(), err)
		}
	})
}

// detected is what detect prints of the cluster.
func detected(t *testing.T) (values []byte, code int) {
	t.Helper()
	return kubectlShorthop(t, "detect")
}

func kubectlShorthop(t *testing.T, args ...string) (stdout []byte, code int) {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(repository, "bin", "kubectl-shorthop"), append(args, "--kubeconfig", suite.chart.kubeconfig)...)
	stdout, err := command.Output()
	exit := &exec.ExitError{}
	if errors.As(err, &exit) {
		if exit.ExitCode() != 1 {
			t.Fatalf("%v: %s", args, exit.Stderr)
		}
		return stdout, 1
	}
	if err != nil {
		t.Fatal(err)
	}
	return stdout, 0
}

// installValues upgrades the release to the values, with nothing besides but what this cluster needs of any installation, and waits
// until doctor finds nothing to look at.
func installValues(t *testing.T, values []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, values, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if output, err := suite.helm(t.Context(), append([]string{"upgrade", release, chartFolder}, suite.flagsWith(file)...)...); err != nil {
		t.Fatalf("%v\n%s\n%s", err, output, values)
	}
	var last doctorReport
	if err := wait.PollUntilContextTimeout(t.Context(), time.Second, 90*time.Second, true, func(context.Context) (bool, error) {
		last = examine(t)
		return len(notPassing(last)) == 0, nil
	}); err != nil {
		t.Fatalf("doctor still finds %v\n%s", notPassing(last), values)
	}
	t.Logf("installed, and doctor finds no fault after %s; paths %v; unknown %v", time.Since(start).Round(time.Second), last.Paths, withStatus(last, "unknown"))
}

type drawnPath struct {
	Of    string
	Hops  []struct{ Name string }
	Notes []string
}

// String draws it as doctor does.
func (p drawnPath) String() string {
	text := p.Of + ": pod"
	for _, hop := range p.Hops {
		text += " -> " + hop.Name
	}
	return text
}

type doctorReport struct {
	Paths  []drawnPath
	Checks []checked
}

// examine is what doctor says.
func examine(t *testing.T) (report doctorReport) {
	t.Helper()
	output, _ := kubectlShorthop(t, "doctor", "-o", "json")
	if err := json.Unmarshal(output, &report); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return report
}

func checkOf(report doctorReport, name string) checked {
	return report.Checks[slices.IndexFunc(report.Checks, func(c checked) bool { return c.Check == name })]
}

func withStatus(report doctorReport, status string) (found []string) {
	for _, c := range report.Checks {
		if c.Status == status {
			found = append(found, fmt.Sprintf("%s: %s", c.Check, c.Found))
		}
	}
	return found
}

// notPassing are failures, and warnings that have to do with what detect finds out. Others are of how the tests run: one node, and a
// long timeout.
func notPassing(report doctorReport) []string {
	ofValues := []string{"policy", "gates", "webhook-filter", "api-host", "node-local-cache", "cluster-dns", "cluster-domain", "custom-zones"}
	found := withStatus(report, "fail")
	for _, c := range report.Checks {
		if c.Status == "warn" && slices.Contains(ofValues, c.Check) {
			found = append(found, c.Check+": "+c.Found)
		}
	}
	return found
}
