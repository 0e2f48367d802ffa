package integration_test

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
)

// doctorPodFaults are about pods that run, or should.
func doctorPodFaults() map[string]fault {
	return map[string]fault{
		"a policy would cut a pod off from the API host": {
			seed: func(t *testing.T, i *installation) {
				admit := func(cidr string, protocol corev1.Protocol, port int32) networkingv1.NetworkPolicyEgressRule {
					return networkingv1.NetworkPolicyEgressRule{
						To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}},
						Ports: []networkingv1.NetworkPolicyPort{{Protocol: &protocol, Port: new(intstr.FromInt32(port))}},
					}
				}
				// The cache and the Service kubernetes, and not the host of the policy.
				p := denyEgress(admit("169.254.20.10/32", corev1.ProtocolUDP, 53), admit("10.0.0.0/24", corev1.ProtocolTCP, 443))
				createFor(t, i.Client.NetworkingV1().NetworkPolicies("batch"), p)
			},
			check: "egress-policies", status: doctor.Warn, found: "namespace batch: NetworkPolicy default-deny would cut 1 pod off from the API host localhost:",
		},
		"a policy of Cilium cuts a pinned pod off": {
			seed: func(t *testing.T, i *installation) {
				i.createPolicy(t, schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies"}, "CiliumNetworkPolicy", map[string]any{
					"endpointSelector": map[string]any{}, "egressDeny": []any{map[string]any{"toEntities": []any{"host"}}},
				})
			},
			check: "egress-policies", status: doctor.Fail, found: "CiliumNetworkPolicy deny, NetworkPolicy default-deny cuts 1 pod off from the node-local cache: web-0",
		},
		"a policy of Calico cuts a pinned pod off": {
			seed: func(t *testing.T, i *installation) {
				i.createPolicy(t, schema.GroupVersionResource{Group: "crd.projectcalico.org", Version: "v1", Resource: "networkpolicies"}, "NetworkPolicy", map[string]any{
					"order": int64(10), "types": []any{"Egress"},
					"egress": []any{map[string]any{"action": "Deny", "destination": map[string]any{"nets": []any{"169.254.0.0/16"}}}},
				})
			},
			check: "egress-policies", status: doctor.Fail, found: "Calico NetworkPolicy deny",
		},
		"a pod's nameservers are gone": {
			seed: func(t *testing.T, i *installation) {
				pod := plainPod("left-over")
				pod.Labels = map[string]string{policy.LabelPinned: policy.PinnedNodeLocal}
				pod.Spec.DNSPolicy, pod.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"169.254.99.1"}}
				i.createUnseen(t, pod)
			},
			check: "pinned-pods", status: doctor.Fail, found: "nobody in the cluster has its nameservers, 169.254.99.1: 1 pod, left-over",
		},
		"a controller cannot create pods": {
			seed: func(t *testing.T, i *installation) {
				// The words are the API server's, the event is written as a ReplicaSet's controller would.
				message := i.refusal(t)
				now := metav1.Now()
				createFor(t, i.Client.CoreV1().Events("web-shop"), &corev1.Event{
					ObjectMeta:     metav1.ObjectMeta{Name: "refused"},
					InvolvedObject: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Namespace: "web-shop", Name: "web-1"},
					Reason:         "FailedCreate", Message: "Error creating: " + message, Type: corev1.EventTypeWarning, Count: 3,
					FirstTimestamp: now, LastTimestamp: now,
				})
			},
			check: "failed-creates", status: doctor.Fail, found: "namespace web-shop: ReplicaSet web-1 could not create a pod",
		},
		"there is no Lease, and the servers cannot create it": {
			seed:  func(t *testing.T, i *installation) { i.withoutLease(t) },
			check: "detector", status: doctor.Warn, found: "there is no Lease shorthop-system/shorthop-detector",
		},
	}
}

// doctorPathFaults change the path that doctor draws.
func doctorPathFaults() map[string]fault {
	return map[string]fault{
		"a node of the path has no cache": {
			seed: func(t *testing.T, i *installation) {
				i.editCache(t, func(s *appsv1.DaemonSetStatus) { s.NumberAvailable, s.NumberReady, s.NumberUnavailable = 2, 2, 1 })
			},
			check: "node-local-cache", status: doctor.Warn, found: "not available on 1 of 3 nodes", path: "1 node without a cache",
		},
		"nobody owns the cache's address": {
			seed: func(t *testing.T, i *installation) {
				t.Cleanup(func() { i.observeCache(t) })
				sets := i.Client.AppsV1().DaemonSets("kube-system")
				edit(t, "node-local-dns", sets.Get, sets.Update, func(s *appsv1.DaemonSet) {
					s.Spec.Template.Spec.Containers[0].Args = append(s.Spec.Template.Spec.Containers[0].Args, "-setupinterface=false")
				})
				i.observeCache(t)
			},
			check: "node-local-cache", status: doctor.Fail, found: "so no node has the address 169.254.20.10",
			consequences: []doctor.Check{"gates"},
		},
		"the path to the cluster DNS ends at nobody": {
			seed: func(t *testing.T, i *installation) {
				slices := i.Client.DiscoveryV1().EndpointSlices("kube-system")
				found, err := slices.Get(t.Context(), "kube-dns-upstream", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if err := slices.Delete(t.Context(), found.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					found.ResourceVersion = ""
					if _, err := slices.Create(context.WithoutCancel(t.Context()), found, metav1.CreateOptions{}); err != nil {
						t.Error(err)
					}
				})
			},
			// The cache's way is not drawn through a Service that nobody is behind.
			check: "cluster-dns", status: doctor.Pass, found: "10.0.0.10", path: "-> kube-dns 10.0.0.10",
		},
		"caches by a selector that selects none": {
			seed: func(t *testing.T, i *installation) {
				document := strings.Replace(i.policy, "servers: [169.254.20.10],", "servers: [169.254.20.10], daemonSetSelector: {namespace: kube-system, matchLabels: {k8s-app: none}},", 1)
				i.loadPolicy(t, document, i.replicas...)
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] = document })
			},
			check: "node-local-cache", status: doctor.Fail, found: "no DaemonSet is selected by kube-system/k8s-app=none",
			consequences: []doctor.Check{"gates", "custom-zones"}, path: "pod -> 169.254.20.10 -> kube-dns-upstream",
		},
		"nothing answers at the end of the path to the API server": {
			seed:  func(t *testing.T, i *installation) { i.apiServer.Lead(t, "127.0.0.1:1") },
			check: "api-host", status: doctor.Warn, found: "is not reachable from here", path: " -> unknown",
		},
	}
}

// createPolicy teaches the API server a kind of a network plugin, without what the plugin validates, and creates one in
// web-shop, until the end of the test.
func (i *installation) createPolicy(t *testing.T, of schema.GroupVersionResource, kind string, spec map[string]any) {
	t.Helper()
	client, err := dynamic.NewForConfig(i.Config)
	if err != nil {
		t.Fatal(err)
	}
	kinds := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	name := of.Resource + "." + of.Group
	must[*unstructured.Unstructured](t)(kinds.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": name, "annotations": map[string]any{"api-approved.kubernetes.io": "unapproved, for a test"}},
		"spec": map[string]any{
			"group": of.Group, "scope": "Namespaced",
			"names": map[string]any{"kind": kind, "plural": of.Resource},
			"versions": []any{map[string]any{
				"name": of.Version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}, metav1.CreateOptions{}))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := kinds.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		err := cluster.WaitEffective(ctx, func(context.Context) (bool, error) { // its group goes with it
			groups, err := i.Client.Discovery().ServerGroups()
			if err != nil {
				return false, err
			}
			for k := range groups.Groups {
				if groups.Groups[k].Name == of.Group {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": of.GroupVersion().String(), "kind": kind, "metadata": map[string]any{"name": "deny", "namespace": "web-shop"}, "spec": spec,
	}}
	err = cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
		_, err := client.Resource(of).Namespace("web-shop").Create(ctx, object, metav1.CreateOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// refusal returns what the API server says where failurePolicy is Fail and no replica answers it. It asks for a pod that
// the configuration of the installation does not select, of which no review is to fail open.
func (i *installation) refusal(t *testing.T) (message string) {
	t.Helper()
	refuses := i.config.DeepCopy()
	refuses.ObjectMeta = metav1.ObjectMeta{Name: "refuses"}
	refuses.Webhooks = refuses.Webhooks[:1]
	entry := &refuses.Webhooks[0]
	entry.FailurePolicy, entry.TimeoutSeconds, entry.MatchConditions = new(admissionv1.Fail), new(int32(1)), nil
	entry.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: doctorNamespace}}
	entry.ObjectSelector = nil
	configs := i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	must[*admissionv1.MutatingWebhookConfiguration](t)(configs.Create(t.Context(), refuses, metav1.CreateOptions{}))
	defer func() {
		if err := configs.Delete(context.WithoutCancel(t.Context()), refuses.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
		_, err := i.Client.CoreV1().Pods(doctorNamespace).Create(ctx, plainPod("refused"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), entry.Name) {
			message = err.Error()
		}
		return message != "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// withoutLease takes the Lease away and keeps the servers from creating it again, by a quota, until the end of the test.
func (i *installation) withoutLease(t *testing.T) {
	t.Helper()
	const name = "no-leases"
	leases, quotas := i.Client.CoordinationV1().Leases(doctorNamespace), i.Client.CoreV1().ResourceQuotas(doctorNamespace)
	none := corev1.ResourceList{"count/leases.coordination.k8s.io": resource.MustParse("0")}
	quota, err := quotas.Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: none}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := quotas.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		// The servers try again when they next would renew it; here it is put back at once, held by who held it.
		lease := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: "shorthop-detector"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("shorthop-0"), LeaseDurationSeconds: new(int32(1)), RenewTime: &metav1.MicroTime{Time: time.Now()}},
		}
		err := cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
			if _, err := leases.Get(ctx, lease.Name, metav1.GetOptions{}); err == nil {
				return true, nil
			}
			_, err := leases.Create(ctx, lease, metav1.CreateOptions{})
			return err == nil, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	quota.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none} // what the quota controller would write
	must[*corev1.ResourceQuota](t)(quotas.UpdateStatus(t.Context(), quota, metav1.UpdateOptions{}))
	err = cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
		_, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := leases.Delete(t.Context(), "shorthop-detector", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}
