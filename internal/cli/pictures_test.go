package cli

import (
	"bytes"
	"fmt"
	"html"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

const picturesFolder = "../../docs/pictures"

// The pictures of docs/ are drawn from what the commands print: `detect` from what its own test expects of a flavour, `doctor` from a
// report of its own tests, `audit` from a tally. `go test ./internal/cli -run Pictures -update` rewrites them.
func TestPicturesShowWhatIsPrinted(t *testing.T) {
	t.Parallel()
	for name, output := range map[string]string{
		"detect": "$ kubectl shorthop detect\n" + detectOutput(t),
		"doctor": "$ kubectl shorthop doctor\n" + doctorOutput(t),
		"audit":  "$ kubectl shorthop audit -A\n" + auditOutput(),
	} {
		testfile.Expect(t, filepath.Join(picturesFolder, name+".svg"), terminal(output))
	}
}

func detectOutput(t *testing.T) string {
	t.Helper()
	return string(testfile.ReadCase(t, "../discovery/testdata/flavours/cce-turbo.txtar").Section("detect.yaml"))
}

func doctorOutput(t *testing.T) string {
	t.Helper()
	encoded := testfile.Read(t, "../doctor/testdata/report.json")
	report := new(doctor.Report)
	jsontest.Unmarshal(t, encoded, report)
	var b bytes.Buffer
	writeReport(text{b: &b}, report)
	return b.String()
}

// auditOutput is a rollout that is half done.
func auditOutput() string {
	tally := audit.NewTally()
	add := func(namespace string, n int, class audit.Class, reason audit.Reason) {
		for range n {
			p := &audit.Pod{}
			p.Metadata.Namespace = namespace
			p.Pod.Metadata = policy.PodMetadata{Name: "a"}
			finding := audit.Finding{Class: class, Reason: reason}
			tally.Add(p, audit.Verdict{ServiceHost: finding, DNS: finding, Fallthrough: audit.Finding{Class: audit.OK}})
		}
	}
	add("shop", 36, audit.OK, "")
	add("shop", 12, audit.Stale, audit.ReasonOlderPolicy)
	add("crawl", 2, audit.OK, "")
	add("crawl", 6, audit.Stale, audit.ReasonOlderPolicy)
	add("payments", 9, audit.OK, "")
	add("payments", 1, audit.Missed, audit.ReasonNotInjected)
	add("done", 4, audit.OK, "")
	o := &auditOptions{bars: true}
	var b bytes.Buffer
	o.writeProgress(text{b: &b}, tally)
	writeWhyNot(text{b: &b}, tally)
	return b.String()
}

// terminal draws a text as a terminal of 120 columns shows it: longer lines go on in the next.
func terminal(output string) []byte {
	const columns, letter, height, margin = 120, 8, 18, 14
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.TrimSuffix(line, "\n")
		for len(line) > columns { // what commands print is ASCII
			lines, line = append(lines, line[:columns]), line[columns:]
		}
		lines = append(lines, line)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="13">`+"\n",
		columns*letter+2*margin, len(lines)*height+2*margin)
	b.WriteString(`<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>` + "\n")
	for i, line := range lines {
		if line != "" { // textLength keeps columns where another font is there
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#d7dde4" xml:space="preserve" textLength="%d">%s</text>`+"\n",
				margin, margin+(i+1)*height-5, len(line)*letter, html.EscapeString(line))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
