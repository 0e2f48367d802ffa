package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/explain"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// explanationText is an explanation for a person at a terminal.
type explanationText struct {
	*explain.Explanation
	builtIn bool // no --policy
}

func (e explanationText) write(t text) {
	heading := "Pod " + printable.Name(e.Namespace) + "/" + printable.Name(e.Pod)
	if e.Generated {
		heading += "*"
	}
	t.line(heading)
	t.line(strings.Repeat("=", len(heading)))
	e.writeFacts(t)
	e.writeServiceHost(t)
	e.writeDNS(t)
	e.writeFallthrough(t)
	e.writeAdvice(t)
	e.writeWarnings(t)
	e.writeNotes(t)
	e.writeRecord(t)
	e.writePatch(t)
	e.writeResolvConf(t)
	e.writeResolvers(t)
	e.writeLookups(t)
}

func (e explanationText) writeFacts(t text) {
	t.labelled("workload", ofWorkload(e.Workload))
	if e.MadeFrom.Kind != "" {
		t.labelled("made from", fmt.Sprintf("the template of %s; zeros and nines stand for what is not known", ofWorkload(e.MadeFrom)))
		if e.Guessed {
			t.labelled("assumes", fmt.Sprintf("that %s owns its pods: how other projects name them and give them owners is not known", printable.Name(e.MadeFrom.Kind)))
		}
	}
	labels := "none given (--namespace-labels)"
	if len(e.NamespaceLabels) > 0 {
		labels = strings.ReplaceAll(labelsFlag(e.NamespaceLabels).String(), ",", ", ")
	}
	t.labelled("namespace", printable.Name(e.Namespace)+", labels: "+labels)
	if len(e.NamespaceAnnotations) > 0 {
		t.labelled("", "annotations: "+strings.ReplaceAll(labelsFlag(e.NamespaceAnnotations).String(), ",", ", "))
	}
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

// outcome writes what is done with a feature, and with what an earlier review
// put on the pod.
func (t text) outcome(title string, o *explain.Outcome, earlier policy.Earlier) {
	t.section(title)
	t.labelled(string(o.Action), string(o.Reason))
	t.labelled("", o.Message)
	for _, also := range o.Also {
		t.labelled("also", fmt.Sprintf("%s. %s", also.Reason, also.Message))
	}
	switch earlier {
	case policy.EarlierStays:
		t.labelled("earlier", "what an earlier review put on the pod stays")
	case policy.EarlierComesOut:
		t.labelled("earlier", "what an earlier review put on the pod comes out")
	}
}

func (e explanationText) writeServiceHost(t text) {
	d := &e.ServiceHost
	t.outcome("KUBERNETES_SERVICE_HOST", &d.Outcome, d.Earlier)
	if d.Injects() {
		value := d.Host
		if d.FromNodeIP {
			value = "the node's address (status.hostIP)"
		}
		if d.Port != "" {
			value += ", and KUBERNETES_SERVICE_PORT and KUBERNETES_SERVICE_PORT_HTTPS " + d.Port
		}
		t.labelled("value", value)
	}
	if d.AssumesGate {
		t.labelled("assumes", "that the host's health gate is open (--closed-gates)")
	}
	lists := map[policy.ContainerList]string{
		policy.InitContainers: "init", policy.Containers: "container", policy.EphemeralContainers: "ephemeral",
	}
	for _, c := range d.Containers {
		what := "gets it"
		switch {
		case d.Earlier == policy.EarlierComesOut:
			what = "does not keep it"
		case c.Reason == d.Reason && !d.Injects():
			what = "left alone"
		case c.Reason != "":
			what = fmt.Sprintf("left alone, %s. %s", c.Reason, c.Message)
		case d.Action == policy.ActionDryRun:
			what = "would get it"
		}
		if c.Port != "" {
			what += ", and port " + c.Port + ": its envFrom may have another one"
		}
		t.labelled(lists[c.List], printable.Name(c.Name)+": "+what)
	}
}

func (e explanationText) writeDNS(t text) {
	d := &e.DNS
	t.outcome("DNS", &d.Outcome, d.Earlier)
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
	if d.AssumesGate {
		t.labelled("assumes", "that the cache's health gate is open (--closed-gates)")
	}
	if len(d.Servers) > 0 {
		t.labelled("servers", strings.Join(d.Servers, " "))
	}
	if len(d.FallbackServers) > 0 {
		t.labelled("fallback", strings.Join(d.FallbackServers, " "))
	}
	if len(d.ExtraSearches) > 0 {
		after := "after those of the cluster: "
		if d.Mode == policy.DNSModeOptions {
			after = "after all others: "
		}
		t.labelled("searches", after+strings.Join(d.ExtraSearches, " "))
	}
	var added []string
	for _, option := range d.Options {
		if !slices.Contains(d.Kept, option.Name) {
			added = append(added, option.String())
		}
	}
	if len(added) > 0 {
		t.labelled("adds", strings.Join(added, " "))
	}
	if len(d.Kept) > 0 {
		t.labelled("keeps", strings.Join(d.Kept, " ")+" of the pod's own dnsConfig")
	}
}

// writeFallthrough says nothing where the policy knows no image: then there is no
// fall-through.
func (e explanationText) writeFallthrough(t text) {
	if len(e.Resolvers) == 0 {
		return
	}
	d := &e.Fallthrough
	t.outcome("Fall-through", &d.Outcome, d.Earlier)
	if d.Injects() {
		t.labelled("adds", fmt.Sprintf("ndots %d by %s", d.Ndots, d.Carrier))
	}
	var assumes []string
	switch {
	case d.AssumesLocal:
		assumes = append(assumes, "that the DNS servers answer names that end in svc themselves, by the template block that `kubectl shorthop doctor` prints (--closed-gates upstream: what pods get where they do not)")
	case d.AssumesGate:
		assumes = append(assumes, "that the DNS servers say of names of nobody that there are none (--closed-gates)")
	}
	if d.AssumesPrivate {
		assumes = append(assumes, "that no namespace with a headless Service is a name outside the cluster")
	}
	if len(assumes) > 0 {
		t.labelled("assumes", strings.Join(assumes, ", and "))
	}
	for i := range d.Containers {
		c := &d.Containers[i]
		what := c.Description()
		switch c.Reason {
		case "":
		case d.Reason: // whose message stands above
			what += ", " + string(c.Reason)
		default:
			what += fmt.Sprintf(", %s. %s", c.Reason, c.Message)
		}
		t.labelled("container", printable.Name(c.Name)+": "+what)
	}
}

func (e explanationText) writeNotes(t text) {
	if len(e.Notes) == 0 {
		return
	}
	t.section("Notes")
	for _, note := range e.Notes {
		t.wrapped("  - ", note)
	}
}

func (e explanationText) writeWarnings(t text) {
	if len(e.Warnings) == 0 {
		return
	}
	t.section("Warnings")
	for _, warning := range e.Warnings {
		t.wrapped("  - ", warning)
	}
}

func (e explanationText) writeRecord(t text) {
	switch {
	case e.Record.Reason != "":
		t.section("Record (annotation " + policy.AnnotationInjected + ")")
		t.labelled("left out", string(e.Record.Reason))
		t.labelled("", e.Record.Message)
	case e.Record.Value != nil:
		t.section("Record (annotation " + policy.AnnotationInjected + ")")
		// JSON has no spaces to break at: break after commas.
		line := ""
		for part := range strings.SplitAfterSeq(printable.Line(e.Record.Text), ",") {
			if line != "" && len("  "+line+part) > textWidth {
				t.line("  " + line)
				line = ""
			}
			line += part
		}
		t.line("  " + line)
	}
}

func (e explanationText) writePatch(t text) {
	if len(e.Patch) == 0 {
		t.section("Patch")
		switch {
		case e.ServiceHost.Injects() || e.DNS.Injects() || e.Fallthrough.Injects():
			t.line("  none: the pod has all of it already")
		default:
			t.line("  none: the pod is admitted as it is")
		}
		return
	}
	if e.DryRun {
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
		line := "  " + operation.Operation + " " + printable.Line(operation.Path)
		switch {
		case operation.Operation == "remove":
		case strings.HasPrefix(operation.Path, "/metadata/annotations"):
			line += "  (the record)"
		default:
			value, _ := json.Marshal(operation.Value)    // was encoded before, to be applied
			line += "  " + printable.Line(string(value)) // before it is cut
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

func (e explanationText) writeResolvConf(t text) {
	title := "/etc/resolv.conf"
	before, after := resolvConfLines(e.ResolvConf.Before), resolvConfLines(e.ResolvConf.After)
	switch {
	case slices.Equal(before, after):
		title += ", before and after"
	case e.DryRun:
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
