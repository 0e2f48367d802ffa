package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/shorthop/shorthop/test/measured"
)

// goal is a figure that was promised.
type goal struct {
	what, limit, measured string
	met                   bool
}

// goals compares the results with section 9 of the design.
func (r *results) goals() []goal {
	var goals []goal
	atMost := func(what, format string, limit, measured float64) {
		goals = append(goals, goal{what, "≤ " + fmt.Sprintf(format, limit), fmt.Sprintf(format, measured), measured <= limit})
	}
	for _, h := range r.Handler {
		if h.Review == "typical" {
			atMost("CPU of a typical review, of controller-runtime's null handler", "%.2fx", 0.35, h.Ratio["null"])
			atMost("the same, of a conventional handler", "%.2fx", 0.06, h.Ratio["conventional"])
		}
	}
	atMost("the same over HTTPS, 32 under way, of a bare TLS handler", "%.2fx", 1.5, r.served(nameShorthop)/r.served(servingNames[kindConstant]))
	for i := range settings {
		s := &settings[i]
		added := r.added(s.name, nameShorthop)
		atMost("latency added to a pod's creation, of a constant patch's: "+s.name, "%.2fx", 1.25, added/r.added(s.name, variantConstant))
		atMost("CPU of API server and webhook per pod, of a MutatingAdmissionPolicy's: "+s.name, "%.2fx", 0.90, r.cpu(s.name, nameShorthop)/r.cpu(s.name, variantMAP))
	}
	hundred, thousand := r.decide(100), r.decide(1000)
	atMost("Decide, 100 rules", "%.2f µs", 2, hundred.NS/1000)
	atMost("Decide, 1,000 rules", "%.2f µs", 10, thousand.NS/1000)
	atMost("the same, allocations", "%.0f", 0, thousand.Allocations)
	atMost("anonymous memory, idle", "%.1f MiB", 16, r.Footprint.Idle.Anonymous)
	atMost("the same, 10,000 namespaces, 1,000 rules, advice of 10,000 workloads", "%.1f MiB", 44, r.Large.Idle.Anonymous)
	if r.QueryLogs != nil {
		goals = append(goals, r.QueryLogs.goals()...)
	}
	return goals
}

// served is the CPU of a review in µs where a server has as many as it can take.
func (r *results) served(server string) float64 {
	for _, row := range r.Serving {
		if row.Server == server && row.Rate == 0 {
			return row.CPU
		}
	}
	return math.NaN()
}

// cpu is what API server and webhook take together, in s per 10,000 pods.
func (r *results) cpu(setting, variant string) float64 {
	row := r.create(setting, variant)
	return row.CPU + row.APIServerCPU
}

// added is what a variant adds to the median of a pod's creation, in ms.
func (r *results) added(setting, variant string) float64 {
	return r.create(setting, variant).SerialP50 - r.create(setting, variantNone).SerialP50
}

func (r *results) create(setting, variant string) createRow {
	for _, row := range r.Creates {
		if row.Setting == setting && row.Variant == variant {
			return row
		}
	}
	return createRow{SerialP50: math.NaN(), CPU: math.NaN()}
}

func (r *results) decide(rules int) decideRow {
	for _, row := range r.Decide {
		if row.Rules == rules {
			return row
		}
	}
	return decideRow{NS: math.NaN()}
}

// page is docs/results/bench.md.
func (r *results) page() string {
	return "# Benchmarks\n\n" +
		"Measured by `make bench`, which writes this page: every figure is of one run, and what is compared takes turns, so that the\n" +
		"ratios hold where the machine is busy or slow. Absolute figures are of this machine.\n\n" +
		r.Machine.String() + "\n\n" + r.tables()
}

// tables are the results as Markdown, which reads well on a terminal too.
func (r *results) tables() string {
	var b strings.Builder
	writeGoals(&b, r.goals())
	r.handlerTable(&b)
	r.servingTable(&b)
	r.createTables(&b)
	r.footprintTable(&b)
	r.decideTable(&b)
	if r.QueryLogs != nil {
		r.QueryLogs.table(&b)
	}
	return b.String()
}

func writeGoals(b *strings.Builder, goals []goal) {
	b.WriteString("## Targets\n\n")
	t := measured.NewTable("what", "target", "measured", "")
	for _, g := range goals {
		met := "met"
		if !g.met {
			met = "**missed**"
		}
		t.Row(g.what, g.limit, g.measured, met)
	}
	t.Write(b)
}

func (r *results) handlerTable(b *strings.Builder) {
	b.WriteString("\n## A review in the handler\n\n" +
		"CPU time of the process, garbage collection included, without TLS and network. Reviews as kube-apiserver sent them. *null* is\n" +
		"controller-runtime's webhook around a handler that allows; *conventional* decodes the typed pod, changes it, encodes it and\n" +
		"lets controller-runtime compare. Both patches make the same pod.\n\n")
	t := measured.NewTable("review", "bytes", "shorthop µs", "null µs", "conventional µs", "÷ null", "÷ conventional", "allocations: shorthop", "null", "conventional")
	for _, h := range r.Handler {
		t.Row(h.Review, fmt.Sprint(h.Bytes),
			fmt.Sprintf("%.0f", h.CPU["shorthop"]), fmt.Sprintf("%.0f", h.CPU["null"]), fmt.Sprintf("%.0f", h.CPU["conventional"]),
			fmt.Sprintf("%.2f", h.Ratio["null"]), fmt.Sprintf("%.2f", h.Ratio["conventional"]),
			fmt.Sprintf("%.0f", h.Allocations["shorthop"]), fmt.Sprintf("%.0f", h.Allocations["null"]), fmt.Sprintf("%.0f", h.Allocations["conventional"]))
	}
	t.Write(b)
}

func (r *results) servingTable(b *strings.Builder) {
	b.WriteString("\n## HTTPS\n\n" +
		"The typical review over one HTTP/2 connection, to servers that have one core. *bare TLS handler* is net/http that reads the\n" +
		"body, finds the UID and allows: no Go server can do less. Latencies count from when a review was due; where a rate is more\n" +
		"than a server can take, they are those of its queue. *as many as possible*: 32 reviews under way.\n\n")
	t := measured.NewTable("rate", "server", "reviews/s", "CPU µs/review", "p50 ms", "p99 ms")
	for _, s := range r.Serving {
		rate := "as many as possible"
		if s.Rate > 0 {
			rate = fmt.Sprintf("%d/s", s.Rate)
		}
		t.Row(rate, s.Server, fmt.Sprintf("%.0f", s.PerSecond), fmt.Sprintf("%.0f", s.CPU), fmt.Sprintf("%.2f", s.P50), fmt.Sprintf("%.2f", s.P99))
	}
	t.Write(b)
}

func (r *results) createTables(b *strings.Builder) {
	b.WriteString("\n## Creating pods\n\n" +
		"At a real kube-apiserver, as dry runs: all of admission and validation, no disk. Each variant has a namespace of the same API\n" +
		"server, and they take turns: pod by pod for one at a time, and by fifths of a part with 50 under way. *null webhook* allows,\n" +
		"*constant patch* answers our own patch from memory; both look for nothing but the UID. Their configuration selects a\n" +
		"namespace and no more; *constant patch, our filter* has ours, with its selectors, and *constant patch, filter with a prefix*\n" +
		"ours under a policy that excludes `openshift-*`: what is added to the row before it is what a prefix costs every pod. *added* is\n" +
		"to the median of *none*. CPU and memory are the webhook's, after the load; *API server* is CPU of kube-apiserver.\n")
	var floors []string
	for i := range settings {
		floors = append(floors, fmt.Sprintf("%.2fx", r.added(settings[i].name, variantConstant)/r.added(settings[i].name, variantMAP)))
	}
	fmt.Fprintf(b, "\nNo webhook is faster than *constant patch*, which adds %s (in the order below) of what the\n"+
		"*MutatingAdmissionPolicy* adds. What Shorthop takes beyond it is a review's CPU time, which one at a time with cold caches is several times that of the handler's table: compare\n"+
		"the CPU per review of *as many as possible* and of *500/s*.\n", strings.Join(floors, ", "))
	for i := range settings {
		fmt.Fprintf(b, "\n### %s\n\n", capitalized(settings[i].name))
		t := measured.NewTable("variant", "p50 ms", "p99 ms", "added ms", "50 under way: p50 ms", "p99 ms", "pods/s", "CPU s per 10,000 pods", "API server", "RssAnon MiB")
		for _, row := range r.Creates {
			if row.Setting != settings[i].name {
				continue
			}
			cpu, memory := "", ""
			if row.CPU > 0 {
				cpu, memory = fmt.Sprintf("%.1f", row.CPU), fmt.Sprintf("%.1f", row.Memory.Anonymous)
			}
			added := ""
			if row.Variant != variantNone {
				added = fmt.Sprintf("%.2f", r.added(row.Setting, row.Variant))
			}
			t.Row(row.Variant, fmt.Sprintf("%.2f", row.SerialP50), fmt.Sprintf("%.2f", row.SerialP99), added,
				fmt.Sprintf("%.1f", row.ParallelP50), fmt.Sprintf("%.1f", row.ParallelP99), fmt.Sprintf("%.0f", row.PodsPerSecond),
				cpu, fmt.Sprintf("%.1f", row.APIServerCPU), memory)
		}
		t.Write(b)
	}
}

func capitalized(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func (r *results) footprintTable(b *strings.Builder) {
	b.WriteString("\n## Memory, start and size\n\n" +
		"RssAnon is what cannot be dropped; VmRSS also counts the pages of the program's file that have been touched.\n\n")
	t := measured.NewTable("the process", "RssAnon MiB", "VmRSS MiB")
	mib := func(what string, m memory) {
		t.Row(what, fmt.Sprintf("%.1f", m.Anonymous), fmt.Sprintf("%.1f", m.Total))
	}
	mib("idle, certificates from files", r.Footprint.Idle)
	mib("idle, self-managed certificates", r.Footprint.SelfManaged)
	loaded := r.create(settings[len(settings)-1].name, nameShorthop)
	mib(fmt.Sprintf("after %s pods, 50 under way", measured.Thousands(loaded.Pods)), loaded.Memory)
	mib("10,000 namespaces, 1,000 rules and advice of 10,000 workloads, idle", r.Large.Idle)
	mib(fmt.Sprintf("the same, after %s pods", measured.Thousands(r.Large.Pods)), r.Large.Loaded)
	t.Write(b)
	fmt.Fprintf(b, "\nStart to ready: %.0f ms, in the large cluster %.0f ms. Binary: %.1f MiB.", r.Footprint.ReadyMS, r.Large.ReadyMS, r.Footprint.BinaryMiB)
	if r.Footprint.ImageMiB > 0 {
		fmt.Fprintf(b, " Image, uncompressed: %.1f MiB.", r.Footprint.ImageMiB)
	}
	b.WriteString("\n")
}

func (r *results) decideTable(b *strings.Builder) {
	b.WriteString("\n## A decision\n\nOf an ordinary pod, which only the last rule matches.\n\n")
	t := measured.NewTable("rules", "ns", "allocations")
	for _, d := range r.Decide {
		t.Row(measured.Thousands(d.Rules), fmt.Sprintf("%.0f", d.NS), fmt.Sprintf("%.0f", d.Allocations))
	}
	t.Write(b)
}
