package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/corefile"
)

const platformsPage = repository + "/docs/platforms.md"

// TestPlatformsAreAsTested holds the versions on the page to those that the targets run, and its rows to presets and flavours.
func TestPlatformsAreAsTested(t *testing.T) {
	t.Parallel()
	page := read(t, platformsPage)
	row := func(what string) string {
		_, rest, found := strings.Cut(page, "\n| "+what+" | ")
		if !found {
			t.Fatalf("there is no row %q", what)
		}
		tested, _, _ := strings.Cut(rest, " | ")
		return tested
	}
	setting := func(file, pattern string) string {
		match := regexp.MustCompile(pattern).FindStringSubmatch(read(t, repository+"/"+file))
		if match == nil {
			t.Fatalf("%s has no %s", file, pattern)
		}
		return match[1]
	}
	newest, oldest := setting("Makefile", `(?m)^K8S_VERSION \?= (\S+)$`), setting("Makefile", `(?m)^OLDEST_K8S_VERSION \?= (\S+)$`)
	skew := strings.NewReplacer("$(OLDEST_K8S_VERSION)", oldest, "$(K8S_VERSION)", newest).Replace(setting("Makefile", `(?m)^SKEW_K8S_VERSIONS \?= (.+)$`))
	for what, want := range map[string][]string{
		"Kubernetes":  append(strings.Fields(skew), oldest+" and "+newest+":"),
		"Helm":        {setting("hack/tools.sh", `(?m)^readonly helm_version=(\S+)`), setting("hack/tools.sh", `(?m)^readonly helm3_version=(\S+)`)},
		"node":        {"kubelet " + newest},
		"cluster DNS": {"CoreDNS v" + setting("hack/node.sh", `COREDNS_VERSION:-([0-9.]+)`)},
	} {
		for _, version := range want {
			if !strings.Contains(row(what), version) {
				t.Errorf("row %s says %q, want %s", what, row(what), version)
			}
		}
	}

	presets, err := filepath.Glob(repository + "/charts/shorthop/presets/*.yaml")
	if err != nil || len(presets) == 0 {
		t.Fatalf("no presets (%v)", err)
	}
	for _, preset := range presets {
		if !strings.Contains(page, "(../charts/shorthop/presets/"+filepath.Base(preset)+")") {
			t.Errorf("the page does not have the preset %s", filepath.Base(preset))
		}
		for _, match := range regexp.MustCompile(`--set (\S+?)=`).FindAllStringSubmatch(read(t, preset), -1) {
			if !isValue(t, strings.Split(match[1], ".")) {
				t.Errorf("%s: the chart has no value %s", preset, match[1])
			}
		}
	}
	_, flavours, _ := strings.Cut(page, "\n## Flavours\n")
	named := 0
	for line := range strings.Lines(flavours) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 3 {
			continue
		}
		for _, match := range regexp.MustCompile("`([a-z0-9-]+)`").FindAllStringSubmatch(cells[len(cells)-1], -1) {
			named++
			if _, err := os.Stat(repository + "/internal/discovery/testdata/flavours/" + match[1] + ".txtar"); err != nil {
				t.Error(err)
			}
		}
	}
	if named < 12 {
		t.Errorf("the page names %d flavours: this test has lost its subject", named)
	}
}

// TestNetworkPoliciesCanBeApplied reads those that pages show as the API server would, every field of which it must know.
func TestNetworkPoliciesCanBeApplied(t *testing.T) {
	t.Parallel()
	found := 0
	for _, page := range pages(t) {
		for _, block := range regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n").FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(block[1], "\nkind: NetworkPolicy\n") {
				continue
			}
			found++
			var shown networkingv1.NetworkPolicy
			if err := yaml.UnmarshalStrict([]byte(block[1]), &shown); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if found == 0 {
		t.Error("no page shows a NetworkPolicy: this test has lost its subject")
	}
}

// TestTheTemplateBlockIsDoctors compares the block that pages give with what doctor and detect print.
func TestTheTemplateBlockIsDoctors(t *testing.T) {
	t.Parallel()
	want := strings.Join(strings.Fields(strings.Join(corefile.TemplateBlock(), " ")), " ")
	for _, page := range []string{"node-local-cache.md", "fall-through.md"} {
		if text := strings.Join(strings.Fields(read(t, repository+"/docs/"+page)), " "); !strings.Contains(text, want) {
			t.Errorf("docs/%s has another block than %s", page, want)
		}
	}
}
