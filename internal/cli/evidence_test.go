package cli_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/advisor"
)

// excerpt is what a case in testdata/evidence expects of advise -o json.
type excerpt struct {
	Gaps      []advisor.GapCode `json:"gaps,omitempty"`
	Domain    string            `json:"domain,omitempty"` // where it was found
	Searches  []string          `json:"searches,omitempty"`
	Workloads []excerptWorkload `json:"workloads"`
	Nobodys   []advisor.Reason  `json:"nobodys,omitempty"`
}

type excerptWorkload struct {
	Workload   string             `json:"workload"`
	Ndots      int                `json:"ndots,omitempty"`
	Confidence advisor.Confidence `json:"confidence,omitempty"`
	Apply      bool               `json:"apply"`
	Reason     advisor.Reason     `json:"reason,omitempty"`
	Lookups    int64              `json:"lookups"`
	Because    []string           `json:"because,omitempty"`
}

// TestEvidence: each file in testdata/evidence is a log, pods and flags, as the case
// files of the commands are, and what is to be made of it: the section "report", an
// excerpt of the report. To add one, copy a file and run
// `go test ./internal/cli -run TestEvidence -update`.
func TestEvidence(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/evidence/*" + caseExtension)
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), caseExtension), func(t *testing.T) {
			t.Parallel()
			c := parseCase(t, file)
			c.args = append(c.args, "-o", "json")
			got := c.run(t)
			var report advisor.Report
			if err := json.Unmarshal([]byte(got["stdout"]), &report); err != nil {
				t.Fatalf("exit %s, stderr %s: %v", got["exit"], got["stderr"], err)
			}
			excerpted, err := json.MarshalIndent(excerptOf(&report), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			c.Expect(t, "report", append(excerpted, '\n'))
		})
	}
}

func excerptOf(r *advisor.Report) excerpt {
	e := excerpt{Searches: r.Cluster.NodeSearches, Workloads: []excerptWorkload{}}
	for _, gap := range r.Source.Gaps {
		e.Gaps = append(e.Gaps, gap.Code)
	}
	if r.Cluster.DomainFound {
		e.Domain = r.Cluster.Domain
	}
	for i := range r.Workloads {
		w := &r.Workloads[i]
		x := excerptWorkload{Workload: w.Namespace + "/" + w.Kind + "/" + w.Name, Reason: w.Reason, Lookups: w.Lookups}
		if a := w.Recommendation; a != nil {
			x.Ndots, x.Confidence, x.Apply, x.Because = a.Ndots, a.Confidence, a.Apply, a.Because
		}
		e.Workloads = append(e.Workloads, x)
	}
	for i := range r.Unattributed {
		e.Nobodys = append(e.Nobodys, r.Unattributed[i].Reason)
	}
	return e
}
