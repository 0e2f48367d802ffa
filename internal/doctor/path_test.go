package doctor

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

// drawn are the paths as they are shown, with their notes.
func drawn(f *Facts) (lines []string) {
	for _, path := range Judge(f).Paths {
		lines = append(lines, path.Of+": "+path.String())
		lines = append(lines, path.Notes...)
		for _, hop := range path.Hops {
			if hop.From == "" {
				lines = append(lines, "no source of "+hop.Name)
			}
		}
	}
	return lines
}

func TestPaths(t *testing.T) {
	t.Parallel()
	const api = "api: pod -> " + testHost + ":443 -> the API server"
	for name, test := range map[string]struct {
		change func(*Facts)
		want   []string
	}{
		"a cache on every node": {
			func(*Facts) {},
			[]string{"dns: pod -> 169.254.20.10 node-local-dns (5 of 5 nodes) -> kube-dns 10.0.0.10 -> the cluster DNS (2 pods)", api},
		},
		"two nodes that the cache is not for, on one it is not available, and a Service of its own": {
			func(f *Facts) {
				f.nodes.value = 7
				f.daemonSets["kube-system/node-local-dns"].value.Status.NumberUnavailable = 1
				f.dnsServices.value = append(f.dnsServices.value, dnsServiceAt("kube-dns-upstream", "10.0.0.11"))
				f.endpoints["kube-system/kube-dns-upstream"] = behind{1, 1}
			},
			[]string{"dns: pod -> 169.254.20.10 node-local-dns (4 of 7 nodes) -> kube-dns-upstream 10.0.0.11 -> the cluster DNS (1 pod)",
				"3 nodes without a cache: pods there have only their fallback servers", api},
		},
		"a DaemonSet that is not there": {
			func(f *Facts) { f.daemonSets = nil },
			[]string{"dns: pod -> 169.254.20.10 -> kube-dns 10.0.0.10 -> the cluster DNS (2 pods)", api},
		},
		"endpoints that cannot be read": {
			func(f *Facts) { f.endpoints = nil },
			[]string{"dns: pod -> 169.254.20.10 node-local-dns (5 of 5 nodes) -> kube-dns 10.0.0.10 -> the cluster DNS", api},
		},
		"Services that cannot be read": {
			func(f *Facts) { f.dnsServices.value, f.dnsServices.err = nil, errors.New("needs list services") },
			[]string{"dns: pod -> 169.254.20.10 node-local-dns (5 of 5 nodes) -> unknown", api},
		},
		"a host that does not answer from here": {
			func(f *Facts) { f.apiHosts[0].served.err = errors.New("timeout") },
			[]string{"dns: pod -> 169.254.20.10 node-local-dns (5 of 5 nodes) -> kube-dns 10.0.0.10 -> the cluster DNS (2 pods)", "api: pod -> " + testHost + ":443 -> unknown"},
		},
		"mode Options, and no host": {
			func(f *Facts) {
				for i := range f.replicas.value {
					spec := &f.replicas.value[i].debug.value.Document.Spec
					spec.DNS.Mode, spec.ServiceHost = policy.DNSModeOptions, nil
				}
			},
			[]string{"dns: pod -> kube-dns 10.0.0.10 -> the cluster DNS (2 pods)",
				"DaemonSet kube-system/node-local-dns answers first where kubelets give pods 169.254.20.10",
				"api: pod -> the Service default/kubernetes -> the API server"},
		},
		"mode Options beside a cache on the cluster DNS's address": {
			func(f *Facts) {
				for i := range f.replicas.value {
					f.replicas.value[i].debug.value.Document.Spec.DNS.Mode = policy.DNSModeOptions
				}
				f.cache().args = []string{"-localip", "169.254.20.10,10.0.0.10"}
			},
			[]string{"dns: pod -> kube-dns 10.0.0.10 -> the cluster DNS (2 pods)",
				"DaemonSet kube-system/node-local-dns has 10.0.0.10 on its nodes too, and answers there first but for kube-proxy in mode ipvs and for Cilium in its place", api},
		},
		"mode Options beside a cache on the cluster DNS's address, in mode ipvs": {
			func(f *Facts) {
				for i := range f.replicas.value {
					f.replicas.value[i].debug.value.Document.Spec.DNS.Mode = policy.DNSModeOptions
				}
				f.cache().args = []string{"-localip", "169.254.20.10,10.0.0.10"}
				f.proxy = nodecache.Proxy{Mode: "ipvs", From: "DaemonSet kube-system/kube-proxy"}
			},
			[]string{"dns: pod -> kube-dns 10.0.0.10 -> the cluster DNS (2 pods)",
				"DaemonSet kube-system/node-local-dns has 10.0.0.10 on its nodes too, in vain: kube-proxy in mode ipvs takes the packets first (DaemonSet kube-system/kube-proxy)", api},
		},
		"no policy": {
			func(f *Facts) { f.replicas.value, f.configMap.value = nil, nil },
			nil,
		},
	} {
		f := healthyFacts(t, newIssuer(t))
		f.endpoints = map[string]behind{"kube-system/kube-dns": {2, 2}}
		test.change(f)
		if got := drawn(f); !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}
