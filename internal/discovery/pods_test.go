package discovery_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/discovery"
)

func TestDNSContainers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		containers []corev1.Container
		want       []string
	}{
		"kubeadm":                                {[]corev1.Container{{Name: "coredns", Image: "registry.k8s.io/coredns/coredns:v1.12.0"}}, []string{"coredns"}},
		"OpenShift's dns-default":                {[]corev1.Container{{Name: "dns", Image: "quay.io/x@sha256:1"}, {Name: "kube-rbac-proxy", Image: "quay.io/y@sha256:2"}}, []string{"dns"}},
		"a proxy in front of it":                 {[]corev1.Container{{Name: "kube-rbac-proxy"}, {Name: "dns"}}, []string{"dns"}},
		"GKE's node-local-dns":                   {[]corev1.Container{{Name: "node-cache"}, {Name: "prometheus-to-sd"}}, []string{"node-cache"}},
		"kubespray":                              {[]corev1.Container{{Name: "node-cache"}}, []string{"node-cache"}},
		"RKE2":                                   {[]corev1.Container{{Name: "coredns", Image: "rancher/hardened-coredns:v1"}}, []string{"coredns"}},
		"another name, known by the image":       {[]corev1.Container{{Name: "exporter", Image: "x/exporter"}, {Name: "server", Image: "mirror.example/coredns:1"}}, []string{"server"}},
		"nothing that is known: all may have it": {[]corev1.Container{{Name: "a", Image: "x"}, {Name: "b", Image: "y"}}, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, discovery.DNSContainers(&corev1.Pod{Spec: corev1.PodSpec{Containers: test.containers}})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
