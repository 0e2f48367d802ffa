//go:build chart

package chart_test

import (
	"context"
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/rotation"
)

// replicaSet stands in for the Deployment's replicas: processes on this machine with the arguments of the installed
// Deployment. The API server reaches them through the installed Service, whose endpoints are the test's.
type replicaSet struct {
	balancer *rotation.Balancer
	running  []*cluster.Webhook
}

// startReplicas starts two replicas of the installed release, and returns once the API server asks them.
func startReplicas(t *testing.T) *replicaSet {
	t.Helper()
	address := ownAddress(t) // endpoints have no loopback addresses
	balancer, err := rotation.NewBalancerOn(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = balancer.Close() })
	s := &replicaSet{balancer: balancer}
	s.publish(t, address)
	for range 2 {
		s.add(t)
	}
	if err := cluster.WaitEffective(t.Context(), injected); err != nil {
		t.Fatal(err)
	}
	return s
}

// injected reports whether a pod comes back injected, created as a dry run.
func injected(ctx context.Context) (bool, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
	created, err := newest.Client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err == nil && rotation.Mutated(created), err
}

// add starts one with the arguments that the Deployment has now.
func (s *replicaSet) add(t *testing.T) {
	t.Helper()
	webhook := startSelfManaged(t, kubeconfigOf(t, release), "--shutdown-delay=2s")
	if err := s.balancer.Add(webhook); err != nil {
		t.Fatal(err)
	}
	s.running = append(s.running, webhook)
}

// roll replaces the replicas one after the other, as the Deployment's strategy has it: a new one is ready before an old one ends.
func (s *replicaSet) roll(t *testing.T) {
	t.Helper()
	for range len(s.running) {
		s.add(t)
		old := s.running[0]
		s.running = s.running[1:]
		if code, err := old.Stop(t.Context()); err != nil || code != 0 {
			t.Errorf("a replica ends with exit code %d, %v", code, err)
		}
		s.balancer.Remove(old)
	}
}

// publish makes the balancer, on an address of this machine, the only endpoint of the installed Service.
func (s *replicaSet) publish(t *testing.T, address string) {
	t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: release + "-test", Labels: map[string]string{discoveryv1.LabelServiceName: release}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("webhook"), Port: new(int32(s.balancer.Port)), Protocol: new(corev1.ProtocolTCP)}},
	}
	slices := newest.Client.DiscoveryV1().EndpointSlices(namespace)
	if _, err := slices.Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := slices.Delete(context.WithoutCancel(t.Context()), slice.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// ownAddress is one of this machine that is no loopback address.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Fatal("this machine has no address but loopback ones: an API server reaches no endpoints")
	return ""
}
