package integration_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/testfile"
)

// TestTheClusterDNSIsDiscovered has a control plane of its own: what it creates in kube-system would be discovered by all
// webhooks of the shared one.
func TestTheClusterDNSIsDiscovered(t *testing.T) {
	t.Parallel()
	own := clustertest.Start(t, cluster.Options{APIServerArgs: map[string][]string{
		"service-cluster-ip-range": {"10.0.0.0/24,fd00:10:96::/112"},
	}})
	client, err := dynamic.NewForConfig(own.Config)
	if err != nil {
		t.Fatal(err)
	}
	compiled := compile(t, fmt.Sprintf(policyWithSpec, `{dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}}`))
	var current atomic.Pointer[policy.Compiled]
	current.Store(compiled)
	registry := prometheus.NewRegistry()
	recorder := metrics.New(registry)
	found := discovery.New(discovery.Options{
		Client: client,
		// As kubelet writes it for dnsPolicy ClusterFirst, on a node whose clusterDNS is the cache.
		ResolvConf: "search shorthop.svc.cluster.test svc.cluster.test cluster.test corp.example.com\nnameserver 169.254.20.10\noptions ndots:5\n",
		Policy:     current.Load,
		Recorder:   recorder,
		Log:        logr.Discard(),
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- found.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-found.Synced()

	at := serve(t, handler(compiled, func(o *admission.Options) { o.Metrics, o.Discovered = recorder, found.Discovered }))
	if err := cluster.RegisterWebhook(t.Context(), own.Client, configuration("discovery", compiled.Document(), at)); err != nil {
		t.Fatal(err)
	}
	// pod waits until pods have these nameservers, and returns one.
	pod := func(nameservers ...string) injection {
		t.Helper()
		var last injection
		err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
			created, err := own.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, plainPod("trial"), dryRun)
			if err != nil {
				return false, err
			}
			last = injectionOf(created)
			return slices.Equal(last.Nameservers, nameservers), nil
		})
		if err != nil {
			t.Fatalf("%v: pods have %v, want %v", err, last.Nameservers, nameservers)
		}
		return last
	}
	want := injection{
		Env: []string{"main:"}, DNSPolicy: corev1.DNSNone, Nameservers: []string{"169.254.20.10"},
		Searches: []string{"default.svc.cluster.test", "svc.cluster.test", "cluster.test"},
		Options:  []string{"ndots:4"}, Rule: "default", Pinned: "node-local",
	}
	if diff := cmp.Diff(want, pod("169.254.20.10")); diff != "" {
		t.Errorf("what resolv.conf alone tells (-want +got):\n%s", diff)
	}

	createService(t, own, "kube-dns", "10.0.0.10", "fd00:10:96::a")
	want.Nameservers = []string{"169.254.20.10", "10.0.0.10", "fd00:10:96::a"}
	if diff := cmp.Diff(want, pod(want.Nameservers...)); diff != "" {
		t.Errorf("with the Service kube-dns (-want +got):\n%s", diff)
	}
	createService(t, own, "kube-dns-upstream", "10.0.0.77")
	want.Nameservers = []string{"169.254.20.10", "10.0.0.77"}
	if diff := cmp.Diff(want, pod(want.Nameservers...)); diff != "" {
		t.Errorf("with the cache's upstream (-want +got):\n%s", diff)
	}
	if err := own.Client.CoreV1().Services(metav1.NamespaceSystem).Delete(t.Context(), "kube-dns-upstream", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pod("169.254.20.10", "10.0.0.10", "fd00:10:96::a")

	current.Store(compile(t, fmt.Sprintf(policyWithSpec, `{cluster: {domain: cluster.local, dnsServers: [10.0.0.53]}, dns: {}}`)))
	found.Refresh()
	contradictions := []string{
		"spec.cluster.domain is cluster.local, but resolv.conf has cluster.test",
		"spec.cluster.dnsServers has 10.0.0.53, but Service kube-system/kube-dns has 10.0.0.10 fd00:10:96::a",
	}
	if diff := cmp.Diff(contradictions, found.Result().Contradictions); diff != "" {
		t.Errorf("contradictions (-want +got):\n%s", diff)
	}
	if got := gauge(t, registry, "shorthop_discovery_contradictions"); got != 2 {
		t.Errorf("shorthop_discovery_contradictions is %v, want 2", got)
	}
}

// gauge returns the value of a gauge without labels.
func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// createService creates a DNS Service in kube-system.
func createService(t *testing.T, c *cluster.Cluster, name string, addresses ...string) {
	t.Helper()
	families := corev1.IPFamilyPolicySingleStack
	if len(addresses) > 1 {
		families = corev1.IPFamilyPolicyRequireDualStack
	}
	create := func(ctx context.Context) (bool, error) {
		_, err := c.Client.CoreV1().Services(metav1.NamespaceSystem).Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"k8s-app": "kube-dns"}},
			Spec: corev1.ServiceSpec{
				ClusterIP: addresses[0], ClusterIPs: addresses, IPFamilyPolicy: &families,
				Ports: []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP}},
			},
		}, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "cannot be allocated") {
			return false, nil // the API server is still setting up kube-system, or its address range
		}
		return err == nil, err
	}
	if err := cluster.WaitEffective(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	answer(t, c, name)
}

// answer puts a pod behind a DNS Service in kube-system. Nobody uses a Service that nothing is behind.
func answer(t *testing.T, c *cluster.Cluster, service string) {
	t.Helper()
	slices := c.Client.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem)
	_, err := slices.Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.2"}}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// TestWhatThePolicyNamesNeedsNoDiscovery is the program with a service account that may read Services nowhere: what
// the policy names is all there is.
func TestWhatThePolicyNamesNeedsNoDiscovery(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("named", nil)
	document := fmt.Sprintf(policyWithSpec, `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}}`)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	testfile.Write(t, file, document)
	webhook := s.startWebhook(file, "--kubeconfig", s.asWebhook())
	s.registerAndWait(configuration(s.name, parse(t, document), webhook.endpoint), namespace, func(pod *corev1.Pod) bool {
		return slices.Equal(injectionOf(pod).Nameservers, []string{"169.254.20.10", "10.0.0.10"})
	})
	shown := webhook.debug(t)
	if shown.Discovered == nil || len(shown.Discovered.DNSServers) > 0 || shown.Discovered.Domain != "" {
		t.Errorf("/debug/policy shows as discovered %+v, want nothing", shown.Discovered)
	}
	if len(shown.Gates) > 0 {
		t.Errorf("there are gates: %+v", shown.Gates)
	}
}
