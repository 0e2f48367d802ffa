package integration_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/test/cluster"
)

// readsRedirects is the permission in kube-system that a gate needs where no node owns a cache's address.
var readsRedirects = rbacv1.PolicyRule{
	APIGroups: []string{nodecache.Redirects.Group}, Resources: []string{nodecache.Redirects.Resource}, Verbs: []string{"list", "watch"},
}

// cacheSet creates the DaemonSet of a cache in kube-system, with labels and arguments.
func (s *scope) cacheSet(name string, labels map[string]string, arguments ...string) {
	s.t.Helper()
	pod := map[string]string{"app": name}
	_, err := shared.Client.AppsV1().DaemonSets(metav1.NamespaceSystem).Create(s.t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: pod},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: pod},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "node-cache", Image: "example.com/cache", Args: arguments}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

// webhookFor starts a webhook under a policy for a cache, and returns once it decides.
func (s *scope) webhookFor(nodeLocal string, permissions ...rbacv1.PolicyRule) *process {
	s.t.Helper()
	document := fmt.Sprintf(policyWithSpec, `{cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}, dns: {mode: NodeLocal, nodeLocal: `+nodeLocal+`}}`)
	file := filepath.Join(s.t.TempDir(), "policy.yaml")
	replaceFile(s.t, file, document)
	webhook := s.startWebhook(file, "--kubeconfig", s.asWebhook(append(permissions, readsServices)...))
	namespace := s.namespace("caches", nil)
	s.registerAndWait(configuration(s.name, parse(s.t, document), webhook.endpoint), namespace, func(pod *corev1.Pod) bool {
		return injectionOf(pod).Rule != ""
	})
	return webhook
}

// TestCachesOfNodePoolsAreAddedUp has one DaemonSet for each pool, as a real API server selects them.
func TestCachesOfNodePoolsAreAddedUp(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	labels := map[string]string{"example.com/cache": s.name}
	one, two := "pool-1-"+s.name, "pool-2-"+s.name
	webhook := s.webhookFor(`{maxUnavailable: 10%, daemonSetSelector: {namespace: kube-system, matchLabels: {example.com/cache: `+s.name+`}}}`,
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"daemonsets"}, Verbs: []string{"list", "watch"}})
	status := func(name string, desired, available int32) {
		t.Helper()
		if err := shared.SetDaemonSet(t.Context(), metav1.NamespaceSystem+"/"+name, desired, available); err != nil {
			t.Fatal(err)
		}
	}
	webhook.waitGate(t, gates.KindNodeLocal, false, "no DaemonSet in kube-system has the labels example.com/cache="+s.name)
	s.cacheSet(one, labels)
	webhook.waitGate(t, gates.KindNodeLocal, false, "the DaemonSets want no node (1 of them)")
	status(one, 4, 4)
	webhook.waitGate(t, gates.KindNodeLocal, true, "")
	s.cacheSet("other-"+s.name, map[string]string{"example.com/cache": "other"})
	status("other-"+s.name, 9, 0)
	s.cacheSet(two, labels)
	status(two, 6, 4)
	webhook.waitGate(t, gates.KindNodeLocal, false, "unavailable on 2 of 10 nodes, at most 10% may be")
	status(two, 6, 5)
	webhook.waitGate(t, gates.KindNodeLocal, true, "")
	status(one, 4, 3)
	webhook.waitGate(t, gates.KindNodeLocal, false, "unavailable on 2 of 10 nodes")
	for _, name := range []string{one, two} {
		if err := shared.Client.AppsV1().DaemonSets(metav1.NamespaceSystem).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	webhook.waitGate(t, gates.KindNodeLocal, false, "no DaemonSet in kube-system has the labels")
}

// TestACacheWhoseAddressNobodyHasIsNotInjected takes the arguments of a cache behind a local redirect policy through a
// cluster that does not know such policies, one that has another, and one that redirects the address.
func TestACacheWhoseAddressNobodyHasIsNotInjected(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	name := "unowned-" + s.name
	client, err := dynamic.NewForConfig(shared.Config)
	if err != nil {
		t.Fatal(err)
	}
	s.cacheSet(name, nil, "-localip", "169.254.20.10,10.0.0.10", "-setupinterface=false", "-upstreamsvc", "kube-dns-upstream")
	if err := shared.SetDaemonSet(t.Context(), metav1.NamespaceSystem+"/"+name, 3, 3); err != nil {
		t.Fatal(err)
	}
	nodeLocal := `{servers: [169.254.20.10], daemonSet: kube-system/` + name + `}`
	webhook := s.webhookFor(nodeLocal, readsDaemonSet(name), readsRedirects)
	const nobody = "no node has the address 169.254.20.10"
	webhook.waitGate(t, gates.KindNodeLocal, false, nobody)

	// A webhook of an older chart's Role cannot know, and does not guess.
	unaware := newScope(t)
	unaware.webhookFor(nodeLocal, readsDaemonSet(name)).waitGate(t, gates.KindNodeLocal, true, "")

	createRedirectKind(t, client)
	redirects := client.Resource(nodecache.Redirects).Namespace(metav1.NamespaceSystem)
	redirect := func(name, address string) {
		t.Helper()
		object := map[string]any{
			"apiVersion": "cilium.io/v2", "kind": "CiliumLocalRedirectPolicy", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"redirectFrontend": map[string]any{"addressMatcher": map[string]any{
				"ip": address, "toPorts": []any{map[string]any{"port": "53", "protocol": "UDP", "name": "dns"}},
			}}},
		}
		if err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
			_, err := redirects.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
			return err == nil || apierrors.IsAlreadyExists(err), nil // the kind is new
		}); err != nil {
			t.Fatal(err)
		}
	}
	redirect("other", "169.254.20.11")
	webhook.waitGate(t, gates.KindNodeLocal, false, nobody)
	redirect("cache", "169.254.20.10")
	webhook.waitGate(t, gates.KindNodeLocal, true, "")
	if err := redirects.Delete(t.Context(), "cache", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	webhook.waitGate(t, gates.KindNodeLocal, false, nobody)
}

// createRedirectKind teaches the API server the kind until the test ends, without what Cilium validates.
func createRedirectKind(t *testing.T, client dynamic.Interface) {
	t.Helper()
	kinds := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	name := nodecache.Redirects.Resource + "." + nodecache.Redirects.Group
	_, err := kinds.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": name, "annotations": map[string]any{"api-approved.kubernetes.io": "unapproved, for a test"}},
		"spec": map[string]any{
			"group": nodecache.Redirects.Group, "scope": "Namespaced",
			"names": map[string]any{"kind": "CiliumLocalRedirectPolicy", "plural": nodecache.Redirects.Resource},
			"versions": []any{map[string]any{
				"name": nodecache.Redirects.Version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kinds.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}
