// Package docs keeps the documentation true: what it lists is generated from
// the code or checked against it.
package docs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/pflag"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/app"
	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

const referencePage = "../../docs/reference.md"

const introduction = `# Reference

Generated from the code: ` + "`go test ./test/docs -update`" + `. The policy document has [a page of its own](policy.md).
`

func TestReferencePageIsUpToDate(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	page.WriteString(introduction)
	writeKeys(&page)
	writeReasons(&page)
	writeMetrics(t, &page)
	writeFlags(&page)
	writeChecks(&page)
	testfile.Expect(t, referencePage, page.String())
}

// keys says what each label and annotation is for; the names come from the
// code.
var keys = []struct{ kind, key, values, meaning string }{
	{"label on pods and namespaces", policy.LabelInject, "`enabled`, `disabled`", "both features"},
	{"label on pods and namespaces", policy.LabelServiceHost, "`enabled`, `disabled`", "`" + policy.EnvServiceHost + "`"},
	{"label on pods and namespaces", policy.LabelDNS, "`enabled`, `disabled`", "dnsConfig"},
	{"label on pods", policy.LabelWorkload, "a name", "the workload that the pod counts to, as kind Workload"},
	{"annotation on pods", policy.AnnotationNdots, "a number within `spec.podOverrides.ndots`", "the developer's ndots"},
	{"annotation on pods", policy.AnnotationDNSMode, "`Options`, `NodeLocal`", "the developer's mode"},
	{"annotation on pods", policy.AnnotationDNSOptions, "resolv.conf options, for example `timeout:1 use-vc`", "the developer's options"},
	{"annotation by Shorthop", policy.AnnotationInjected, "JSON", "what was done, by which rule, and what is needed to undo it"},
	{"label by Shorthop", policy.LabelPinned, "`" + policy.PinnedNodeLocal + "`", "the pod's DNS points at the cache on its node"},
}

func writeKeys(page *strings.Builder) {
	page.WriteString("\n## Labels and annotations\n\n`enable` and `true` mean enabled, `disable` and `false` disabled. Any other value is ignored with a warning.\n\n| what | key | values | meaning |\n|---|---|---|---|\n")
	for _, k := range keys {
		fmt.Fprintf(page, "| %s | `%s` | %s | %s |\n", k.kind, k.key, k.values, k.meaning)
	}
}

func writeReasons(page *strings.Builder) {
	page.WriteString("\n## Reasons\n\nThe same codes are in metrics, logs (`--log-level debug`; what mode DryRun decides also at `info`), the API server's audit annotations and the output of `explain`.\n\"Earlier\" says what a skip does with what an earlier review put on the pod: see [labels and annotations](labels-and-annotations.md#what-shorthop-leaves-on-a-pod).\n\n| reason | features | actions | earlier | meaning |\n|---|---|---|---|---|\n")
	for _, reason := range policy.Reasons() {
		fmt.Fprintf(page, "| `%s` | %s | %s | %s | %s |\n", reason.Reason, join(reason.Features), join(reason.Actions), strings.ReplaceAll(string(reason.Earlier), "_", " "), reason.Sentence)
	}
}

func writeMetrics(t *testing.T, page *strings.Builder) {
	registry := prometheus.NewRegistry()
	// Series that appear with the first event need one to be seen.
	m := metrics.New(registry)
	m.PolicyReloaded("", time.Unix(0, 0))
	m.Scanned(new(audit.NewCounts()), time.Unix(0, 0))
	m.AdvisorRan(&advicefile.Run{Raised: time.Unix(1, 0)}, time.Unix(1, 0))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	page.WriteString("\n## Metrics\n\nBesides these, `/metrics` has those of the certificate watcher (`certwatcher_*`), of Go (`go_*`) and of the process\n(`process_*`). What the API server could not get answered shows only in\nits own `apiserver_admission_webhook_fail_open_count` and `apiserver_admission_webhook_rejection_count`.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, family := range families {
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()), labelsOf(family), family.GetHelp())
	}
}

func labelsOf(family *dto.MetricFamily) string {
	var labels []string
	for _, pair := range family.GetMetric()[0].GetLabel() {
		labels = append(labels, "`"+pair.GetName()+"`")
	}
	return strings.Join(labels, ", ")
}

func writeFlags(page *strings.Builder) {
	page.WriteString("\n## Flags of the webhook\n\n| flag | default | meaning |\n|---|---|---|\n")
	app.Flags().VisitAll(func(f *pflag.Flag) {
		placeholder, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if placeholder != "" {
			name += " " + placeholder
		}
		fallback := ""
		if f.DefValue != "" {
			fallback = "`" + f.DefValue + "`"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s |\n", name, fallback, usage)
	})
}

func writeChecks(page *strings.Builder) {
	page.WriteString("\n## Checks of doctor\n\nA check that lacks a permission, or something that it needs, is unknown.\n\n| check | pass | warn | fail |\n|---|---|---|---|\n")
	for _, c := range doctor.Checks() {
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", c.Check, c.Pass, c.Warn, c.Fail)
	}
}

func join[T ~string](values []T) string {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = "`" + string(value) + "`"
	}
	return strings.Join(quoted, ", ")
}

// Every policy that the documentation shows is one that the server accepts.
func TestPoliciesInTheDocumentationAreValid(t *testing.T) {
	t.Parallel()
	found := 0
	for _, file := range []string{"../../README.md", "../../CONTRIBUTING.md"} {
		text := testfile.Read(t, file)
		for i, block := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			if !strings.Contains(block, "kind: "+policy.Kind) {
				continue
			}
			found++
			if _, err := policy.Parse([]byte(block)); err != nil {
				t.Errorf("%s, YAML block %d: %v", file, i+1, err)
			}
		}
	}
	if found == 0 {
		t.Error("no policy found in README.md: this test has lost its subject")
	}
}

// What users put on pods and namespaces is in the README and on the reference
// page.
func TestREADMENamesEveryOptOutLabelAndTuningAnnotation(t *testing.T) {
	t.Parallel()
	text := testfile.Read(t, "../../README.md")
	for _, key := range []string{
		policy.LabelInject, policy.LabelServiceHost, policy.LabelDNS, policy.LabelWorkload, policy.LabelPinned,
		policy.AnnotationNdots, policy.AnnotationDNSMode, policy.AnnotationDNSOptions, policy.AnnotationInjected,
	} {
		if !strings.Contains(string(text), key) {
			t.Errorf("README.md does not mention %s", key)
		}
		if !slices.ContainsFunc(keys, func(k struct{ kind, key, values, meaning string }) bool { return k.key == key }) {
			t.Errorf("docs/reference.md does not list %s", key)
		}
	}
}

// Every module that the product requires directly has its reason on one line.
func TestEveryDirectDependencyHasAReason(t *testing.T) {
	t.Parallel()
	module := testfile.Read(t, "../../go.mod")
	reasons := testfile.Read(t, "../../CONTRIBUTING.md")
	direct, _, _ := strings.Cut(string(module), "\n)")
	for line := range strings.Lines(direct) {
		path, _, required := strings.Cut(strings.TrimSpace(line), " v")
		if required && !strings.Contains(string(reasons), "`"+path+"`") {
			t.Errorf("CONTRIBUTING.md does not say why %s is needed", path)
		}
	}
}
