package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// textWidth is the number of columns that text fills.
const textWidth = 100

// text is a text being written, in sections of labelled lines.
type text struct{ *bytes.Buffer }

// section begins a new section.
func (t text) section(title string) { fmt.Fprintf(t, "\n%s\n", title) }

// labelWidth is how wide the labels of labelled lines are, with their indent.
const labelWidth = 14

// labelled writes "  label   value", the value broken between words.
func (t text) labelled(label, value string) {
	t.wrapped(fmt.Sprintf("  %-*s", labelWidth-2, label), value)
}

// wrapped writes words after a prefix, and breaks lines between them. What
// follows a break is indented as the first word is.
func (t text) wrapped(prefix, words string) {
	indent := strings.Repeat(" ", len(prefix))
	line := prefix
	for i, word := range strings.Fields(words) {
		if i > 0 && len(line)+1+len(word) > textWidth {
			t.line(line)
			line = indent + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	t.line(line)
}

func (t text) line(line string) { t.WriteString(strings.TrimRight(line, " ") + "\n") }

// writeText writes the explanation for a person at a terminal.
func (e *explanation) writeText(b *bytes.Buffer) {
	t := text{b}
	heading := "Pod " + e.Namespace + "/" + e.Pod
	if e.generated {
		heading += "*"
	}
	t.line(heading)
	t.line(strings.Repeat("=", len(heading)))
	e.writeFacts(t)
	e.writeServiceHost(t)
	e.writeDNS(t)
	e.writeWarnings(t)
	e.writeRecord(t)
	e.writePatch(t)
	e.writeResolvConf(t)
	e.writeResolvers(t)
	e.writeLookups(t)
}

func (e *explanation) writeFacts(t text) {
	t.labelled("workload", e.Workload.Kind+" "+e.Workload.Name)
	if e.from.Kind != "" {
		t.labelled("made from", fmt.Sprintf("the template of %s %s; zeros stand for what controllers choose", e.from.Kind, e.from.Name))
	}
	labels := "none given (--namespace-labels)"
	if len(e.namespaceLabels) > 0 {
		labels = strings.ReplaceAll(labelsFlag(e.namespaceLabels).String(), ",", ", ")
	}
	t.labelled("namespace", e.Namespace+", labels: "+labels)
	name := e.Policy.Name
	if e.builtIn {
		name = "the built-in one (no --policy: spec.dns: {} with all its defaults)"
	}
	t.labelled("policy", fmt.Sprintf("%s, hash %s, mode %s", name, e.Policy.Hash, e.Policy.Mode))
	rule := e.Rule
	switch rule {
	case "":
		rule = "none was asked"
	case policy.DefaultRule:
		rule = "default: no rule matches, the policy's own fields apply"
	}
	t.labelled("rule", rule)
}

// outcome writes what is done with a feature.
func (t text) outcome(title string, o policy.Outcome) {
	t.section(title)
	t.labelled(string(o.Action), string(o.Reason))
	t.labelled("", o.Reason.Sentence())
}

func (e *explanation) writeServiceHost(t text) {
	d := &e.decision.ServiceHost
	t.outcome("KUBERNETES_SERVICE_HOST", d.Outcome)
	if d.Injects() {
		value := d.Host
		if d.FromNodeIP {
			value = "the node's address (status.hostIP)"
		}
		if d.Port != "" {
			value += ", and KUBERNETES_SERVICE_PORT " + d.Port
		}
		t.labelled("value", value)
	}
	if e.hostGate {
		t.labelled("assumes", "that the host's health gate is open (--closed-gates)")
	}
	lists := map[policy.ContainerList]string{
		policy.InitContainers: "init", policy.Containers: "container", policy.EphemeralContainers: "ephemeral",
	}
	for _, c := range e.ServiceHost.Containers {
		what := c.Name + ": gets it"
		switch {
		case c.Reason == d.Reason && !d.Injects():
			what = c.Name + ": left alone"
		case c.Reason != "":
			what = fmt.Sprintf("%s: left alone, %s. %s", c.Name, c.Reason, c.Message)
		case d.Action == policy.ActionDryRun:
			what = c.Name + ": would get it"
		}
		t.labelled(lists[c.List], what)
	}
}

func (e *explanation) writeDNS(t text) {
	d := &e.decision.DNS
	t.outcome("DNS", d.Outcome)
	if !d.Injects() {
		return
	}
	mode := string(d.Mode)
	if d.Mode == policy.DNSModeNodeLocal {
		mode += ": dnsPolicy None, and its own nameservers, searches and options"
	} else {
		mode += ": dnsPolicy stays, options are added"
	}
	t.labelled("mode", mode)
	if e.cacheGate {
		t.labelled("assumes", "that the cache's health gate is open (--closed-gates)")
	}
	if len(d.Servers) > 0 {
		t.labelled("servers", strings.Join(d.Servers, " "))
	}
	if len(d.FallbackServers) > 0 {
		t.labelled("fallback", strings.Join(d.FallbackServers, " "))
	}
	if len(d.ExtraSearches) > 0 {
		t.labelled("searches", "after those of the cluster: "+strings.Join(d.ExtraSearches, " "))
	}
	var added, kept []string
	for _, option := range d.Options {
		if e.request.Pod.HasOption(option.Name) {
			kept = append(kept, option.Name)
		} else {
			added = append(added, option.String())
		}
	}
	if len(added) > 0 {
		t.labelled("adds", strings.Join(added, " "))
	}
	if len(kept) > 0 {
		t.labelled("keeps", strings.Join(kept, " ")+" of the pod's own dnsConfig")
	}
}

func (e *explanation) writeWarnings(t text) {
	if len(e.Warnings) == 0 {
		return
	}
	t.section("Warnings")
	for _, warning := range e.Warnings {
		t.wrapped("  - ", warning)
	}
}

func (e *explanation) writeRecord(t text) {
	switch {
	case e.Record.Reason != "":
		t.section("Record (annotation " + policy.AnnotationInjected + ")")
		t.labelled("left out", string(e.Record.Reason))
		t.labelled("", e.Record.Message)
	case e.Record.Value != nil:
		t.section("Record (annotation " + policy.AnnotationInjected + ")")
		// JSON has no spaces to break at: break after commas.
		line := ""
		for part := range strings.SplitAfterSeq(e.Record.text, ",") {
			if line != "" && len("  "+line+part) > textWidth {
				t.line("  " + line)
				line = ""
			}
			line += part
		}
		t.line("  " + line)
	}
}

func (e *explanation) writePatch(t text) {
	if len(e.Patch) == 0 {
		t.section("Patch")
		switch {
		case e.decision.ServiceHost.Injects() || e.decision.DNS.Injects():
			t.line("  none: the pod has all of it already")
		default:
			t.line("  none: the pod is admitted as it is")
		}
		return
	}
	if e.dryRun {
		whose := "the policy's mode"
		if e.Policy.Mode != policy.ModeDryRun {
			whose = "the mode of rule " + e.Rule
		}
		t.section("Patch (a preview: " + whose + " is DryRun, and the pod is admitted as it is)")
	} else {
		t.section("Patch")
	}
	cut := false
	for i := range e.Patch {
		operation := &e.Patch[i]
		line := "  " + operation.Operation + " " + operation.Path
		switch {
		case operation.Operation == "remove":
		case strings.HasPrefix(operation.Path, "/metadata/annotations"):
			line += "  (the record)"
		default:
			value, _ := json.Marshal(operation.Value) // was encoded before, to be applied
			line += "  " + string(value)
		}
		if len(line) > textWidth {
			line, cut = line[:textWidth-len("...")]+"...", true
		}
		t.line(line)
	}
	if cut {
		t.line("  (cut to fit; -o json has the whole patch)")
	}
}

func (e *explanation) writeResolvConf(t text) {
	title := "/etc/resolv.conf"
	before, after := resolvConfLines(e.ResolvConf.Before), resolvConfLines(e.ResolvConf.After)
	switch {
	case slices.Equal(before, after):
		title += ", before and after"
	case e.dryRun:
		title += ", before (-) and as it would be (+)"
	default:
		title += ", before (-) and after (+)"
	}
	t.section(title)
	for _, line := range diff(before, after) {
		t.wrapped("  "+line.sign+" "+line.keyword+" ", line.values)
	}
	for _, note := range e.ResolvConf.Notes {
		t.wrapped("  # ", note)
	}
}

// diffLine is a line of resolv.conf with "-" where it goes, "+" where it
// comes, " " where it stays.
type diffLine struct{ sign, keyword, values string }

// resolvConfLines are the lines of a resolv.conf, in the order in which the
// container runtime writes them.
func resolvConfLines(conf resolver.ResolvConf) []diffLine {
	var all []diffLine
	for line := range strings.Lines(conf.String()) {
		keyword, values, _ := strings.Cut(strings.TrimSpace(line), " ")
		all = append(all, diffLine{" ", keyword, values})
	}
	return all
}

// diff merges the lines of two files. Lines of the same keyword stand
// together; where they differ, those that go come first.
func diff(before, after []diffLine) []diffLine {
	var merged []diffLine
	for _, keyword := range []string{"search", "nameserver", "options"} {
		other := func(line diffLine) bool { return line.keyword != keyword }
		was := slices.DeleteFunc(slices.Clone(before), other)
		is := slices.DeleteFunc(slices.Clone(after), other)
		if slices.Equal(was, is) {
			merged = append(merged, was...)
			continue
		}
		for _, line := range was {
			merged = append(merged, diffLine{"-", line.keyword, line.values})
		}
		for _, line := range is {
			merged = append(merged, diffLine{"+", line.keyword, line.values})
		}
	}
	return merged
}
