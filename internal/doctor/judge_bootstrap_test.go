package doctor

import (
	"testing"

	"github.com/shorthop/shorthop/internal/audit"
)

// bootstrapFaults are the cases of judge_bootstrap.go.
func bootstrapFaults() map[string]fault {
	return map[string]fault{
		"the network waits for DNS, and DNS for the network": {
			func(_ *testing.T, f *Facts) {
				pod := cniAgent()
				pod.Pod.Metadata = pod.Metadata.PodMetadata
				f.bootstrap.value = []audit.Pod{*pod}
			},
			"bootstrap-pods", Fail, "namespace calico-system: DaemonSet cni-node finds the API server by the name api.example.com", nil,
		},
		"the network waits for DNS by a host that nobody recorded": {
			func(_ *testing.T, f *Facts) {
				pod := cniAgent()
				pod.Metadata.Annotations = nil
				pod.Pod.Metadata = pod.Metadata.PodMetadata
				f.bootstrap.value = []audit.Pod{*pod}
			},
			"bootstrap-pods", Warn, "has the policy's host api.example.com without a record", nil,
		},
		"pods may not be listed": {
			func(_ *testing.T, f *Facts) { f.bootstrap.err = errForbidden() },
			"bootstrap-pods", Unknown, "needs list pods", nil,
		},
	}
}
