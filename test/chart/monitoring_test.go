//go:build chart

package chart_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/jsontest"
)

const monitoringOn = `
metrics:
  prometheusRule: {enabled: true}
  dashboard: {enabled: true}
`

// promtool checks the rules of each certificate mode, and each alert fires when it should and not otherwise: one file of
// testdata/alerts per alert.
func TestAlerts(t *testing.T) {
	cases, err := filepath.Glob("testdata/alerts/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tested []string
	for _, file := range cases {
		tested = append(tested, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	for _, mode := range []string{"cert-manager", "self-managed"} {
		t.Run(mode, func(t *testing.T) {
			rules := render(t, values(t, monitoringOn), "--set=certificates.mode="+mode)["PrometheusRule "+namespace+"/"+release].Object["spec"]
			var parsed struct {
				Groups []struct{ Rules []struct{ Alert string } }
			}
			convert(t, rules, &parsed)
			var alerts []string
			for _, rule := range parsed.Groups[0].Rules {
				alerts = append(alerts, rule.Alert)
			}
			slices.Sort(alerts)
			if !slices.Equal(alerts, tested) {
				t.Errorf("alerts are %q, those with a test %q", alerts, tested)
			}
			// promtool finds the rules beside the test.
			dir := t.TempDir()
			encoded := jsontest.YAML(t, rules)
			write(t, filepath.Join(dir, "rules.yaml"), encoded)
			if out, err := output(t, os.Getenv("PROMTOOL"), "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(dir, "rules.yaml")); err != nil {
				t.Errorf("promtool check rules: %v\n%s", err, out)
			}
			for _, file := range cases {
				// Where a mode has margins of its own, it has a case of its own.
				if own := filepath.Join("testdata", "alerts", mode, filepath.Base(file)); exists(own) {
					file = own
				}
				copied := filepath.Join(dir, filepath.Base(file))
				write(t, copied, read(t, file))
				if out, err := output(t, os.Getenv("PROMTOOL"), "test", "rules", copied); err != nil {
					t.Errorf("promtool test rules %s: %v\n%s", filepath.Base(file), err, out)
				}
			}
		})
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// Every metric of ours that the rules and the dashboard name is one that the server has.
func TestMetricsExist(t *testing.T) {
	dir := t.TempDir()
	if _, err := cluster.ServingCert(dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	policyFile := filepath.Join(dir, "policy.yaml")
	write(t, policyFile, []byte("apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: a}\nspec: {dns: {}}\n"))
	webhook, err := cluster.StartProcess(t.Context(), cluster.WebhookOptions{
		Binary: webhookBinary, Policy: policyFile, CertDir: dir, Kubeconfig: newest.Kubeconfig(), Args: []string{"--own-namespace", "default", "--shutdown-delay=0s", "--advisor-run", filepath.Join(dir, "run.json")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(webhook.Kill)
	named := map[string][]string{}
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		for _, name := range ours.FindAllString(string(read(t, chartDir+"/files/"+file)), -1) {
			named[name] = append(named[name], file)
		}
	}
	if len(named) < 8 {
		t.Errorf("the files name only %q: this test has lost its subject", slices.Sorted(maps.Keys(named)))
	}
	// Some have a value only after the first scan for missed pods.
	_ = cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		for _, name := range scrape(t, webhook.MetricsURL) {
			delete(named, name)
		}
		return len(named) == 0, nil
	})
	for name, files := range named {
		t.Errorf("%s: the server has no %s", strings.Join(files, ", "), name)
	}
}

// scrape returns the names of all series of ours.
func scrape(t *testing.T, url string) (names []string) {
	t.Helper()
	for line := range strings.Lines(get(t, url)) {
		if name := ours.FindString(line); name != "" && !strings.HasPrefix(line, "#") {
			names = append(names, name)
		}
	}
	return names
}

var ours = regexp.MustCompile(`shorthop_[a-z_]+`)

// What the API server counts by entry is asked for by a pattern that has all of them, and nobody else's.
func TestEntriesAreWatched(t *testing.T) {
	patterns := 0
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		text := string(read(t, chartDir+"/files/"+file))
		for _, match := range regexp.MustCompile(`name=~\\?"([^"]*\.shorthop[^"]*dev)\\?"`).FindAllStringSubmatch(text, -1) {
			patterns++
			// Backslashes are escaped once by PromQL, and by JSON once more.
			pattern := regexp.MustCompile("^" + regexp.MustCompile(`\\+`).ReplaceAllString(match[1], `\`) + "$")
			for _, entry := range webhookconfig.Entries() {
				if !pattern.MatchString(entry) {
					t.Errorf("%s: %s does not match %s", file, match[1], entry)
				}
			}
			if pattern.MatchString("other.example.com") {
				t.Errorf("%s: %s matches other webhooks", file, match[1])
			}
		}
	}
	if patterns < 3 {
		t.Errorf("%d patterns: this test has lost its subject", patterns)
	}
}

// The dashboard is JSON in a ConfigMap of its own, as Grafana's sidecar wants it.
func TestDashboardIsJSON(t *testing.T) {
	var config struct{ Data map[string]string }
	convert(t, render(t, values(t, monitoringOn))["ConfigMap "+namespace+"/"+release+"-dashboard"].Object, &config)
	var dashboard struct {
		Title  string
		Panels []struct{ ID int }
	}
	jsontest.Unmarshal(t, []byte(config.Data["shorthop.json"]), &dashboard)
	seen := map[int]bool{}
	for _, panel := range dashboard.Panels {
		if seen[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		seen[panel.ID] = true
	}
	if dashboard.Title == "" || len(seen) == 0 {
		t.Errorf("the dashboard has title %q and %d panels", dashboard.Title, len(seen))
	}
}
