//go:build chart

package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/test/jsontest"
)

// Every expression of the dashboard has a value where everything is scraped, and none in another cluster, or in another
// namespace if it is about Shorthop: Prometheus's own engine evaluates it over what a webhook, two CoreDNS (one with the settings
// that docs/node-local-cache.md gives), node_exporter and kube-apiserver say before and after some traffic.
func TestDashboardShowsWhatIsScraped(t *testing.T) {
	expressions, choices := expressions(t)
	targets := startTargets(t)
	targets.ready(t, append(choices, expressions...))
	targets.traffic(t)
	before := targets.scrape(t, append(choices, expressions...))
	targets.traffic(t)
	after := targets.scrape(t, append(choices, expressions...))

	type sample struct {
		Labels string  `json:"labels"`
		Value  float64 `json:"value"`
	}
	type check struct {
		Expr     string   `json:"expr"`
		EvalTime string   `json:"eval_time"`
		Samples  []sample `json:"exp_samples"`
	}
	var checks []check
	something := []sample{{Labels: "{}", Value: 1}}
	for _, e := range choices {
		checks = append(checks, check{"count(" + filled(e, "east", "") + ") > bool 0", "1m", something})
	}
	for _, e := range expressions {
		checks = append(checks,
			check{"count(" + filled(e, ".*", ".*") + ") > bool 0", "1m", something},
			check{"count(" + filled(e, "east|west", namespace) + ") > bool 0", "1m", something},
			check{"count(" + filled(e, "west", ".*") + ")", "1m", nil})
		if ours.MatchString(e) {
			checks = append(checks, check{"count(" + filled(e, ".*", "other") + ")", "1m", nil})
		}
		// Of forty questions to the cache thirty were for what does not exist. As many could be answered from it, or one less if it
		// took this machine half a minute.
		ofCache := "((" + filled(e, ".*", ".*") + `) and on (job) coredns_dns_requests_total{job="node-local-dns"})`
		if strings.Contains(e, "NXDOMAIN") {
			checks = append(checks, check{"round(" + ofCache + ", 0.001)", "1m", []sample{{Labels: `{cluster="east", job="node-local-dns"}`, Value: 0.75}}})
		}
		if strings.Contains(e, "cache_hits") {
			checks = append(checks, check{"count(" + ofCache + " > 0.7 < 0.8)", "1m", something})
		}
	}
	type series struct {
		Series string `json:"series"`
		Values string `json:"values"`
	}
	var input []series
	for name, value := range after {
		earlier, found := before[name]
		if !found {
			earlier = "_"
		}
		input = append(input, series{name, earlier + " " + value})
	}
	if len(input) < 50 {
		t.Fatalf("%d series were scraped: this test has lost its subject", len(input))
	}
	slices.SortFunc(input, func(a, b series) int { return strings.Compare(a.Series, b.Series) })
	encoded, err := sigsyaml.Marshal(map[string]any{
		"rule_files": []string{}, "evaluation_interval": "1m",
		"tests": []any{map[string]any{"interval": "1m", "input_series": input, "promql_expr_test": checks}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	write(t, file, encoded)
	if out, err := output(t, os.Getenv("PROMTOOL"), "test", "rules", file); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
	t.Logf("%d expressions, %d checks, %d series", len(expressions), len(checks), len(input))
}

// expressions are those of all panels; choices are the metrics of whose labels Grafana offers the values as variables.
func expressions(t *testing.T) (expressions, choices []string) {
	t.Helper()
	var dashboard struct {
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
		Panels []struct {
			Type    string
			Targets []struct{ Expr string }
		}
	}
	jsontest.Unmarshal(t, read(t, chartDir+"/files/dashboard.json"), &dashboard)
	var variables []string
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
		if v.Type == "query" {
			query := regexp.MustCompile(`^label_values\((.*), ` + v.Name + `\)$`).FindStringSubmatch(v.Query)
			if query == nil {
				t.Fatalf("variable %s: %q is not label_values(METRIC, %s)", v.Name, v.Query, v.Name)
			}
			choices = append(choices, strings.Replace(query[1]+"{}", "}{}", "}", 1))
		}
	}
	if want := []string{"datasource", "cluster", "namespace"}; !slices.Equal(variables, want) {
		t.Errorf("the variables are %q, want %q", variables, want)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			if !strings.Contains(target.Expr, `cluster=~"$cluster"`) || ours.MatchString(target.Expr) != strings.Contains(target.Expr, `namespace=~"$namespace"`) {
				t.Errorf("not by the variables that it should be limited by: %s", target.Expr)
			}
			expressions = append(expressions, target.Expr)
		}
		if len(panel.Targets) == 0 && panel.Type != "row" {
			t.Error("a panel has nothing to show")
		}
	}
	return expressions, choices
}

func filled(expression, clusters, namespaces string) string {
	return strings.NewReplacer("$cluster", clusters, "$namespace", namespaces).Replace(expression)
}
