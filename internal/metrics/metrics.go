// Package metrics has every metric of the server. Names, labels and help texts
// are here and nowhere else; label values come from closed lists and exist at
// zero from the start, so that a rate over them is never missing.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Stage is where a review failed.
type Stage string

const (
	// StageRequest is a request that was not one that the API server sends: method,
	// content type, size, JSON, kind.
	StageRequest Stage = "request"
	// StageObject is a review whose object could not be decoded as a pod.
	StageObject Stage = "object"
	// StageNamespace is a namespace whose labels could not be read.
	StageNamespace Stage = "namespace"
	// StagePatch is a patch that could not be encoded.
	StagePatch Stage = "patch"
	// StagePanic is a bug in Shorthop.
	StagePanic Stage = "panic"
	// StageNotReady is a review that came before the policy was loaded.
	StageNotReady Stage = "not_ready"
	// StageDetector is no review: a scan for missed pods that was not finished.
	StageDetector Stage = "detector"
)

var stages = []Stage{StageRequest, StageObject, StageNamespace, StagePatch, StagePanic, StageNotReady, StageDetector}

// Metrics counts and measures.
type Metrics struct {
	decisions      map[decisionKey]prometheus.Counter
	errors         map[Stage]prometheus.Counter
	inFlight       prometheus.Gauge
	review         prometheus.Histogram
	reloadOK       prometheus.Gauge
	reloadTime     prometheus.Gauge
	policyInfo     *prometheus.GaugeVec
	certificateEnd prometheus.Gauge
	gates          map[gates.Kind]prometheus.Gauge
	contradictions prometheus.Gauge
	filterMismatch prometheus.Gauge
	logLinesLost   prometheus.Counter
	// scanned has the gauges of the classes that a scan reports, without a value
	// while another replica scans.
	scanned  map[audit.Class]*prometheus.GaugeVec
	scanTime *prometheus.GaugeVec
}

type decisionKey struct {
	feature policy.Feature
	action  policy.Action
	reason  policy.Reason
}

// New registers all metrics with r.
func New(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		decisions: map[decisionKey]prometheus.Counter{},
		errors:    map[Stage]prometheus.Counter{},
		review: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shorthop_review_duration_seconds",
			Help:    "Time from the first byte of a review to its answer, without TLS.",
			Buckets: []float64{.00005, .0001, .0002, .0005, .001, .002, .005, .01, .05, .1, .5, 1},
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_reviews_in_flight",
			Help: "Reviews that are being read or answered.",
		}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_policy_last_reload_successful",
			Help: "1 if the policy file's present content is in force, 0 if it is broken and the last good policy is.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_policy_last_reload_success_timestamp_seconds",
			Help: "Unix time at which the policy in force was loaded.",
		}),
		policyInfo: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "shorthop_policy_info",
			Help: "1 for the hash of the policy in force.",
		}, []string{"hash"}),
		certificateEnd: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_serving_cert_not_after_timestamp_seconds",
			Help: "Unix time at which the serving certificate expires.",
		}),
		gates: map[gates.Kind]prometheus.Gauge{},
		contradictions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_discovery_contradictions",
			Help: "Contradictions between the sources of the cluster domain and the cluster DNS addresses, and to the policy. /debug/policy lists them.",
		}),
		filterMismatch: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_filter_mismatch",
			Help: "1 if the webhook configuration was made from other aliases, excluded namespaces, namespaceOptOut or kill switch than the policy in force has.",
		}),
		logLinesLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shorthop_log_lines_lost_total",
			Help: "Log lines that were not written, because nobody read them in time or writing failed. Reviews do not wait for the log.",
		}),
	}
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shorthop_decisions_total",
		Help: "Decisions by feature, action and reason.",
	}, []string{"feature", "action", "reason"})
	for _, text := range policy.Reasons() {
		for _, feature := range text.Features {
			for _, action := range text.Actions {
				m.decisions[decisionKey{feature, action, text.Reason}] =
					decisions.WithLabelValues(string(feature), string(action), string(text.Reason))
			}
		}
	}
	errors := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shorthop_errors_total",
		Help: "Reviews that could not be decided as they should, by the stage that failed. Under onError Allow the pod is admitted unpatched. Stage detector is no review, but a scan for missed pods that was not finished.",
	}, []string{"stage"})
	for _, stage := range stages {
		m.errors[stage] = errors.WithLabelValues(string(stage))
	}
	open := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "shorthop_gate_open",
		Help: "1 if every health gate of the kind is open, or there is none; 0 if one is closed. /debug/policy lists them.",
	}, []string{"gate"})
	for _, kind := range gates.Kinds() {
		m.gates[kind] = open.WithLabelValues(string(kind))
		m.gates[kind].Set(1)
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "shorthop_build_info",
		Help: "1 for the version that runs.",
	}, []string{"version"})
	build.WithLabelValues(buildinfo.Version).Set(1)
	m.scanned = map[audit.Class]*prometheus.GaugeVec{
		audit.Missed: scanGauge("shorthop_pods_missed", "Running pods that carry nothing though a new pod would be injected, at the last scan. Only the replica that scans has it."),
		audit.Stale:  scanGauge("shorthop_pods_stale", "Running pods that carry an old decision, at the last scan. Only the replica that scans has it."),
		audit.Pinned: scanGauge("shorthop_pods_pinned", "Running pods that point at something whose health gate is closed, at the last scan. Only the replica that scans has it."),
	}
	for _, gauge := range m.scanned {
		r.MustRegister(gauge)
	}
	m.scanTime = scanGauge("shorthop_detector_last_success_timestamp_seconds", "Unix time of the last scan for missed pods. Only the replica that scans has it.")
	r.MustRegister(m.scanTime)
	r.MustRegister(decisions, errors, build, m.inFlight, m.review, m.reloadOK, m.reloadTime, m.policyInfo, m.certificateEnd, open, m.contradictions, m.filterMismatch, m.logLinesLost)
	return m
}

// Decision counts one decision. All combinations come from policy.Reasons.
func (m *Metrics) Decision(feature policy.Feature, action policy.Action, reason policy.Reason) {
	if counter, ok := m.decisions[decisionKey{feature, action, reason}]; ok {
		counter.Inc()
	}
}

// Error counts one failure. A stage that is not in the list is not counted: a
// label value from outside the list would be worse than a missing count.
func (m *Metrics) Error(stage Stage) {
	if counter, ok := m.errors[stage]; ok {
		counter.Inc()
	}
}

// ReviewBegan says that a review is being read. ReviewEnded must follow.
func (m *Metrics) ReviewBegan() { m.inFlight.Inc() }

// ReviewEnded records how long a review took.
func (m *Metrics) ReviewEnded(took time.Duration) {
	m.inFlight.Dec()
	m.review.Observe(took.Seconds())
}

// FilterMismatch says whether the API server's filter was made from another
// policy than the one in force.
func (m *Metrics) FilterMismatch(is bool) {
	m.filterMismatch.Set(0)
	if is {
		m.filterMismatch.Set(1)
	}
}

// PolicyReloaded says that the policy with this hash is in force since at.
func (m *Metrics) PolicyReloaded(hash string, at time.Time) {
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(at.UnixNano()) / 1e9)
	m.policyInfo.Reset()
	m.policyInfo.WithLabelValues(hash).Set(1)
}

// PolicyReloadFailed says that the policy file is broken and the last good
// policy stays in force.
func (m *Metrics) PolicyReloadFailed() { m.reloadOK.Set(0) }

// ServingCertificate says until when the serving certificate is valid.
func (m *Metrics) ServingCertificate(notAfter time.Time) {
	m.certificateEnd.Set(float64(notAfter.Unix()))
}

// GateOpen says whether every gate of a kind is open.
func (m *Metrics) GateOpen(kind gates.Kind, open bool) {
	value := 0.0
	if open {
		value = 1
	}
	if gauge, ok := m.gates[kind]; ok {
		gauge.Set(value)
	}
}

// Contradictions says how many there are about the cluster's DNS.
func (m *Metrics) Contradictions(n int) { m.contradictions.Set(float64(n)) }

// LogLinesLost counts lines of the log that were not written.
func (m *Metrics) LogLinesLost(lines int) { m.logLinesLost.Add(float64(lines)) }

// scanGauge is a gauge that can be without a value.
func scanGauge(name, help string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, nil)
}

// Scanned says how many pods a scan found in each class.
func (m *Metrics) Scanned(classes map[audit.Class]int, at time.Time) {
	for class, gauge := range m.scanned {
		gauge.WithLabelValues().Set(float64(classes[class]))
	}
	m.scanTime.WithLabelValues().Set(float64(at.UnixNano()) / 1e9)
}

// ScanFailed counts a scan that was not finished. What the last one found
// stays.
func (m *Metrics) ScanFailed() { m.Error(StageDetector) }

// ScansElsewhere takes away what scans have found: another replica has it.
func (m *Metrics) ScansElsewhere() {
	for _, gauge := range m.scanned {
		gauge.Reset()
	}
	m.scanTime.Reset()
}
