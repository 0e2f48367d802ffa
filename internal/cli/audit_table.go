package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// row is a line of the table: the features of a workload with the same
// finding.
type row struct {
	audit.Group
	features []string
}

// writeTable writes a line per workload and finding, the counts, what the
// reasons mean, and the commands to run.
func (o *auditOptions) writeTable(t text, found *doctor.InForce, tally *audit.Tally, workloads []*audit.Workload) {
	var reasons []audit.Reason
	if len(workloads) > 0 {
		table := t.table("NAMESPACE", "WORKLOAD", "PODS", "CLASS", "FEATURES", "REASON")
		for _, w := range workloads {
			for _, r := range o.rows(w) {
				table.row(printable.Name(w.Namespace), workloadName(w.QualifiedKind(), w.Name), fmt.Sprintf("%d/%d", r.Pods, w.Pods),
					string(r.Class), strings.Join(r.features, ","), string(r.Reason))
				if !slices.Contains(reasons, r.Reason) {
					reasons = append(reasons, r.Reason)
				}
			}
		}
		table.end()
		t.line("")
	}
	t.line(fmt.Sprintf("policy %s, hash %s, mode %s, from %s", found.Policy.Name(), found.Policy.Hash(), found.Policy.Document().Spec.Mode, found.From))
	if o.namespace != "" {
		t.line(fmt.Sprintf("pods in namespace %s: %s", o.namespace, countsText(tally.Classes)))
	} else {
		t.line(fmt.Sprintf("pods in %s: %s", plural(tally.Namespaces(), "namespace", "namespaces"), countsText(tally.Classes)))
	}
	for _, f := range []policy.Feature{policy.FeatureServiceHost, policy.FeatureDNS, policy.FeatureFallthrough} {
		t.line(fmt.Sprintf("  %-13s %s", string(f)+":", countsText(tally.Features[f])))
	}
	left := 0
	for _, n := range tally.LeftOut {
		left += n
	}
	if left > 0 {
		t.line(fmt.Sprintf("left out: %d finished, %d being deleted, %s of static pods",
			tally.LeftOut[audit.LeftOutFinished], tally.LeftOut[audit.LeftOutDeleting], plural(tally.LeftOut[audit.LeftOutMirror], "mirror", "mirrors")))
	}
	o.writeProgress(t, tally)
	for _, why := range writeWhyNot(t, tally) {
		if !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	if len(reasons) > 0 {
		t.line("")
		for _, reason := range reasons {
			t.wrapped(string(reason)+": ", reason.Sentence())
		}
	}
	writeRestarts(t, workloads)
}

// rows puts features with the same finding on one line.
func (o *auditOptions) rows(w *audit.Workload) []row {
	var rows []row
	for _, g := range w.Findings {
		if !o.shown(g.Class) {
			continue
		}
		if last := len(rows) - 1; last >= 0 && rows[last].Class == g.Class && rows[last].Reason == g.Reason && rows[last].Pods == g.Pods {
			rows[last].features = append(rows[last].features, string(g.Feature))
			continue
		}
		rows = append(rows, row{g, []string{string(g.Feature)}})
	}
	return rows
}

// writeRestarts writes what creates the pods again: commands first, to be
// copied, then what no command does.
func writeRestarts(t text, workloads []*audit.Workload) {
	var commands, advice []string
	for _, w := range workloads {
		switch {
		case w.Restart == nil:
		case len(w.Restart.Command) > 0:
			commands = append(commands, shellCommand(w.Restart.Command))
		default:
			advice = append(advice, fmt.Sprintf("%s in %s: %s", workloadName(w.QualifiedKind(), w.Name), printable.Name(w.Namespace), w.Restart.Advice))
		}
	}
	if len(commands) > 0 {
		t.line("")
		t.line("To have these pods created again:")
		for _, command := range commands {
			t.line("  " + command)
		}
	}
	if len(advice) > 0 {
		t.line("")
		t.line("For these there is no such command:")
		for _, line := range advice {
			t.line("  " + line)
		}
	}
}

// countsText lists the classes that have pods.
func countsText(counts map[audit.Class]int) string {
	var parts []string
	for _, class := range audit.Classes() {
		if n := counts[class]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, class))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// barWidth is how many signs stand for all pods of a namespace.
const barWidth = 20

// writeProgress writes a line for each namespace that is not done, with a bar on a
// terminal.
func (o *auditOptions) writeProgress(t text, tally *audit.Tally) {
	var shown []*audit.Progress
	done, without := 0, 0
	for _, p := range tally.Progress() {
		switch {
		case o.all || p.Concerned() && p.Percent < 100:
			shown = append(shown, p)
		case p.Concerned():
			done++
		default:
			without++
		}
	}
	if len(shown) > 0 {
		t.line("")
		table := t.table("NAMESPACE", "PODS", "INJECTED", "STALE", "MISSED", "OPTED OUT", "OTHER", o.bar(nil))
		for _, p := range shown {
			table.row(printable.Cell(p.Namespace), strconv.Itoa(p.Pods), fmt.Sprintf("%d%%", p.Percent),
				share(p.Stale, p.Pods), share(p.Missed, p.Pods), share(p.OptedOut, p.Pods), share(p.Other, p.Pods), o.bar(p))
		}
		table.end()
		t.line("INJECTED is of the pods that are neither opted out nor skipped, the others are of all pods.")
	}
	if o.namespace == "" && done+without > 0 {
		t.line(fmt.Sprintf("namespaces that are done: %d; with nothing to inject: %d", done, without))
	}
}

// bar is empty where no terminal shows it.
func (o *auditOptions) bar(p *audit.Progress) string {
	if !o.bars || p == nil {
		return ""
	}
	filled := p.Percent * barWidth / 100
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled) + "]"
}

// share is a percentage; what is there and rounds to nothing is told from nothing.
func share(n, of int) string {
	switch percent := 100 * n / of; {
	case n == 0:
		return "-"
	case percent == 0:
		return "<1%"
	default:
		return fmt.Sprintf("%d%%", percent)
	}
}

// writeWhyNot counts the reasons, and returns them.
func writeWhyNot(t text, tally *audit.Tally) []audit.Reason {
	all := tally.WhyNot()
	if len(all) == 0 {
		return nil
	}
	t.line("")
	table := t.table("WHY NOT", "FEATURE", "CLASS", "PODS")
	var reasons []audit.Reason
	for _, why := range all {
		table.row(string(why.Reason), string(why.Feature), string(why.Class), strconv.Itoa(why.Pods))
		if !slices.Contains(reasons, why.Reason) {
			reasons = append(reasons, why.Reason)
		}
	}
	table.end()
	return reasons
}
