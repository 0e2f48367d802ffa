package doctor

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodecache"
)

// pools makes the policy select the caches of two node pools.
func (f *Facts) pools(t *testing.T, unavailable int32) {
	f.setPolicy(t, "20.10]", "20.10], daemonSetSelector: {namespace: kube-system, matchLabels: {k8s-app: node-local-dns}}")
	config := f.cacheConfig["kube-system/node-local-dns"]
	f.daemonSets, f.cacheConfig = nil, nil
	var names []string
	for name, missing := range map[string]int32{"node-local-dns-a": 0, "node-local-dns-b": unavailable} {
		set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}}
		set.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: 3, NumberUnavailable: missing}
		names = append(names, "kube-system/"+name)
		setFact(&f.daemonSets, "kube-system/"+name, fact[*appsv1.DaemonSet]{value: set})
		setFact(&f.cacheConfig, "kube-system/"+name, config)
	}
	setFact(&f.selected, "kube-system/k8s-app=node-local-dns", fact[[]string]{value: names})
}

// behindRedirect puts the cache into the pod network, without an interface.
func (f *Facts) behindRedirect(redirects ...nodecache.Redirect) {
	set := f.daemonSets["kube-system/node-local-dns"].value
	set.Namespace, set.Name = "kube-system", "node-local-dns"
	set.Spec.Template.Spec.Containers = []corev1.Container{{Args: []string{"-localip", "169.254.20.10", "-setupinterface=false"}}}
	setFact(&f.redirects, "kube-system", fact[[]nodecache.Redirect]{value: redirects})
}

func TestJudgeCaches(t *testing.T) {
	t.Parallel()
	redirect := func(address string) nodecache.Redirect {
		return nodecache.Redirect{Namespace: "kube-system", Name: "nodelocaldns", Address: netip.MustParseAddr(address)}
	}
	const selector = "kube-system/k8s-app=node-local-dns"
	for name, test := range map[string]struct {
		change func(*testing.T, *Facts)
		check  Check
		status Status
		want   string // in what is found or told, or in what to do
	}{
		"caches of two pools":         {func(t *testing.T, f *Facts) { f.pools(t, 0) }, "node-local-cache", Pass, "the 2 DaemonSets of " + selector + " are available on 6 nodes"},
		"one of six is not available": {func(t *testing.T, f *Facts) { f.pools(t, 1) }, "node-local-cache", Warn, "not available on 1 of 6 nodes, which is within maxUnavailable"},
		"two of six are not":          {func(t *testing.T, f *Facts) { f.pools(t, 2) }, "node-local-cache", Fail, "not available on 2 of 6 nodes, 1 allowed"},
		"nodes without any of them":   {func(t *testing.T, f *Facts) { f.pools(t, 0); f.nodes.value = 8 }, "node-local-cache", Warn, "2 nodes of 8 without a cache"},
		"their zones count":           {func(t *testing.T, f *Facts) { f.pools(t, 0) }, "custom-zones", Pass, ""},
		"nothing is selected": {func(t *testing.T, f *Facts) {
			f.pools(t, 0)
			setFact(&f.selected, selector, fact[[]string]{})
		}, "node-local-cache", Fail, "no DaemonSet is selected by " + selector + ": new pods keep the cluster DNS"},
		"they cannot be listed": {func(t *testing.T, f *Facts) {
			f.pools(t, 0)
			setFact(&f.selected, selector, fact[[]string]{err: errors.New("needs list daemonsets")})
		}, "node-local-cache", Unknown, "needs list daemonsets"},
		"another name than the policy's": {func(_ *testing.T, f *Facts) {
			f.daemonSets, f.cacheConfig = nil, nil
			f.otherCaches = []nodecache.Cache{{Namespace: "kube-system", Name: "nodelocaldns", LocalIPs: []string{"169.254.25.10"}}}
		}, "node-local-cache", Fail, "(there is kube-system/nodelocaldns on 169.254.25.10)"},

		"an address that nobody has":    {func(_ *testing.T, f *Facts) { f.behindRedirect() }, "node-local-cache", Fail, "no node has the address 169.254.20.10, and no CiliumLocalRedirectPolicy in kube-system has it: nobody listens there"},
		"another address is redirected": {func(_ *testing.T, f *Facts) { f.behindRedirect(redirect("169.254.20.11")) }, "node-local-cache", Fail, "nobody listens there"},
		"the address is redirected":     {func(_ *testing.T, f *Facts) { f.behindRedirect(redirect("169.254.20.10")) }, "node-local-cache", Pass, "CiliumLocalRedirectPolicy kube-system/nodelocaldns redirects 169.254.20.10"},
		"redirects cannot be read": {func(_ *testing.T, f *Facts) {
			f.behindRedirect()
			setFact(&f.redirects, "kube-system", fact[[]nodecache.Redirect]{err: errors.New("needs list ciliumlocalredirectpolicies")})
		}, "node-local-cache", Unknown, "needs list ciliumlocalredirectpolicies"},
		"behind a redirect, the cache binds every address": {func(_ *testing.T, f *Facts) {
			f.behindRedirect(redirect("169.254.20.10"))
			f.cache().args, f.cache().corefiles = nil, []corefile.File{{Text: ". {\n bind 0.0.0.0\n}\n"}}
		}, "node-local-cache", Pass, "redirects 169.254.20.10"},
		"the cache binds every address, and names one": {func(_ *testing.T, f *Facts) {
			set := f.daemonSets["kube-system/node-local-dns"].value
			set.Spec.Template.Spec.HostNetwork = true
			set.Spec.Template.Spec.Containers = []corev1.Container{{Args: []string{"-localip", "169.254.20.25"}}}
			f.cache().args, f.cache().corefiles = []string{"-localip", "169.254.20.25"}, []corefile.File{{Text: ". {\n bind 0.0.0.0\n}\n"}}
		}, "node-local-cache", Fail, "listens on 169.254.20.25, and spec.dns points pods at 169.254.20.10"},

		"a fallback that nobody is behind": {func(t *testing.T, f *Facts) {
			f.setPolicy(t, "20.10]", "20.10], fallbackServers: [10.0.0.99]")
			f.idleServices = []discovery.Service{dnsServiceAt("old", "10.0.0.99")}
		}, "cluster-dns", Warn, "falls back to 10.0.0.99, the address of Service kube-system/old, which has no endpoints"},
		"a cluster DNS that nobody is behind": {func(_ *testing.T, f *Facts) {
			f.dnsServices.value = []discovery.Service{dnsServiceAt("coredns", "10.0.0.20")}
			f.idleServices = []discovery.Service{dnsServiceAt("kube-dns", "10.0.0.10")}
		}, "cluster-dns", Fail, "cluster.dnsServers has 10.0.0.10, the address of Service kube-system/kube-dns, which has no endpoints"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			test.change(t, f)
			for _, r := range Judge(f).Checks {
				if r.Check != test.check {
					continue
				}
				if all := strings.Join(append(r.Items, r.Found, r.Do), "\n"); r.Status != test.status || !strings.Contains(all, test.want) {
					t.Errorf("%s is %s, want %s with %q:\n%s", r.Check, r.Status, test.status, test.want, all)
				}
			}
		})
	}
}
