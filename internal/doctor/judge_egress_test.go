package doctor

import (
	"testing"
)

// egressFaults are the cases of judge_egress.go.
func egressFaults() map[string]fault {
	return map[string]fault{
		"a policy that cuts off pods that ask the cache": {
			func(_ *testing.T, f *Facts) { f.isolate("web", pinnedPod()) },
			"egress-policies", Fail, "cuts 1 pod off from the node-local cache: web-0", nil,
		},
		"a policy that would cut off pods that are created again": {
			func(_ *testing.T, f *Facts) { f.isolate("web", isolatedPod()) },
			"egress-policies", Warn, "would cut 1 pod off", nil,
		},
		"a cluster that knows a plugin's policies, which may not be read": {
			func(_ *testing.T, f *Facts) { f.egress.err = errForbidden() },
			"egress-policies", Unknown, "needs list pods", nil,
		},
	}
}
