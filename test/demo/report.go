package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/shorthop/shorthop/pkg/policy"
)

// width is the number of columns that the text fits in.
const width = 100

// showcased are the samples that are shown in full, if they are there.
var showcased = []string{"plain", "shop"}

// report is what the demo found.
type report struct {
	Kubernetes string     `json:"kubernetes"`
	Policy     policyInfo `json:"policy"`
	Pods       []outcome  `json:"pods"`
	// Environment is only there while it keeps running.
	Environment *running `json:"environment,omitzero"`
}

type policyInfo struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	File string `json:"file"`
}

// write writes the report as text or json.
func (r *report) write(out io.Writer, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	text, err := r.text()
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

func (r *report) text() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nWhat kube-apiserver %s made of %d pods, with the webhook and policy %q (%s):\n\n",
		r.Kubernetes, len(r.Pods), r.Policy.Name, r.Policy.Hash)
	r.writeSummary(&b)
	for _, name := range showcased {
		i := slices.IndexFunc(r.Pods, func(o outcome) bool { return o.Pod == name })
		if i < 0 {
			continue
		}
		if err := r.Pods[i].writeDiff(&b); err != nil {
			return "", err
		}
	}
	if r.Environment != nil {
		r.writeHints(&b)
	}
	return b.String(), nil
}

// writeSummary writes a row for each pod, with the reasons below it: their sentences are too long for a column.
func (r *report) writeSummary(b *strings.Builder) {
	rows := [][]string{{"POD", "NAMESPACE", "SERVICE HOST", "DNS", "RULE"}}
	for i := range r.Pods {
		o := &r.Pods[i]
		rows = append(rows, []string{o.Pod, o.Namespace, o.serviceHostCell(), o.dnsCell(), o.ruleCell()})
	}
	table := alignColumns(rows)
	fmt.Fprintln(b, truncate(table[0]))
	patched := 0
	for i := range r.Pods {
		o := &r.Pods[i]
		if o.Review.injects() {
			patched++
		}
		fmt.Fprintln(b, truncate(table[i+1]))
		for _, line := range o.why() {
			writeWrapped(b, "  ", line.label, line.text)
		}
	}
	fmt.Fprintf(b, "\n%d of %d pods were patched.\n", patched, len(r.Pods))
}

const nothing = "-"

func (o *outcome) serviceHostCell() string {
	if o.Record != nil && o.Record.ServiceHost != "" {
		return o.Record.ServiceHost
	}
	if o.Review == nil {
		return nothing
	}
	return actionCell(o.Review.ServiceHost.Action)
}

func (o *outcome) dnsCell() string {
	if o.Record != nil && o.Record.DNS != "" {
		cell := string(o.Record.DNS)
		if config := o.After.Spec.DNSConfig; config != nil {
			for _, option := range config.Options {
				if option.Name == "ndots" && option.Value != nil {
					cell += ", ndots:" + *option.Value
				}
			}
		}
		return cell
	}
	if o.Review == nil {
		return nothing
	}
	return actionCell(o.Review.DNS.Action)
}

// actionCell is for a pod without a record, or for a feature that the record does not have.
func actionCell(action policy.Action) string {
	switch action {
	case policy.ActionInject:
		return "patched"
	case policy.ActionDryRun:
		return "dry run"
	default:
		return nothing
	}
}

func (o *outcome) ruleCell() string {
	if o.Review == nil || o.Review.Rule == "" {
		return nothing
	}
	return o.Review.Rule
}

type whyLine struct{ label, text string }

// why explains a row.
func (o *outcome) why() []whyLine {
	var lines []whyLine
	switch r := o.Review; {
	case r == nil:
		lines = append(lines, whyLine{"no review: ", "filtered by the API server: " + o.Filtered})
	case r.Failed:
		lines = append(lines, whyLine{"no answer: ", "the call of the webhook failed, so the pod was created as it is"})
	case r.ServiceHost == r.DNS:
		lines = append(lines, whyLine{"both: ", reasonText(r.DNS.Reason)})
	default:
		lines = append(lines,
			whyLine{"service host: ", reasonText(r.ServiceHost.Reason)},
			whyLine{"DNS:          ", reasonText(r.DNS.Reason)})
	}
	for _, warning := range o.Warnings {
		lines = append(lines, whyLine{"warning: ", warning})
	}
	return lines
}

func reasonText(reason policy.Reason) string {
	return strings.TrimSpace(reason.Sentence() + " [" + string(reason) + "]")
}

func (o *outcome) writeDiff(b *strings.Builder) error {
	before, err := o.Before.yamlLines()
	if err != nil {
		return err
	}
	after, err := o.After.yamlLines()
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "\nBefore (-) and after (+): pod %s in namespace %s, from %s\n\n", o.Pod, o.Namespace, o.File)
	for _, line := range diffLines(before, after) {
		fmt.Fprintln(b, truncate(line))
	}
	return nil
}

func (r *report) writeHints(b *strings.Builder) {
	e := r.Environment
	fmt.Fprintf(b, `
Still running:
  kubeconfig  %s
  webhook     %s
  metrics     %s
  health      %s
  policy      %s
  audit log   %s

Try, in another terminal:
  export KUBECONFIG=%s
  kubectl get pod shop -o yaml
  kubectl run mine --image=example.com/app --labels=team=shop --dry-run=server -o yaml
  kubectl get pods -A -l %s=%s
  bin/kubectl-shorthop explain -f %s/shop.yaml --policy %s
  bin/kubectl-shorthop doctor --health-url %s
  bin/kubectl-shorthop audit -A --health-url %s
  curl -s %s | grep '^shorthop_decisions_total.* [1-9]'
`, e.Kubeconfig, e.Webhook, e.Metrics, e.Health, e.Debug, e.AuditLog,
		e.Kubeconfig, policy.LabelPinned, policy.PinnedNodeLocal, samplesDir, e.PolicyFile, strings.TrimSuffix(e.Health, "/readyz"), strings.TrimSuffix(e.Health, "/readyz"), e.Metrics)
}

// alignColumns pads the cells of a table and joins them to lines.
func alignColumns(rows [][]string) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s", widths[i]+2, cell)
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// truncate cuts what does not fit, which only the record on the pod usually does not.
func truncate(line string) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}

// writeWrapped writes a paragraph with a label at its front and the other lines aligned with the text behind it.
func writeWrapped(b *strings.Builder, indent, label, text string) {
	line := indent + label
	next := strings.Repeat(" ", utf8.RuneCountInString(line))
	room := line
	for _, word := range strings.Fields(text) {
		if room != line && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(b, line)
			line, room = next, next
		}
		if room != line {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(b, line)
}
