package doctor

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// nodelocalFaults are the cases of judge_nodelocal.go.
func nodelocalFaults() map[string]fault {
	return map[string]fault{
		"nodes without a cache": {
			func(_ *testing.T, f *Facts) { f.nodes.value = 7 },
			"node-local-cache", Warn, "2 nodes of 7 without a cache (kube-system/node-local-dns)", nil,
		},
		"nodes may not be listed": {
			func(_ *testing.T, f *Facts) { f.nodes.err = errors.New("needs list nodes") },
			"node-local-cache", Unknown, "needs list nodes", nil,
		},
		"an update of the cache within a percentage, rounded up": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().NumberUnavailable = 1 }, // 10% of 5
			"node-local-cache", Warn, "not available on 1 of 5 nodes", nil,
		},
		"the cache is gone on too many nodes": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().NumberUnavailable = 2 },
			"node-local-cache", Fail, "not available on 2 of 5 nodes, 1 allowed", nil,
		},
		"the cache runs nowhere": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().DesiredNumberScheduled = 0 },
			"node-local-cache", Fail, "runs on no node", nil,
		},
		"there is no cache": {
			func(_ *testing.T, f *Facts) { f.daemonSets, f.cacheConfig = nil, nil },
			"node-local-cache", Fail, "there is no DaemonSet kube-system/node-local-dns", []Check{"custom-zones"},
		},
		"the cache's Corefile breaks off": {
			func(_ *testing.T, f *Facts) { f.cache().corefiles[0].Text += "corp.test {\n" },
			"node-local-cache", Unknown, "DaemonSet kube-system/node-local-dns: ", nil,
		},
		"the cache does not say where it listens": {
			func(_ *testing.T, f *Facts) { f.cache().args = nil },
			"node-local-cache", Warn, "neither -localip nor a bind", nil,
		},
		"the cache listens on a variable that only its container knows": {
			func(_ *testing.T, f *Facts) {
				f.cache().args = []string{"-localip", "$(LOCAL)"}
				f.daemonSets["kube-system/node-local-dns"].value.Spec.Template.Spec.Containers = []corev1.Container{{Args: f.cache().args, Ports: []corev1.ContainerPort{{ContainerPort: 53}}}}
			},
			"node-local-cache", Unknown, "has $(LOCAL) in -localip, which only its containers know, so whether it listens on 169.254.20.10 is not known", nil,
		},
		"a cache without a DaemonSet": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "20.10]", "20.10], daemonSet: \"\"") },
			"node-local-cache", Pass, "names no DaemonSet", nil,
		},
		"a rule alone uses the cache": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.setPolicy(t, "    mode: NodeLocal\n    nodeLocal: {servers: [169.254.20.10]}", "    nodeLocal: {servers: [169.254.20.10]}\n  rules: [{name: web, dns: {mode: NodeLocal, nodeLocal: {servers: [169.254.20.11]}}}]")
			},
			"node-local-cache", Fail, "rule web points pods at 169.254.20.11", nil,
		},
		"a rule alone uses the default cache, which is missing": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "  dns:\n    mode: NodeLocal\n    nodeLocal: {servers: [169.254.20.10]}", "  rules: [{name: web, dns: {mode: NodeLocal}}]")
				f.daemonSets, f.cacheConfig = nil, nil
			},
			"node-local-cache", Fail, "there is no DaemonSet kube-system/node-local-dns: new pods keep the cluster DNS", []Check{"custom-zones"},
		},
		"annotations may choose a cache that is missing": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.daemonSets, f.cacheConfig = nil, nil
			},
			"node-local-cache", Warn, "new pods that ask for mode NodeLocal by annotation keep the cluster DNS", []Check{"custom-zones"},
		},
		"annotations may choose a cache that runs nowhere": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.cacheStatus().DesiredNumberScheduled = 0
			},
			"node-local-cache", Warn, "runs on no node: new pods that ask", nil,
		},
		"annotations may choose a cache that listens elsewhere": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.cache().args[1] = "169.254.20.11"
			},
			"node-local-cache", Fail, "spec.dns points pods at 169.254.20.10", nil,
		},
		"annotations may not choose the cache that is missing": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "spec:\n  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}\n  serviceHost: {host: api.example.com}\n  dns:\n    mode: NodeLocal\n",
					"spec:\n  podOverrides: {allowed: [ndots]}\n  serviceHost: {host: api.example.com}\n  dns:\n    mode: Options\n")
				f.daemonSets, f.cacheConfig = nil, nil
			},
			"node-local-cache", Pass, notUsed, nil,
		},
	}
}
