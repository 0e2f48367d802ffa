package nodecache_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/nodecache"
)

func TestOf(t *testing.T) {
	t.Parallel()
	hostPort := func(pod *corev1.PodSpec) {
		pod.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 53, HostPort: 53}}
	}
	for name, test := range map[string]struct {
		image, arguments string
		script           string // of a shell
		change           func(*corev1.PodSpec)
		want             nodecache.Cache // without its name
		not              bool            // a cache
		portless         bool            // it does not say that it serves DNS
		env              []corev1.EnvVar
	}{
		"an argument of that name of something else":   {arguments: "--localip=10.0.0.1 --setupinterface=false", portless: true, not: true, want: nodecache.Cache{LocalIPs: []string{"10.0.0.1"}, Unowned: true}},
		"the program tells":                            {arguments: "/node-cache -localip 169.254.20.10", portless: true, want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}}},
		"an image of another name, and its Corefile":   {image: "example.com/dns/cache:1", arguments: "-localip 169.254.20.10 -conf /etc/Corefile", portless: true, want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}}},
		"CoreDNS, which has no addresses in arguments": {image: "coredns/coredns:1.14", arguments: "-conf /etc/coredns/Corefile", portless: true, not: true},
		"variables of the template, one of another":    {arguments: "-localip $(LOCAL),$(BOTH)", env: []corev1.EnvVar{{Name: "LOCAL", Value: "169.254.20.10"}, {Name: "BOTH", Value: "fd00::$(TEN)"}, {Name: "TEN", Value: "10"}}, want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}, Unread: []string{"fd00::$(TEN)"}}},
		"a variable of an earlier one":                 {arguments: "-localip=$(BOTH)", env: []corev1.EnvVar{{Name: "TEN", Value: "10"}, {Name: "BOTH", Value: "fd00::$(TEN)"}}, want: nodecache.Cache{LocalIPs: []string{"fd00::10"}}},
		"a variable whose value is elsewhere":          {arguments: "-localip 169.254.20.10,$(HOST)", env: []corev1.EnvVar{{Name: "HOST", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"}}}}, want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}, Unread: []string{"$(HOST)"}}},
		"nothing but a variable that is not there":     {arguments: "-localip $(LOCAL)", want: nodecache.Cache{Unread: []string{"$(LOCAL)"}}},
		"a variable that is escaped":                   {arguments: "-localip $$(LOCAL)", env: []corev1.EnvVar{{Name: "LOCAL", Value: "169.254.20.10"}}, want: nodecache.Cache{Unread: []string{"$(LOCAL)"}}},
		"the manifest of Kubernetes": {
			arguments: "-localip 169.254.20.10,10.0.0.10 -conf /etc/Corefile -upstreamsvc kube-dns-upstream",
			change:    func(p *corev1.PodSpec) { p.HostNetwork = true },
			want:      nodecache.Cache{LocalIPs: []string{"169.254.20.10", "10.0.0.10"}, Upstream: "kube-dns-upstream"},
		},
		"flags with two dashes, joined": {
			arguments: "--localip=fd00::10 --upstreamsvc=up",
			want:      nodecache.Cache{LocalIPs: []string{"fd00::10"}, Upstream: "up"},
		},
		"the last of a flag that is there twice":         {arguments: "-localip=10.0.0.1 -localip=10.0.0.2", want: nodecache.Cache{LocalIPs: []string{"10.0.0.2"}}},
		"behind a local redirect policy":                 {arguments: "-localip 169.254.20.10 -setupinterface=false", want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}, Unowned: true}},
		"no interface, in another spelling":              {arguments: "--setupinterface=F", want: nodecache.Cache{Unowned: true}},
		"an interface":                                   {arguments: "-localip 169.254.20.10 -setupinterface=true", want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}}},
		"a value that is an argument of its own is none": {arguments: "-localip 169.254.20.10 -setupinterface false", want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}}},
		"no interface, on the node's network":            {arguments: "-setupinterface=false", change: func(p *corev1.PodSpec) { p.HostNetwork = true }},
		"no interface, with the processes of the node":   {arguments: "-setupinterface=false", change: func(p *corev1.PodSpec) { p.HostPID = true }},
		"no interface, but a port of the node":           {arguments: "-setupinterface=false", change: hostPort},
		"only the image tells":                           {image: "registry.k8s.io/dns/k8s-dns-node-cache:1.26.4"},
		"the example of Cilium's documentation":          {arguments: "-localip 0.0.0.0 -upstreamsvc kube-dns-upstream -skipteardown=true -setupinterface=false -setupiptables=false", want: nodecache.Cache{Upstream: "kube-dns-upstream", Unowned: true}},
		"another DaemonSet":                              {arguments: "--kubeconfig=/etc/x -v 2", not: true},
		"what is no address":                             {arguments: "-localip __PILLAR__LOCAL__DNS__,169.254.20.10", want: nodecache.Cache{LocalIPs: []string{"169.254.20.10"}}},
		"in a shell, as KubeOne has it": {
			script: "sleep 10;\nexec /node-cache -localip 169.254.20.10 -conf /etc/Corefile -upstreamsvc 'kube-dns-upstream';",
			want:   nodecache.Cache{LocalIPs: []string{"169.254.20.10"}, Upstream: "kube-dns-upstream"},
		},
		"a shell that does something else": {script: "exec /dnsmasq --local=/cluster.local/ -k", not: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "cache"}}
			pod := &set.Spec.Template.Spec
			pod.Containers = []corev1.Container{{Image: test.image, Args: strings.Fields(test.arguments), Env: test.env}}
			if !test.portless {
				pod.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 53}}
			}
			if test.script != "" {
				pod.Containers[0].Command = []string{"/bin/sh", "-c", test.script}
			}
			if test.change != nil {
				test.change(pod)
			}
			test.want.Namespace, test.want.Name = "dns", "cache"
			got, found := nodecache.Of(set)
			if found == test.not {
				t.Errorf("is a cache: %t", found)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestNobodys(t *testing.T) {
	t.Parallel()
	policyFor := func(frontend string) []nodecache.Redirect {
		var object map[string]any
		if err := yaml.Unmarshal([]byte("{metadata: {namespace: dns, name: r}, spec: {redirectFrontend: "+frontend+"}}"), &object); err != nil {
			t.Fatal(err)
		}
		if r, ok := nodecache.RedirectOf(&unstructured.Unstructured{Object: object}); ok {
			return []nodecache.Redirect{r}
		}
		return nil
	}
	const dns = `toPorts: [{port: "53", protocol: UDP}, {port: "53", protocol: TCP}]`
	servers := []string{"169.254.20.10", "fe80::10", "10.0.0.10", "fd00::10"}
	for name, test := range map[string]struct {
		owned     bool
		redirects []nodecache.Redirect
		want      []string
	}{
		"a Service, or an address of a private network, may lead anywhere": {want: []string{"169.254.20.10", "fe80::10"}},
		"the cache owns them":           {owned: true},
		"one is redirected":             {redirects: policyFor(`{addressMatcher: {ip: 169.254.20.10, ` + dns + `}}`), want: []string{"fe80::10"}},
		"another address is":            {redirects: policyFor(`{addressMatcher: {ip: 169.254.20.11, ` + dns + `}}`), want: []string{"169.254.20.10", "fe80::10"}},
		"another port is":               {redirects: policyFor(`{addressMatcher: {ip: 169.254.20.10, toPorts: [{port: "80", protocol: TCP}]}}`), want: []string{"169.254.20.10", "fe80::10"}},
		"a Service is":                  {redirects: policyFor(`{serviceMatcher: {serviceName: kube-dns, namespace: kube-system}}`), want: []string{"169.254.20.10", "fe80::10"}},
		"a policy that says nothing":    {redirects: policyFor(`{}`), want: []string{"169.254.20.10", "fe80::10"}},
		"a policy of unexpected fields": {redirects: policyFor(`{addressMatcher: {ip: 169.254.20.10, toPorts: [53, {port: 53}]}}`), want: []string{"169.254.20.10", "fe80::10"}},
	} {
		cache := nodecache.Cache{Unowned: !test.owned}
		if diff := cmp.Diff(test.want, cache.Nobodys(servers, test.redirects)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
