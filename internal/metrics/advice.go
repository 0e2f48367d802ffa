package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shorthop/shorthop/pkg/policy"
)

// adviceMetrics tell of the advice in force.
type adviceMetrics struct {
	reloadOK, reloadTime, workloads prometheus.Gauge
	info, evidence                  *prometheus.GaugeVec
}

func newAdviceMetrics(r prometheus.Registerer) adviceMetrics {
	m := adviceMetrics{
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_advice_last_reload_successful",
			Help: "1 if the present advice is in force, or there is none, 0 if it is broken. The last good advice then is.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_advice_last_reload_success_timestamp_seconds",
			Help: "Unix time at which the advice in force was loaded, or found missing.",
		}),
		workloads: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_advice_workloads",
			Help: "Workloads of which the advice in force knows something.",
		}),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "shorthop_advice_info",
			Help: "1 for the hash of the advice in force.",
		}, []string{"hash"}),
		evidence: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "shorthop_advice_evidence_timestamp_seconds",
			Help: "Unix time of the last query that the advice in force rests on. Not there without advice.",
		}, nil),
	}
	m.reloadOK.Set(1)
	r.MustRegister(m.reloadOK, m.reloadTime, m.workloads, m.info, m.evidence)
	return m
}

// AdviceReloaded says what advice is in force since at, nil for none.
func (m *Metrics) AdviceReloaded(advice *policy.Advice, at time.Time) {
	a := &m.advice
	a.reloadOK.Set(1)
	a.reloadTime.Set(float64(at.UnixNano()) / 1e9)
	a.info.Reset()
	a.evidence.Reset()
	a.workloads.Set(0)
	if advice == nil {
		return
	}
	a.workloads.Set(float64(advice.Len()))
	a.info.WithLabelValues(advice.Hash()).Set(1)
	if to := advice.Status().To; !to.IsZero() {
		a.evidence.WithLabelValues().Set(float64(to.Unix()))
	}
}

// AdviceReloadFailed says that the advice is broken, and the last good one, or
// none, stays in force.
func (m *Metrics) AdviceReloadFailed() { m.advice.reloadOK.Set(0) }
