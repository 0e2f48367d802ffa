package chart_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"
)

const (
	rawBase  = "https://raw.githubusercontent.com/shorthop/shorthop/main/"
	pageBase = "https://github.com/shorthop/shorthop/blob/main/"
)

// What Artifact Hub shows is there: an icon that is a picture, the image of this version, links to files of this repository.
func TestMetadataForArtifactHub(t *testing.T) {
	t.Parallel()
	var chart struct {
		AppVersion, Icon string
		Maintainers      []struct{ Name, URL string }
		Annotations      map[string]string
	}
	if err := sigsyaml.Unmarshal(read(t, chartDir+"/Chart.yaml"), &chart); err != nil {
		t.Fatal(err)
	}
	if len(chart.Maintainers) == 0 || chart.Annotations["artifacthub.io/license"] != "Apache-2.0" {
		t.Errorf("maintainers %v, annotations %v", chart.Maintainers, chart.Annotations)
	}
	picture, err := os.Open(root + "/" + strings.TrimPrefix(chart.Icon, rawBase))
	if err != nil {
		t.Fatalf("icon: %v", err)
	}
	defer picture.Close()
	for decoder := xml.NewDecoder(picture); ; {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("icon: %v", err)
		}
	}

	var values struct{ Image struct{ Repository string } }
	if err := sigsyaml.Unmarshal(read(t, chartDir+"/values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	type link struct{ Name, URL string }
	var (
		images  []struct{ Name, Image string }
		links   []link
		changes []struct {
			Kind, Description string
			Links             []link
		}
	)
	for key, into := range map[string]any{"images": &images, "links": &links, "changes": &changes} {
		if err := sigsyaml.UnmarshalStrict([]byte(chart.Annotations["artifacthub.io/"+key]), into); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if len(images) != 1 || images[0].Image != values.Image.Repository+":"+chart.AppVersion {
		t.Errorf("images are %v", images)
	}
	if len(changes) == 0 {
		t.Error("no changes")
	}
	for _, change := range changes {
		if !slices.Contains([]string{"added", "changed", "deprecated", "removed", "fixed", "security"}, change.Kind) || change.Description == "" {
			t.Errorf("a change of kind %q says %q", change.Kind, change.Description)
		}
		links = append(links, change.Links...)
	}
	for _, link := range links {
		file, ours := strings.CutPrefix(link.URL, pageBase)
		if _, err := os.Stat(root + "/" + file); !ours || err != nil {
			t.Errorf("link %s: %v", link.URL, err)
		}
	}
}

// Every alert leads to its heading on the page that the chart names by default, and every heading there is an alert's.
func TestEveryAlertHasARunbook(t *testing.T) {
	t.Parallel()
	var values struct {
		Metrics struct{ PrometheusRule struct{ RunbookURL string } }
	}
	if err := sigsyaml.Unmarshal(read(t, chartDir+"/values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	page := string(read(t, root+"/"+strings.TrimPrefix(values.Metrics.PrometheusRule.RunbookURL, pageBase)))
	var headings []string
	for _, match := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(page, -1) {
		headings = append(headings, match[1])
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations map[string]string
			}
		}
	}
	if err := sigsyaml.Unmarshal(read(t, chartDir+"/files/alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for _, rule := range rules.Groups[0].Rules {
		alerts = append(alerts, rule.Alert)
		// As GitHub makes anchors of headings of one word.
		if want := fmt.Sprintf("RUNBOOK_URL#%s", strings.ToLower(rule.Alert)); rule.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %q", rule.Alert, rule.Annotations["runbook_url"], want)
		}
	}
	if diff := cmp.Diff(alerts, headings); diff != "" {
		t.Errorf("alerts and headings (-alerts.yaml +page):\n%s", diff)
	}
}
