package doctor

import (
	"testing"
)

// upstreamFaults are the cases of judge_upstream.go.
func upstreamFaults() map[string]fault {
	return map[string]fault{
		"no image is known": {
			func(*testing.T, *Facts) {},
			"upstream-dns", Pass, "not needed", nil,
		},
		"the cluster DNS asks the outside about svc": {
			func(t *testing.T, f *Facts) {
				f.knowImages(t)
				f.say(t, 0, `{"gates": [{"gate": "upstream", "target": "10.96.0.10", "state": "forwarded", "reason": "svc_not_local"}]}`)
			},
			"upstream-dns", Warn, "10.96.0.10 asks the outside about names that end in svc", nil,
		},
		"the cluster DNS invents addresses, and a namespace is a name outside": {
			func(t *testing.T, f *Facts) {
				f.knowImages(t)
				f.say(t, 0, `{"gates": [{"gate": "upstream", "target": "10.96.0.10", "state": "closed", "reason": "upstream_invents_answers", "lastError": "answered x", "publicNamespaces": ["dev"]}]}`)
			},
			"upstream-dns", Warn, "pod a: 10.96.0.10 (upstream_invents_answers): answered x", nil,
		},
		"the cluster DNS answers svc itself": {
			func(t *testing.T, f *Facts) {
				f.knowImages(t)
				f.say(t, 0, `{"gates": [{"gate": "upstream", "target": "10.96.0.10", "state": "local", "open": true}]}`)
			},
			"upstream-dns", Pass, "answered as it must be by 10.96.0.10", nil,
		},
	}
}
