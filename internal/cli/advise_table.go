package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/shorthop/shorthop/pkg/advisor"
)

// writeAdvice writes a line per workload, what became of earlier predictions, the
// risks, and what the figures rest on.
func writeAdvice(t text, r *advisor.Report, comparison []advisor.Comparison, compared bool) error {
	table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
	if len(r.Workloads) > 0 {
		fmt.Fprintln(table, "NAMESPACE\tWORKLOAD\tLOOKUPS\tQUERIES\tTHEN\tSAVED\tNDOTS\tCONFIDENCE\tWHY")
		for i := range r.Workloads {
			w := &r.Workloads[i]
			fmt.Fprintf(table, "%s\t%s/%s\t", w.Namespace, strings.ToLower(w.Kind), w.Name)
			if a := w.Recommendation; a != nil {
				because := a.Because
				if f := a.Fallback; f != nil && f.Drop {
					because = append(slices.Clip(because), fmt.Sprintf("no fallback: %d copies less for %s", f.Queries, strings.Join(f.Servers, ", ")))
				}
				if w.Reason != "" {
					because = append([]string{string(w.Reason)}, because...)
				}
				fmt.Fprintf(table, "%d\t%d\t%d\t%.1f%%\t%s\t%s\t%s\n", w.Lookups, w.Queries, a.Queries, a.SavedPercent, change(w.Ndots, a.Ndots), a.Confidence, strings.Join(because, "; "))
			} else {
				fmt.Fprintf(table, "-\t%d\t-\t-\t%s\t-\t%s\n", w.Queries, numbers(w.Ndots), w.Reason)
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
		t.line("")
	}
	if compared {
		if len(comparison) == 0 {
			t.line("No workload has a recommendation in the earlier report and lookups in this one.")
		} else {
			fmt.Fprintln(table, "NAMESPACE\tWORKLOAD\tNDOTS\tQUERIES PER LOOKUP: BEFORE\tPREDICTED\tACTUAL")
			for i := range comparison {
				c := &comparison[i]
				note := ""
				if !c.Applied {
					note = fmt.Sprintf(" (in force: %s)", numbers(c.Now))
				}
				fmt.Fprintf(table, "%s\t%s/%s\t%d%s\t%.2f\t%.2f\t%.2f\n", c.Namespace, strings.ToLower(c.Kind), c.Name, c.Ndots, note, c.Before, c.Predicted, c.Actual)
			}
			if err := table.Flush(); err != nil {
				return err
			}
		}
		t.line("")
	}
	writeRisks(t, r)
	t.line(fmt.Sprintf("%s in %s, %d queries: %d with what can be applied (%s saved)",
		count(int(r.Totals.Lookups), "lookup"), count(r.Totals.Workloads, "workload"), r.Totals.Queries, r.Totals.Predicted, percent(r.Totals.Queries-r.Totals.Predicted, r.Totals.Queries)))
	window := "without timestamps"
	if !r.Source.From.IsZero() {
		window = fmt.Sprintf("from %s to %s", r.Source.From.Format("2006-01-02 15:04:05"), r.Source.To.Format("2006-01-02 15:04:05 MST"))
	}
	t.line(fmt.Sprintf("%s, %s, %s, %s of other things, %s malformed",
		count(int(r.Source.Lines), "line"), window, countOf(r.Source.Retries, "retry", "retries"), count(int(r.Source.Skipped.Other), "line"), countOf(r.Source.Skipped.Malformed, "line", "lines")))
	searches := "none of the nodes' own"
	if len(r.Cluster.NodeSearches) > 0 {
		searches = "the nodes' own: " + strings.Join(r.Cluster.NodeSearches, " ")
		if r.Cluster.Found {
			searches += " (found in the log)"
		}
	}
	t.line(fmt.Sprintf("cluster domain %s; search domains: %s", r.Cluster.Domain, searches))
	for i := range r.Unattributed {
		u := &r.Unattributed[i]
		var clients []string
		for _, c := range u.Clients[:min(len(u.Clients), 3)] {
			clients = append(clients, c.Address)
		}
		t.wrapped(fmt.Sprintf("%d queries of no workload, %s: ", u.Queries, u.Reason), fmt.Sprintf("%s Most by %s.", u.Text, strings.Join(clients, ", ")))
	}
	return nil
}

func writeRisks(t text, r *advisor.Report) {
	written := false
	write := func(where string, risks []advisor.Risk) {
		for i := range risks {
			risk := &risks[i]
			words := risk.Text
			if len(risk.Names) > 0 {
				words += ": " + strings.Join(risk.Names, ", ")
			}
			t.wrapped(fmt.Sprintf("%s%s: ", where, risk.Code), words)
			written = true
		}
	}
	write("", r.Risks)
	for i := range r.Workloads {
		w := &r.Workloads[i]
		write(fmt.Sprintf("%s/%s: ", w.Namespace, w.Name), w.Risks)
	}
	if written {
		t.line("")
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
