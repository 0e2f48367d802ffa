package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shorthop/shorthop/internal/advicefile"
)

// advisorMetrics tell how runs of the advisor end. They have no series where this
// server follows none.
type advisorMetrics struct {
	failing, success, complete, raise *prometheus.GaugeVec
}

func newAdvisorMetrics(r prometheus.Registerer) advisorMetrics {
	m := advisorMetrics{
		failing: scanGauge("shorthop_advisor_last_run_failed",
			"1 if the last run of the advisor could not do what it had to, else 0. Not there without advisor."),
		success: scanGauge("shorthop_advisor_last_success_timestamp_seconds",
			"Unix time at which the last run of the advisor ended that could do what it had to; until one is known, when this replica started. Not there without advisor."),
		complete: scanGauge("shorthop_advisor_last_complete_timestamp_seconds",
			"Unix time of the last run of the advisor whose evidence lacked nothing; until there was one, of the first run, or when this replica started. Not there without advisor."),
		raise: scanGauge("shorthop_advisor_last_raise_timestamp_seconds",
			"Unix time at which a run of the advisor last raised what a name needs. Not there before the first time."),
	}
	r.MustRegister(m.failing, m.success, m.complete, m.raise)
	return m
}

// AdvisorRan says how the last run of the advisor ended; nil is for none that is known
// since at.
func (m *Metrics) AdvisorRan(run *advicefile.Run, at time.Time) {
	a := &m.advisor
	if run == nil {
		run = &advicefile.Run{}
	}
	set := func(gauge *prometheus.GaugeVec, t time.Time) { gauge.WithLabelValues().Set(float64(t.Unix())) }
	either := func(t time.Time) time.Time {
		if t.IsZero() {
			return at
		}
		return t
	}
	a.failing.WithLabelValues().Set(oneIf(run.Error != ""))
	set(a.success, either(run.Succeeded))
	set(a.complete, either(run.Complete))
	a.raise.Reset()
	if !run.Raised.IsZero() {
		set(a.raise, run.Raised)
	}
}
