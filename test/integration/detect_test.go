package integration_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/detect"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// What is made of the objects, TestFlavours of internal/detect has; here they are read from a real API server, by somebody who
// may change nothing.
func TestDetectReadsACluster(t *testing.T) {
	t.Parallel()
	i := &installation{Cluster: clustertest.Start(t, cluster.Options{}), t: t}
	i.createDNS()
	must[*corev1.ConfigMap](t)(i.Client.CoreV1().ConfigMaps("kube-system").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kubelet-config"}, Data: map[string]string{"kubelet": "clusterDomain: cluster.local\nclusterDNS: [10.0.0.10]\n"},
	}, metav1.CreateOptions{}))

	grant(t, i.Client, "looks", rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}})
	kubeconfig := kubeconfigAs(t, i.Cluster, "looks")
	var got detect.Document
	err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) { // RBAC is cached
		got = detect.Document{}
		stdout, stderr, code := kubectl(t, "detect", "--kubeconfig", kubeconfig, "-o", "json")
		if code != 0 {
			t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
		}
		if err := json.Unmarshal(stdout, &got); err != nil {
			return false, err
		}
		return !slices.ContainsFunc(got.Unknown, func(u detect.Unknown) bool { return u.About == "daemonsets" || u.About == "configmaps" }), nil
	})
	if err != nil {
		t.Fatal(err, got.Unknown)
	}
	want := map[string]any{"policy": map[string]any{
		"cluster": map[string]any{"domain": "cluster.local", "dnsServers": []any{"10.0.0.10"}},
		"dns": map[string]any{
			"mode": "NodeLocal", "options": []any{map[string]any{"name": "timeout", "value": "1"}, map[string]any{"name": "attempts", "value": "2"}},
			"nodeLocal": map[string]any{"servers": []any{"169.254.20.10"}, "daemonSet": "kube-system/node-local-dns"},
		},
	}}
	if diff := cmp.Diff(want, got.Values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	abouts := map[string]bool{}
	for _, u := range got.Unknown {
		abouts[u.About] = true
	}
	// There is no node, no kube-proxy, and no name of this API server that pods could use.
	if diff := cmp.Diff(map[string]bool{"flavour": true, "kube-proxy": true, "service-host": true}, abouts); diff != "" {
		t.Errorf("unknown (-want +got):\n%s\n%+v", diff, got.Unknown)
	}

	// Who may read nothing learns what is missing, and gets values all the same.
	stdout, _, code := kubectl(t, "detect", "--kubeconfig", kubeconfigAs(t, i.Cluster, "nobody"), "-o", "json")
	var less detect.Document
	if err := json.Unmarshal(stdout, &less); err != nil || code != 0 {
		t.Fatalf("exit code %d, error %v", code, err)
	}
	for _, resource := range []string{"nodes", "namespaces", "services", "endpointslices", "daemonsets", "configmaps"} {
		if !slices.ContainsFunc(less.Unknown, func(u detect.Unknown) bool { return u.About == resource }) {
			t.Errorf("nothing says that %s cannot be read: %+v", resource, less.Unknown)
		}
	}
}
