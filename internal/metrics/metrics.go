// Package metrics has every metric of the server. Names, labels and help texts
// are here and nowhere else; label values come from closed lists and exist at
// zero from the start, so that a rate over them is never missing.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/cabundle"
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
	// StagePolicyInvalid is a review that came while no policy was in force, because
	// its file had been broken since the start.
	StagePolicyInvalid Stage = "policy_invalid"
	// StageBusy is a large review for which there was no memory left.
	StageBusy Stage = "busy"
	// StageDetector is no review: a scan for missed pods that was not finished.
	StageDetector Stage = "detector"
)

var stages = []Stage{StageRequest, StageObject, StageNamespace, StagePatch, StagePanic, StagePolicyInvalid, StageBusy, StageDetector}

// Metrics counts and measures.
type Metrics struct {
	decisions      map[decisionKey]prometheus.Counter
	errors         map[Stage]prometheus.Counter
	inFlight       prometheus.Gauge
	review         prometheus.Histogram
	reloadOK       prometheus.Gauge
	reloadTime     prometheus.Gauge
	policyInvalid  prometheus.Gauge
	policyInfo     *prometheus.GaugeVec
	advice         adviceMetrics
	advisor        advisorMetrics
	certificateEnd prometheus.Gauge
	gates          map[gates.Kind]prometheus.Gauge
	contradictions prometheus.Gauge
	publicNames    prometheus.Gauge
	filterMismatch prometheus.Gauge
	logLinesLost   prometheus.Counter
	secretPresent  prometheus.Gauge
	bundleUndone   prometheus.Counter
	bundleDropped  map[cabundle.Dropped]prometheus.Counter
	detectorOn     prometheus.Gauge
	configPresent  prometheus.Gauge
	// scanned has the gauges of the classes that a scan reports, without a value
	// while another replica scans.
	scanned      map[audit.Class]*prometheus.GaugeVec
	adviceRaised *prometheus.GaugeVec
	scanTime     *prometheus.GaugeVec
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
			Help: "1 if the policy file's present content is in force, 0 if it is broken. The last good policy then is, if there is one (see shorthop_policy_invalid).",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_policy_last_reload_success_timestamp_seconds",
			Help: "Unix time at which the policy in force was loaded.",
		}),
		policyInvalid: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_policy_invalid",
			Help: "1 while no policy is in force, because the policy file has been broken since the start: the server is not ready. /readyz and the log say why.",
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
		publicNames: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shorthop_public_namespaces",
			Help: "Namespaces with a headless Service that are names outside the cluster too, so that fallthrough.ndots counts as at least 3. /debug/policy lists them.",
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
	m.certificates(r)
	m.advice = newAdviceMetrics(r)
	m.advisor = newAdvisorMetrics(r)
	m.detector(r)
	m.closedLists(r)
	r.MustRegister(m.inFlight, m.review, m.reloadOK, m.reloadTime, m.policyInvalid, m.policyInfo, m.certificateEnd,
		m.contradictions, m.publicNames, m.filterMismatch, m.logLinesLost)
	return m
}

// closedLists registers the metrics with labels, and creates every series of them at
// its first value.
func (m *Metrics) closedLists(r prometheus.Registerer) {
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
		Help: "Reviews that could not be decided as they should, by the stage that failed. Under onError Allow the pod is admitted unpatched. Stage policy_invalid is a review that came while there was no policy, busy a large one for which there was no memory left. Stage detector is no review, but a scan for missed pods that was not finished.",
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
	r.MustRegister(decisions, errors, build, open)
}

// detector registers the metrics of the scans for missed pods, and of whether the
// webhook configuration exists.
func (m *Metrics) detector(r prometheus.Registerer) {
	m.detectorOn = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shorthop_detector_enabled",
		Help: "1 if this replica takes part in looking for missed pods, 0 if that is switched off.",
	})
	m.configPresent = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shorthop_webhook_configuration_present",
		Help: "0 if the webhook configuration of this server is not there, so that no pod is reviewed, else 1.",
	})
	m.configPresent.Set(1)
	r.MustRegister(m.detectorOn, m.configPresent)
	m.scanned = map[audit.Class]*prometheus.GaugeVec{
		audit.Missed: scanGauge("shorthop_pods_missed", "Running pods that carry nothing though a new pod would be injected, at the last scan. Only the replica that scans has it."),
		audit.Stale:  scanGauge("shorthop_pods_stale", "Running pods that carry an old decision, at the last scan. Only the replica that scans has it."),
		audit.Pinned: scanGauge("shorthop_pods_pinned", "Running pods that point at something whose health gate is closed, at the last scan. Only the replica that scans has it."),
	}
	for _, gauge := range m.scanned {
		r.MustRegister(gauge)
	}
	m.adviceRaised = scanGauge("shorthop_pods_advice_raised", "Running pods, stale ones, with less than what evidence has shown since that a name of theirs needs, at the last scan. Only the replica that scans has it.")
	m.scanTime = scanGauge("shorthop_detector_last_success_timestamp_seconds", "Unix time of the last scan for missed pods. Only the replica that scans has it.")
	r.MustRegister(m.adviceRaised, m.scanTime)
}

// certificates registers the metrics of the CA and the caBundle. Only a server that
// signs its own certificate ever changes them.
func (m *Metrics) certificates(r prometheus.Registerer) {
	m.secretPresent = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shorthop_ca_secret_present",
		Help: "0 if the server signs its own certificate and the Secret with the CA is not there, else 1.",
	})
	m.secretPresent.Set(1)
	m.bundleUndone = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "shorthop_ca_bundle_undone_total",
		Help: "Times that the caBundle of the webhook configuration was right and somebody else has changed it.",
	})
	m.bundleDropped = map[cabundle.Dropped]prometheus.Counter{}
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shorthop_ca_bundle_dropped_total",
		Help: "What was left out of a caBundle that was written, by the reason. excess is a certificate for which there was no room.",
	}, []string{"reason"})
	for _, why := range cabundle.AllDropped() {
		m.bundleDropped[why] = dropped.WithLabelValues(string(why))
	}
	r.MustRegister(m.secretPresent, m.bundleUndone, dropped)
}

// CASecretPresent says whether the Secret with the CA is there.
func (m *Metrics) CASecretPresent(is bool) { m.secretPresent.Set(oneIf(is)) }

// CABundleUndone counts a caBundle that somebody else has changed.
func (m *Metrics) CABundleUndone() { m.bundleUndone.Inc() }

// CABundleDropped counts what was left out of a caBundle.
func (m *Metrics) CABundleDropped(why cabundle.Dropped, n int) {
	if counter, ok := m.bundleDropped[why]; ok {
		counter.Add(float64(n))
	}
}

// WebhookConfigurationPresent says whether the webhook configuration is there.
func (m *Metrics) WebhookConfigurationPresent(is bool) { m.configPresent.Set(oneIf(is)) }

// DetectorEnabled says that this replica takes part in looking for missed pods.
func (m *Metrics) DetectorEnabled() { m.detectorOn.Set(1) }

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Decision counts one decision. A combination that policy.Reasons does not have is
// not counted: see Error.
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
	m.filterMismatch.Set(oneIf(is))
}

// PolicyReloaded says that the policy with this hash is in force since at.
func (m *Metrics) PolicyReloaded(hash string, at time.Time) {
	m.reloadOK.Set(1)
	m.policyInvalid.Set(0)
	m.reloadTime.Set(float64(at.UnixNano()) / 1e9)
	m.policyInfo.Reset()
	m.policyInfo.WithLabelValues(hash).Set(1)
}

// PolicyReloadFailed says that the policy file is broken and the last good
// policy stays in force.
func (m *Metrics) PolicyReloadFailed() { m.reloadOK.Set(0) }

// PolicyInvalid says that the policy file is broken and no policy is in force.
func (m *Metrics) PolicyInvalid() {
	m.reloadOK.Set(0)
	m.policyInvalid.Set(1)
}

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

// PublicNamespaces says how many namespaces are names outside the cluster too.
func (m *Metrics) PublicNamespaces(n int) { m.publicNames.Set(float64(n)) }

// Contradictions says how many contradictions discovery has found about the
// cluster's DNS.
func (m *Metrics) Contradictions(n int) { m.contradictions.Set(float64(n)) }

// LogLinesLost counts lines of the log that were not written.
func (m *Metrics) LogLinesLost(lines int) { m.logLinesLost.Add(float64(lines)) }

// scanGauge is a gauge that has no value, and so no series, until it is set.
func scanGauge(name, help string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, nil)
}

// Scanned says how many pods a scan found in each class.
func (m *Metrics) Scanned(counts *audit.Counts, at time.Time) {
	for class, gauge := range m.scanned {
		gauge.WithLabelValues().Set(float64(counts.Classes[class]))
	}
	m.adviceRaised.WithLabelValues().Set(float64(counts.AdviceRaised))
	m.scanTime.WithLabelValues().Set(float64(at.UnixNano()) / 1e9)
}

// ScanFailed counts a scan that was not finished. What the last one found
// stays.
func (m *Metrics) ScanFailed() { m.Error(StageDetector) }

// ScansElsewhere removes the results of scans, as another replica has them now.
func (m *Metrics) ScansElsewhere() {
	for _, gauge := range m.scanned {
		gauge.Reset()
	}
	m.adviceRaised.Reset()
	m.scanTime.Reset()
}
