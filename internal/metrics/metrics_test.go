package metrics_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

func newMetrics() (*metrics.Metrics, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	return metrics.New(registry), registry
}

// scrape returns what Prometheus would get.
func scrape(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// changed returns the samples that an action changes, in order.
func changed(t *testing.T, g prometheus.Gatherer, action func()) []string {
	t.Helper()
	before := strings.Split(scrape(t, g), "\n")
	action()
	var lines []string
	for line := range strings.Lines(scrape(t, g)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "#") && !slices.Contains(before, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestAtZero has every metric with every label set before anything happened.
func TestAtZero(t *testing.T) {
	t.Parallel()
	_, registry := newMetrics()
	testfile.Expect(t, "testdata/zero.txt", strings.Replace(scrape(t, registry), buildinfo.Version, "VERSION", 1))
}

// TestLint follows the naming rules of Prometheus.
func TestLint(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	// Those without a series at zero.
	m.PolicyReloaded("0123456789ab", time.Unix(1, 0))
	m.Scanned(new(audit.NewCounts()), time.Unix(1, 0))
	m.AdvisorRan(&advicefile.Run{Raised: time.Unix(1, 0)}, time.Unix(1, 0))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "shorthop_") {
			t.Errorf("%s lacks the prefix shorthop_", family.GetName())
		}
	}
}

// TestEveryReasonCounts counts each decision there can be in its own series.
func TestEveryReasonCounts(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	for _, text := range policy.Reasons() {
		if len(text.Features)*len(text.Actions) == 0 {
			t.Errorf("%s comes with no feature or no action", text.Reason)
		}
		for _, feature := range text.Features {
			for _, action := range text.Actions {
				got := changed(t, registry, func() { m.Decision(feature, action, text.Reason) })
				want := []string{`shorthop_decisions_total{action="` + string(action) + `",feature="` + string(feature) + `",reason="` + string(text.Reason) + `"} 1`}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s %s %s (-want +got):\n%s", feature, action, text.Reason, diff)
				}
			}
		}
	}
}

// TestUnknownLabelsAreNotCounted keeps label values within the closed lists.
func TestUnknownLabelsAreNotCounted(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	got := changed(t, registry, func() {
		m.Decision(policy.FeatureDNS, policy.ActionInject, policy.ReasonModeOff) // no such combination
		m.Decision(policy.FeatureDNS, policy.ActionSkip, "because")
		m.Decision("", "", "")
		m.Error("kitchen")
		m.Error("")
	})
	if len(got) > 0 {
		t.Errorf("counted %q", got)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	for _, stage := range []metrics.Stage{
		metrics.StageRequest, metrics.StageObject, metrics.StageNamespace,
		metrics.StagePatch, metrics.StagePanic, metrics.StagePolicyInvalid, metrics.StageBusy, metrics.StageDetector,
	} {
		got := changed(t, registry, func() { m.Error(stage) })
		if diff := cmp.Diff([]string{`shorthop_errors_total{stage="` + string(stage) + `"} 1`}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", stage, diff)
		}
	}
}

func TestReviewDuration(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	got := changed(t, registry, func() {
		for range 3 {
			m.ReviewBegan()
		}
		m.ReviewEnded(70 * time.Microsecond)
		m.ReviewEnded(2 * time.Second)
	})
	want := []string{
		`shorthop_review_duration_seconds_bucket{le="0.0001"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.0002"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.0005"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.001"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.002"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.005"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.01"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.05"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.1"} 1`,
		`shorthop_review_duration_seconds_bucket{le="0.5"} 1`,
		`shorthop_review_duration_seconds_bucket{le="1"} 1`,
		`shorthop_review_duration_seconds_bucket{le="+Inf"} 2`,
		`shorthop_review_duration_seconds_sum 2.00007`,
		`shorthop_review_duration_seconds_count 2`,
		`shorthop_reviews_in_flight 1`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

// TestPolicyReload shows one hash at a time, and keeps it when a reload fails.
func TestPolicyReload(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	steps := []struct {
		name   string
		action func()
		want   []string
	}{
		{"first policy", func() { m.PolicyReloaded("aaaaaaaaaaaa", time.Unix(100, 500_000_000)) }, []string{
			`shorthop_policy_info{hash="aaaaaaaaaaaa"} 1`,
			`shorthop_policy_last_reload_success_timestamp_seconds 100.5`,
			`shorthop_policy_last_reload_successful 1`,
		}},
		{"broken file", m.PolicyReloadFailed, []string{
			`shorthop_policy_last_reload_successful 0`,
		}},
		{"second policy", func() { m.PolicyReloaded("bbbbbbbbbbbb", time.Unix(200, 0)) }, []string{
			`shorthop_policy_info{hash="bbbbbbbbbbbb"} 1`,
			`shorthop_policy_last_reload_success_timestamp_seconds 200`,
			`shorthop_policy_last_reload_successful 1`,
		}},
	}
	for _, step := range steps {
		if diff := cmp.Diff(step.want, changed(t, registry, step.action)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	if text := scrape(t, registry); strings.Contains(text, "aaaaaaaaaaaa") {
		t.Errorf("the first policy's hash is still there:\n%s", text)
	}
}

func TestServingCertificate(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	got := changed(t, registry, func() { m.ServingCertificate(time.Unix(1_800_000_000, 0)) })
	if diff := cmp.Diff([]string{`shorthop_serving_cert_not_after_timestamp_seconds 1.8e+09`}, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

// TestScans has values only where a scan was made, and the last ones while
// scans fail.
func TestScans(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	before := scrape(t, registry)
	got := changed(t, registry, func() {
		m.Scanned(&audit.Counts{Classes: map[audit.Class]int{audit.Missed: 3, audit.Stale: 0, audit.Pinned: 1, audit.OK: 7}, AdviceRaised: 2}, time.Unix(100, 500_000_000))
	})
	want := []string{
		"shorthop_detector_last_success_timestamp_seconds 100.5",
		"shorthop_pods_advice_raised 2",
		"shorthop_pods_missed 3",
		"shorthop_pods_pinned 1",
		"shorthop_pods_stale 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	got = changed(t, registry, m.ScanFailed)
	if diff := cmp.Diff([]string{`shorthop_errors_total{stage="detector"} 1`}, got); diff != "" {
		t.Errorf("after a scan that failed (-want +got):\n%s", diff)
	}
	m.ScansElsewhere()
	after := strings.Replace(scrape(t, registry), `stage="detector"} 1`, `stage="detector"} 0`, 1)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after another replica took over (-before +after):\n%s", diff)
	}
}

// TestAdvisor has values only where an advisor is followed.
func TestAdvisor(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics()
	started := time.Unix(1000, 0)
	got := changed(t, registry, func() { m.AdvisorRan(nil, started) })
	want := []string{
		"shorthop_advisor_last_complete_timestamp_seconds 1000",
		"shorthop_advisor_last_run_failed 0",
		"shorthop_advisor_last_success_timestamp_seconds 1000",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("before a run (-want +got):\n%s", diff)
	}
	got = changed(t, registry, func() {
		m.AdvisorRan(&advicefile.Run{Error: "no logs", Succeeded: time.Unix(100, 0), Complete: time.Unix(50, 0), Raised: time.Unix(70, 0)}, started)
	})
	want = []string{
		"shorthop_advisor_last_complete_timestamp_seconds 50",
		"shorthop_advisor_last_raise_timestamp_seconds 70",
		"shorthop_advisor_last_run_failed 1",
		"shorthop_advisor_last_success_timestamp_seconds 100",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after a run that failed (-want +got):\n%s", diff)
	}
}

// TestRegisteredTwice refuses a second set of the same metrics, which would
// hide half of the counts.
func TestRegisteredTwice(t *testing.T) {
	t.Parallel()
	_, registry := newMetrics()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	metrics.New(registry)
}
