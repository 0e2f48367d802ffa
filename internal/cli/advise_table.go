package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/printable"
)

// writeAdvice writes what the figures rest on, a line per workload, what became of
// earlier predictions, and the risks.
func writeAdvice(t text, a *advice) {
	writeEvidence(t, a.Report)
	writeRecommendations(t, a.Report)
	if a.compared {
		writeComparison(t, a.Comparison)
	}
	writeRisks(t, a.Report)
	writeTotals(t, a.Report)
	writeUnattributed(t, a.Report)
}

func writeRecommendations(t text, r *advisor.Report) {
	if len(r.Workloads) == 0 {
		return
	}
	table := t.table("NAMESPACE", "WORKLOAD", "LOOKUPS", "QUERIES", "THEN", "SAVED", "NDOTS", "CONFIDENCE", "RESOLVER", "WHY")
	// What holds for all is said once, below.
	of := map[string]bool{advisor.ResolverUnknown: true}
	for i := range r.Source.Gaps {
		of[r.Source.Gaps[i].Text] = true
	}
	for i := range r.Workloads {
		w := &r.Workloads[i]
		namespace, name := printable.Cell(w.Namespace), workloadCell(w.Kind, w.Name)
		a := w.Recommendation
		if a == nil {
			table.row(namespace, name, "-", fmt.Sprint(w.Queries), "-", "-", numbers(w.Ndots), "-", resolverCell(&w.Resolver), string(w.Reason))
			continue
		}
		because := slices.DeleteFunc(slices.Clone(a.Because), func(why string) bool { return of[why] })
		if f := a.Fallback; f != nil && f.Drop {
			because = append(slices.Clip(because), fmt.Sprintf("no fallback: %s less for %s", countOf(f.Queries, "copy", "copies"), strings.Join(names(f.Servers), ", ")))
		}
		if w.Reason != "" {
			because = append([]string{string(w.Reason)}, because...)
		}
		table.row(namespace, name, fmt.Sprint(w.Lookups), fmt.Sprint(w.Queries), fmt.Sprint(a.Queries), fmt.Sprintf("%.1f%%", a.SavedPercent),
			change(w.Ndots, a.Ndots), string(a.Confidence), resolverCell(&w.Resolver), strings.Join(because, "; "))
	}
	table.end()
	t.line("")
}

func writeComparison(t text, comparison []advisor.Comparison) {
	defer t.line("")
	if len(comparison) == 0 {
		t.line("No workload has a recommendation in the earlier report and lookups in this one.")
		return
	}
	table := t.table("NAMESPACE", "WORKLOAD", "NDOTS", "QUERIES PER LOOKUP: BEFORE", "PREDICTED", "ACTUAL")
	for i := range comparison {
		c := &comparison[i]
		note := ""
		if !c.Applied {
			note = fmt.Sprintf(" (in force: %s)", numbers(c.Now))
		}
		table.row(printable.Cell(c.Namespace), workloadCell(c.Kind, c.Name), fmt.Sprint(c.Ndots)+note,
			fmt.Sprintf("%.2f", c.Before), fmt.Sprintf("%.2f", c.Predicted), fmt.Sprintf("%.2f", c.Actual))
	}
	table.end()
}

func writeRisks(t text, r *advisor.Report) {
	written := false
	write := func(where string, risks []advisor.Risk) {
		for i := range risks {
			risk := &risks[i]
			words := risk.Text
			if len(risk.Names) > 0 {
				words += ": " + strings.Join(names(risk.Names), ", ")
			}
			t.wrapped(fmt.Sprintf("%s%s: ", where, risk.Code), words)
			written = true
		}
	}
	write("", r.Risks)
	for i := range r.Workloads {
		w := &r.Workloads[i]
		write(printable.Name(w.Namespace)+"/"+printable.Name(w.Name)+": ", w.Risks)
	}
	if written {
		t.line("")
	}
}

// writeTotals writes the sums.
func writeTotals(t text, r *advisor.Report) {
	t.line(fmt.Sprintf("%s in %s, %s: %d with what can be applied (%s saved)",
		count(int(r.Totals.Lookups), "lookup"), count(r.Totals.Workloads, "workload"), countOf(r.Totals.Queries, "query", "queries"), r.Totals.Predicted, percent(r.Totals.Queries-r.Totals.Predicted, r.Totals.Queries)))
}

// writeEvidence writes where the figures come from, what is missing, and what would make
// them better.
func writeEvidence(t text, r *advisor.Report) {
	window := "without timestamps"
	if !r.Source.From.IsZero() {
		window = fmt.Sprintf("from %s to %s", r.Source.From.Format("2006-01-02 15:04:05"), r.Source.To.Format("2006-01-02 15:04:05 MST"))
	}
	t.line(fmt.Sprintf("%s, %s, %s, %s of other things, %s malformed",
		count(int(r.Source.Lines), "line"), window, countOf(r.Source.Retries, "retry", "retries"), count(int(r.Source.Skipped.Other), "line"), countOf(r.Source.Skipped.Malformed, "line", "lines")))
	writeFiles(t, r)
	searches := "none of the nodes' own"
	if len(r.Cluster.NodeSearches) > 0 {
		searches = "the nodes' own: " + strings.Join(names(r.Cluster.NodeSearches), " ")
		if r.Cluster.Found {
			searches += " (found in the log)"
		}
	}
	domain := printable.Name(r.Cluster.Domain)
	if r.Cluster.DomainFound {
		domain += " (found in the log)"
	}
	t.line(fmt.Sprintf("cluster domain %s; search domains: %s", domain, searches))
	for _, step := range r.Source.Better {
		t.wrapped("better: ", step)
	}
	t.line("")
}

// ofSeveralForms tells whether something else than lines of CoreDNS was read.
func ofSeveralForms(files []advisor.LogSource) bool {
	return slices.ContainsFunc(files, func(l advisor.LogSource) bool {
		return slices.ContainsFunc(l.Forms, func(f advisor.FormCount) bool { return f.Form != querylog.Plain.String() })
	})
}

// forms are what the queries of a log stood in, with their numbers if there are several.
func forms(l *advisor.LogSource) string {
	var words []string
	for _, f := range l.Forms {
		if len(l.Forms) == 1 {
			return ", " + f.Form
		}
		words = append(words, fmt.Sprintf("%d from %s", f.Queries, f.Form))
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}

// writeFiles writes what of each log there is, where there is more than one or it is not
// CoreDNS's own, and what all of them lack.
func writeFiles(t text, r *advisor.Report) {
	several := ofSeveralForms(r.Source.Files)
	if len(r.Source.Files) > 1 || several {
		const shown = 20
		for i := range r.Source.Files[:min(len(r.Source.Files), shown)] {
			l := &r.Source.Files[i]
			window := "without timestamps"
			switch {
			case l.Missing:
				window = "could not be read"
			case !l.From.IsZero():
				window = fmt.Sprintf("from %s to %s", l.From.Format("2006-01-02 15:04:05"), l.To.Format("2006-01-02 15:04:05 MST"))
			}
			what := ""
			if several {
				what = forms(l)
			}
			if n := l.Skipped.Requests; n > 0 {
				what += fmt.Sprintf(", %s of which the answer counts", countOf(n, "question", "questions"))
			}
			t.line(fmt.Sprintf("  %s: %s, %s%s, %s, %s malformed", printable.Name(l.Name), count(int(l.Lines), "line"), countOf(l.Queries, "query", "queries"), what, window, countOf(l.Skipped.Malformed, "line", "lines")))
		}
		if more := len(r.Source.Files) - shown; more > 0 {
			t.line(fmt.Sprintf("  and %s more", count(more, "log")))
		}
	}
	for i := range r.Source.Gaps {
		g := &r.Source.Gaps[i]
		words := g.Text
		if len(g.Logs) > 0 && len(r.Source.Files) > 1 {
			words += ": " + strings.Join(names(g.Logs[:min(len(g.Logs), 3)]), ", ")
		}
		t.wrapped(fmt.Sprintf("%s (confidence %s at most): ", g.Code, g.Confidence), words)
	}
}

func writeUnattributed(t text, r *advisor.Report) {
	for i := range r.Unattributed {
		u := &r.Unattributed[i]
		var clients []string
		for _, c := range u.Clients[:min(len(u.Clients), 3)] {
			clients = append(clients, printable.Name(c.Address))
		}
		t.wrapped(fmt.Sprintf("%s of no workload, %s: ", countOf(u.Queries, "query", "queries"), u.Reason), fmt.Sprintf("%s Most by %s.", u.Text, strings.Join(clients, ", ")))
	}
}

// change is a value before and after.
func change(before []int, after int) string {
	if len(before) == 1 && before[0] == after {
		return strconv.Itoa(after)
	}
	return numbers(before) + " -> " + strconv.Itoa(after)
}

func numbers(list []int) string {
	words := make([]string, 0, len(list))
	for _, n := range list {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ",")
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "0%"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

func countOf(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
