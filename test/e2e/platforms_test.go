//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/node"
)

// TestPlatforms upgrades the release to what other platforms need, and looks at real pods: the port that firewalls of
// private control planes leave open, excluded namespaces by their beginning, caches in one DaemonSet per node pool, one
// whose address no node has, and replicas on the network of the node. At its end the release is what it was.
func TestPlatforms(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(suite.webhookLogs(context.WithoutCancel(t.Context())))
		}
		upgradeTo(context.WithoutCancel(t.Context()), t, "", 2)
		setPodSecurity(context.WithoutCancel(t.Context()), t, "restricted")
	})
	values := []string{"--values", "testdata/platforms.yaml", "--set", "shutdownDelaySeconds=1"}

	upgradeTo(t.Context(), t, "pod-network", 2, append(values, "--set", "ports.webhook=10250")...)
	t.Run("port 10250 in the network of pods", func(t *testing.T) {
		for _, address := range endpoints(t, "10250") {
			if address == node.IP {
				t.Errorf("%s is the node", address)
			}
		}
		wantInjected(t)
	})
	t.Run("namespaces that are excluded by their beginning", excludedByBeginning)
	t.Run("one cache for each node pool", cachesOfPools)
	t.Run("a cache whose address no node has", unownedCache)

	setPodSecurity(t.Context(), t, "privileged")
	values = append(values, "--set", "hostNetwork=true,replicas=1,ports.webhook=10260,ports.metrics=10261,ports.health=10262")
	// To the node's network, and then to itself: with one node, the port is free only when the old replica has ended.
	for _, revision := range []string{"host-network", "host-network-again"} {
		t.Run("on the network of the node: "+revision, func(t *testing.T) {
			start := time.Now()
			upgradeTo(t.Context(), t, revision, 1, values...)
			t.Logf("the upgrade took %s", time.Since(start).Round(100*time.Millisecond))
			if diff := cmp.Diff([]string{node.IP}, endpoints(t, "10260")); diff != "" {
				t.Errorf("where API servers send reviews (-want +got):\n%s", diff)
			}
			wantInjected(t)
		})
	}
}

// upgradeTo upgrades the release to the values of all tests and others, and returns once only replicas of these serve.
func upgradeTo(ctx context.Context, t *testing.T, revision string, replicas int, values ...string) {
	t.Helper()
	arguments := append([]string{"upgrade", release, chartFolder}, suite.flags()...)
	if revision != "" {
		arguments = append(arguments, "--set", "podAnnotations.revision="+revision)
	}
	output, err := suite.helm(ctx, append(arguments, values...)...)
	if err == nil {
		err = suite.waitReplicas(ctx, revision, replicas)
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, output, suite.webhookLogs(ctx))
	}
}

// endpoints are the addresses at which the Service is served, all of them at one port.
func endpoints(t *testing.T, port string) (addresses []string) {
	t.Helper()
	slices, err := suite.client.DiscoveryV1().EndpointSlices(releaseNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + release})
	if err != nil {
		t.Fatal(err)
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
		for _, got := range slice.Ports {
			if number := strconv.Itoa(int(*got.Port)); number != port {
				t.Errorf("%s is served at port %s, want %s", slice.Name, number, port)
			}
		}
	}
	if len(addresses) == 0 {
		t.Fatal("nobody is behind the Service")
	}
	return addresses
}

// wantInjected waits for a pod that comes out injected: the API server learns of new endpoints a moment after they are ready.
func wantInjected(t *testing.T) {
	t.Helper()
	eventually(t, "a pod is injected", suite.injectedDryRun)
}

func eventually(t *testing.T, what string, holds func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, time.Minute, true, holds); err != nil {
		t.Fatalf("it does not come to that: %s (%v)", what, err)
	}
}

// setPodSecurity says which pods the release's namespace takes. Restricted ones are not on the network of the node.
func setPodSecurity(ctx context.Context, t *testing.T, level string) {
	t.Helper()
	patch := []byte(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "` + level + `"}}}`)
	if _, err := suite.client.CoreV1().Namespaces().Patch(ctx, releaseNamespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

// asked notes whether the webhook has warned of a label of its own that has a value without a meaning.
type asked struct{ yes atomic.Bool }

// HandleWarningHeader is of rest.WarningHandler.
func (a *asked) HandleWarningHeader(_ int, _, text string) {
	if strings.Contains(text, policy.LabelInject) {
		a.yes.Store(true)
	}
}

// excludedByBeginning shows that the API server itself leaves these pods out: whoever reviews them warns of their label.
func excludedByBeginning(t *testing.T) {
	var warned asked
	config := rest.CopyConfig(suite.config)
	config.WarningHandler = &warned
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for namespace, reviewed := range map[string]bool{"node-local": false, "node-ip": false, "default": true} {
		warned.yes.Store(false)
		pod := suite.pod(namespace, images.Musl, "pause")
		pod.Labels = map[string]string{policy.LabelInject: "perhaps"}
		created, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		if warned.yes.Load() != reviewed || (created.Annotations[policy.AnnotationInjected] != "") != reviewed {
			t.Errorf("a pod in %s is reviewed: %t, and comes out with the annotations %v", namespace, warned.yes.Load(), created.Annotations)
		}
	}
}

// cachesOfPools has one DaemonSet for the only node and one for a pool without nodes, and then none for the node.
func cachesOfPools(t *testing.T) {
	arguments := []string{"-localip", node.NodeLocalDNS}
	used := createCache(t, "node-local-dns-pool-1", true, arguments, node.Name)
	createCache(t, "node-local-dns-pool-2", true, arguments, "node-2")
	eventually(t, "pods get the cache", func(ctx context.Context) (bool, error) {
		servers, err := nameservers(ctx, "options-1")
		return len(servers) > 0 && servers[0] == node.NodeLocalDNS, err
	})
	log := queryLog(t, node.LogNodeLocal)
	pod := startPod(t, suite.pod("options-1", images.Musl, "pause"))
	if got := runIn[answer](t, pod, "lookup4", "pools."+node.ExternalZone); got[0].Error != "" {
		t.Errorf("%+v", got[0])
	}
	if from(queries(t, log), pod.Status.PodIP) == 0 || pod.Labels[policy.LabelPinned] == "" {
		t.Errorf("the pod has not asked the cache, or does not say so: %v", pod.Labels)
	}

	patch := []byte(`{"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-3"}}}}}`)
	if _, err := suite.client.AppsV1().DaemonSets("plain").Patch(t.Context(), used.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pods do not get the cache any more", func(ctx context.Context) (bool, error) {
		servers, err := nameservers(ctx, "options-1")
		return len(servers) == 0, err
	})
	wantGate(t, "the DaemonSets want no node (2 of them)")
}

// unownedCache runs everywhere and is ready, and nothing is at the address that it names.
func unownedCache(t *testing.T) {
	const address = "169.254.20.11"
	createCache(t, "redirected", false, []string{"-localip", address, "-setupinterface=false"}, node.Name)
	wantGate(t, "no node has the address "+address)
	pod := startPod(t, suite.pod("options-4", images.Musl, "pause"))
	if pod.Annotations[policy.AnnotationInjected] == "" || pod.Spec.DNSPolicy != corev1.DNSClusterFirst || pod.Spec.DNSConfig == nil || len(pod.Spec.DNSConfig.Nameservers) > 0 {
		t.Errorf("the pod is not one with options alone: %v, %s, %+v", pod.Annotations, pod.Spec.DNSPolicy, pod.Spec.DNSConfig)
	}
	if got := runIn[answer](t, pod, "lookup4", "redirected."+node.ExternalZone); got[0].Error != "" {
		t.Errorf("%+v", got[0])
	}
}

// createCache creates a DaemonSet with the arguments of a cache, and returns once it is rolled out on the nodes of that name.
func createCache(t *testing.T, name string, hostNetwork bool, arguments []string, hostname string) *appsv1.DaemonSet {
	t.Helper()
	pod := suite.pod("plain", images.Musl, append([]string{"pause"}, arguments...)...)
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	pod.Spec.HostNetwork = hostNetwork
	pod.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": hostname}
	labels := map[string]string{"cache": name}
	if hostNetwork {
		labels["k8s-app"] = "node-local-dns"
	}
	sets := suite.client.AppsV1().DaemonSets("plain")
	set, err := sets.Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sets.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "DaemonSet "+name+" is rolled out", func(ctx context.Context) (bool, error) {
		if set, err = sets.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		return set.Status.ObservedGeneration == set.Generation && set.Status.NumberAvailable == set.Status.DesiredNumberScheduled, nil
	})
	if wanted := hostname == node.Name; (set.Status.DesiredNumberScheduled == 1) != wanted {
		t.Fatalf("DaemonSet %s wants %d nodes", name, set.Status.DesiredNumberScheduled)
	}
	return set
}

// nameservers are those that a new pod gets.
func nameservers(ctx context.Context, namespace string) ([]string, error) {
	pod, err := suite.client.CoreV1().Pods(namespace).Create(ctx, suite.pod(namespace, images.Musl, "pause"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil || pod.Spec.DNSConfig == nil {
		return nil, err
	}
	return pod.Spec.DNSConfig.Nameservers, nil
}

// wantGate waits until a gate of every replica is closed for this reason.
func wantGate(t *testing.T, reason string) {
	t.Helper()
	eventually(t, "a gate is closed: "+reason, func(ctx context.Context) (bool, error) {
		pods, err := suite.client.CoreV1().Pods(releaseNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shorthop"})
		if err != nil {
			return false, err
		}
		for i := range pods.Items {
			text, err := suite.client.CoreV1().Pods(releaseNamespace).ProxyGet("http", pods.Items[i].Name, "8081", "/debug/policy", nil).DoRaw(ctx)
			if err != nil {
				return false, err
			}
			var document struct{ Gates json.RawMessage }
			if err := json.Unmarshal(text, &document); err != nil {
				return false, fmt.Errorf("%s: %w", net.JoinHostPort(pods.Items[i].Name, "8081"), err)
			}
			if !strings.Contains(string(document.Gates), reason) {
				return false, nil
			}
		}
		return true, nil
	})
}
