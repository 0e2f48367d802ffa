// Package htmlreport writes an advisor's report as one HTML page for people: it
// loads nothing, so it works from a file, in a mail and behind any proxy, and it is
// readable without JavaScript, in light and dark, and on paper.
//
// Names come from query logs, that is from anybody who can send a query, and from
// owner references, which nobody checks. So the strings of the report are made
// printable first, html/template escapes them, and the page's Content-Security-Policy
// names the hashes of the page's own style and script and lets no other run.
package htmlreport

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // for the parts of the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor"
)

var (
	//go:embed page.gohtml
	page string
	//go:embed style.css
	style string
	//go:embed script.js
	script string
)

// maxFiles is how many logs are shown one by one.
const maxFiles = 100

// document is what the page is made from.
type document struct {
	*advisor.Report
	// Compared tells whether there was an earlier report.
	Compared       bool
	Comparison     []advisor.Comparison
	Apply          int // number of recommendations that can be applied
	RiskKinds      []riskKind
	Queries, Waste *chart // nil without anything to show
	Results        *chart
	// Better is what would make the advice better. Files are the logs that are shown one by
	// one, and MoreFiles how many there are besides.
	Better         []string
	Files          []advisor.LogSource
	MoreFiles      int
	Style          template.CSS
	Script         template.JS
	SecurityPolicy string
}

// riskKind adds up the workloads that have a risk.
type riskKind struct {
	Code      advisor.RiskCode
	Workloads int
	// Example is the first of them, the one that saves most.
	Example advisor.WorkloadKey
	Text    string
}

// Write writes the page. Equal reports give equal bytes. comparison is nil where
// there was no earlier report to compare with.
func Write(w io.Writer, r *advisor.Report, comparison []advisor.Comparison) error {
	parsed, err := template.New("page").Funcs(template.FuncMap{
		"number":   number,
		"percent":  percent,
		"ndots":    ndots,
		"list":     list[string],
		"lower":    strings.ToLower,
		"minus":    func(a, b int64) int64 { return a - b },
		"result":   result,
		"resolver": resolverOf,
		"because":  because,
	}).Parse(page)
	if err != nil {
		return err
	}
	r, comparison = shown(r), shown(comparison)
	d := &document{
		Report: r, Compared: comparison != nil, Comparison: comparison,
		RiskKinds: riskKinds(r.Workloads),
		Queries:   queriesChart(r.Workloads), Waste: wasteChart(r.Waste), Results: resultsChart(r.Source.Results),
		Style: template.CSS(style), Script: template.JS(script), // files of this package, not to be escaped
		SecurityPolicy: fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; img-src data:; base-uri 'none'; form-action 'none'", hash(style), hash(script)),
	}
	if len(r.Source.Files) > 1 || len(r.Source.Files) == 1 && r.Source.Files[0].Name != "" {
		d.Files = r.Source.Files[:min(len(r.Source.Files), maxFiles)]
		d.MoreFiles = len(r.Source.Files) - len(d.Files)
	}
	for i := range r.Workloads {
		if a := r.Workloads[i].Recommendation; a != nil && a.Apply {
			d.Apply++
		}
	}
	var b bytes.Buffer
	if err := parsed.Execute(&b, d); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// hash is how a Content-Security-Policy names a style or script.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func riskKinds(workloads []advisor.Workload) []riskKind {
	var kinds []riskKind
	for i := range workloads {
		w := &workloads[i]
		for _, risk := range w.Risks {
			at := slices.IndexFunc(kinds, func(k riskKind) bool { return k.Code == risk.Code })
			if at < 0 {
				kinds = append(kinds, riskKind{Code: risk.Code, Example: w.WorkloadKey, Text: risk.Text})
				at = len(kinds) - 1
			}
			kinds[at].Workloads++
		}
	}
	slices.SortFunc(kinds, func(a, b riskKind) int {
		return cmp.Or(cmp.Compare(b.Workloads, a.Workloads), strings.Compare(string(a.Code), string(b.Code)))
	})
	return kinds
}

// number writes an integer with a comma between thousands.
func number(n any) string {
	digits := fmt.Sprint(n)
	sign := ""
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		sign, digits = "-", rest
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "0%"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

// ndots is a value before and after.
func ndots(before []int, after int) string {
	if len(before) == 1 && before[0] == after {
		return number(after)
	}
	return list(before) + " → " + number(after)
}

func list[T any](values []T) string {
	words := make([]string, 0, len(values))
	for _, v := range values {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ", ")
}

// result says whether a workload has a recommendation, and whether it can be applied:
// the page filters by this word.
func result(w advisor.Workload) string {
	switch {
	case w.Recommendation == nil:
		return "none"
	case w.Recommendation.Apply:
		return "apply"
	}
	return "keep"
}

// resolverOf names a workload's resolver. Where it comes from, and why it is not known,
// is in the details.
func resolverOf(w advisor.Workload) string {
	switch {
	case len(w.Resolvers) > 0:
		return list(w.Resolvers)
	case w.Resolver.Name != "":
		return w.Resolver.Name
	}
	return "–"
}

// because joins the reasons of a recommendation, without that of an unknown resolver,
// which the column of resolvers shows.
func because(r advisor.Recommendation) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(r.Because), func(why string) bool { return why == advisor.ResolverUnknown }), "; ")
}
