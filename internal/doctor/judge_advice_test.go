package doctor

import (
	"testing"
)

// adviceFaults are the cases of judge_advice.go.
func adviceFaults() map[string]fault {
	return map[string]fault{
		"advice is applied nowhere": {
			func(*testing.T, *Facts) {},
			"advice", Pass, "not needed", nil,
		},
		"advice is applied, and there is none": {
			func(t *testing.T, f *Facts) {
				f.applyAdvice(t)
				f.say(t, 0, `{}`)
			},
			"advice", Warn, "pod a has no advice", nil,
		},
		"the evidence is old": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-01T12:00:00Z", "observed": 5, "workloads": 9}}}`)
			},
			"advice", Warn, "the evidence is 28 days old", nil,
		},
		"the last run failed": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-03-01T11:00:00Z", "error": "no DNS pods found", "complete": "2026-03-01T11:00:00Z"}}`)
			},
			"advice", Warn, "the last run of the advisor failed: no DNS pods found", nil,
		},
		"no run ends well any more": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-02-26T12:00:00Z", "succeeded": "2026-02-26T12:00:00Z", "complete": "2026-02-26T12:00:00Z"}}`)
			},
			"advice", Warn, "no run of the advisor has ended well for 3 days", nil,
		},
		"the advisor's evidence lacks something": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-03-01T11:00:00Z", "succeeded": "2026-03-01T11:00:00Z", "complete": "2026-02-20T12:00:00Z", "incomplete": ["1 of 3 logs could not be read"]}}`)
			},
			"advice", Warn, "the advisor's evidence has lacked something for 9 days: 1 of 3 logs could not be read", nil,
		},
		"advice rests on a run of late": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-03-01T11:00:00Z", "succeeded": "2026-03-01T11:00:00Z", "complete": "2026-03-01T11:00:00Z", "logs": 2, "of": 3, "observed": 5, "workloads": 9}}`)
			},
			"advice", Pass, "7 workloads known: the last query that changed it is 24 hours old; the last run ended 1h0m0s ago, and told of 5 of 9 workloads, from 2 of 3 logs", nil,
		},
	}
}
