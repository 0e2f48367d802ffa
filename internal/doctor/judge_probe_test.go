package doctor

import (
	"testing"

	"github.com/shorthop/shorthop/internal/nodeprobe"
)

// probeFaults are the cases of judge_probe.go.
func probeFaults() map[string]fault {
	return map[string]fault{
		"nodes on which nothing is wrong": {
			func(_ *testing.T, f *Facts) { f.probe(nil, nil) },
			"node-probe", Pass, "answer on 2 nodes; 3 more were not asked", nil,
		},
		"a cache that does not answer on a node": {
			func(_ *testing.T, f *Facts) {
				f.probe(nil, []nodeprobe.Answer{{Kind: "dns", Target: "169.254.20.10", Error: "no answer within 2s"}, {Kind: "dns", Target: "10.0.0.10"}})
			},
			"node-probe", Fail, "1 node of 2 (node-1): the cache at 169.254.20.10 does not answer: no answer within 2s", nil,
		},
		"a cache that only annotations choose does not answer": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "  dns:\n    mode: NodeLocal\n", "  podOverrides: {allowed: [mode]}\n  dns:\n    mode: Options\n")
				f.probe(nil, []nodeprobe.Answer{{Kind: "dns", Target: "169.254.20.10", Error: "no answer within 2s"}})
			},
			"node-probe", Warn, "the cache at 169.254.20.10 does not answer", nil,
		},
		"the cluster DNS does not answer": {
			func(_ *testing.T, f *Facts) {
				a := []nodeprobe.Answer{{Kind: "dns", Target: "10.0.0.10", Error: "refused"}}
				f.probe(a, a)
			},
			"node-probe", Fail, "2 nodes of 2 (node-0, node-1): the cluster DNS at 10.0.0.10 does not answer: refused", nil,
		},
		"nodes that do not reach the API host": {
			func(_ *testing.T, f *Facts) {
				f.probe(nil, []nodeprobe.Answer{{Kind: "api", Target: "api.example.com:443", Error: "timeout"}})
			},
			"node-probe", Fail, "the API host api.example.com:443 is not reached: timeout", nil,
		},
		"a node on which no pod runs": {
			func(_ *testing.T, f *Facts) { f.probe(nil, nil); f.probed.value.nodes[1].err = errForbidden() },
			"node-probe", Unknown, "1 node of 2 (node-1): needs list pods", nil,
		},
		"nodes that may not be asked": {
			func(_ *testing.T, f *Facts) { f.probed.err = errForbidden() },
			"node-probe", Unknown, "needs list pods", nil,
		},
	}
}
