package doctor

import (
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/shorthop/shorthop/internal/nodecache"
)

// podsFaults are the cases of judge_pods.go.
func podsFaults() map[string]fault {
	return map[string]fault{
		"pods whose cache is gone, and its fallback": {
			func(_ *testing.T, f *Facts) { f.pinTo("169.254.99.1", "10.9.9.9") },
			"pinned-pods", Fail, "nobody in the cluster has its nameservers, 169.254.99.1, 10.9.9.9: 1 pod, web-0", nil,
		},
		"pods whose cache is gone": {
			func(_ *testing.T, f *Facts) { f.pinTo("169.254.99.1", "10.0.0.10") },
			"pinned-pods", Warn, "asks 169.254.99.1 first", nil,
		},
		"pods with no nameserver at all": {
			func(_ *testing.T, f *Facts) { f.pinTo() },
			"pinned-pods", Fail, "has dnsPolicy None and no nameserver: 1 pod", nil,
		},
		"pods whose cache the policy does not name any more": {
			func(_ *testing.T, f *Facts) {
				f.pinTo("169.254.99.1")
				f.cachesThere.value = []nodecache.Cache{{Namespace: "dns", Name: "cache", LocalIPs: []string{"169.254.99.1"}}}
			},
			"pinned-pods", Pass, "has a nameserver that is there", nil,
		},
		"pods whose cache is gone, which the policy names": {
			func(_ *testing.T, f *Facts) {
				f.pinTo("169.254.20.10", "10.0.0.10")
				f.daemonSets, f.cacheConfig = nil, nil
			},
			"pinned-pods", Warn, "asks 169.254.20.10 first, which nobody in the cluster has", []Check{"node-local-cache", "custom-zones"},
		},
		"pods whose cache cannot be read": {
			func(_ *testing.T, f *Facts) {
				f.pinTo("169.254.20.10")
				f.daemonSets["kube-system/node-local-dns"] = fact[*appsv1.DaemonSet]{err: errors.New("needs get daemonsets")}
			},
			"pinned-pods", Unknown, "needs get daemonsets", []Check{"node-local-cache", "custom-zones"},
		},
		"caches that may not be looked for": {
			func(_ *testing.T, f *Facts) { f.pinTo("169.254.99.1"); f.cachesThere.err = errForbidden() },
			"pinned-pods", Unknown, "needs list pods", nil,
		},
		"a workload without its pods, now": {
			func(_ *testing.T, f *Facts) {
				f.failedCreates.value = []failedCreate{{"web", "ReplicaSet web-1", `failed calling webhook "open.shorthop.dev": EOF`, testNow().Add(-time.Minute)}}
			},
			"failed-creates", Fail, `namespace web: ReplicaSet web-1 could not create a pod, last at 2026-03-01T11:59:00Z: failed calling webhook`, nil,
		},
		"a workload without its pods, a while ago": {
			func(_ *testing.T, f *Facts) {
				f.failedCreates.value = []failedCreate{{"web", "ReplicaSet web-1", "x", testNow().Add(-time.Hour)}}
			},
			"failed-creates", Warn, "could not create a pod", nil,
		},
		"events that may not be read": {
			func(_ *testing.T, f *Facts) { f.failedCreates.err = errForbidden() },
			"failed-creates", Unknown, "needs list pods", nil,
		},
	}
}
