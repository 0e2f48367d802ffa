package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/test/measured"
)

// results are what a run has found out.
type results struct {
	Machine            measured.Machine
	Lag                time.Duration // of the balancer
	Seed               uint64
	Lossless           []*phase
	Rate               int // asked for, per second
	Creations          *phase
	PodRate            int // asked for
	Faults             []*happened
	Samples            []sample
	SoakRate, SoakPods int
	SoakTook           time.Duration
}

// kept reports whether everything is as promised.
func (r *results) kept() bool { return r.lossless() && r.flat() }

// lossless reports whether nothing was lost but what may be.
func (r *results) lossless() bool {
	return !slices.ContainsFunc(append(slices.Clone(r.Lossless), r.Creations), func(p *phase) bool { return p.counts.lost() > 0 }) &&
		!slices.ContainsFunc(r.Faults, func(h *happened) bool { return !h.kept() })
}

// flat reports whether nothing leaks.
func (r *results) flat() bool {
	for i := range figures {
		if g := judge(&figures[i], r.Samples); !g.flat() {
			return false
		}
	}
	return true
}

func (r *results) page() string {
	return "# Lossless runs and the soak\n\n" +
		"Measured by `make soak`, which writes this page. Two servers are behind a balancer that does what a Service does: a server\n" +
		fmt.Sprintf("that is not ready gets new connections for another %s, as endpoints and kube-proxy need a moment. Reviews are sent by the\n", r.Lag) +
		"API server's own client for webhooks (`k8s.io/apiserver/pkg/util/webhook`), by the clock whether or not earlier ones are\n" +
		fmt.Sprintf("answered; every %dth over a connection of its own. They are reviews that kube-apiserver has sent, from 2.5 to 246 KB. *As\n", freshEach) +
		"expected* is the very patch that the policy in force makes, byte for byte; anything else is lost.\n\n" +
		r.Machine.String() + "\n\n" + r.tables()
}

// tables are the results as Markdown, which reads well on a terminal too.
func (r *results) tables() string {
	var b strings.Builder
	r.losslessTable(&b)
	r.creationsTable(&b)
	r.faultsTable(&b)
	r.leakTable(&b)
	return b.String()
}

func (r *results) losslessTable(b *strings.Builder) {
	fmt.Fprintf(b, "## Reviews while things change\n\n%d reviews a second. Latencies in ms, from when a review was due; one that was due and had to wait,\n"+
		"because %d were under way (as many as an API server allows), or because the machine was busy, has waited for that too. *Over 2 s*\n"+
		"are calls that took longer than the timeout of our webhook configuration; the client waits longer. *Refused* are connections\n"+
		"that found no server that is ready, or one that did not listen.\n\n", r.Rate, mostUnderWay)
	t := measured.NewTable("what changes", "times", "for", "reviews", "as expected", "lost", "over 2 s", "per second", "p50", "p99", "connections", "refused")
	for _, p := range r.Lossless {
		p.row(t)
	}
	t.Write(b)
	b.WriteString("\nA *rolling restart* replaces both servers: the new one is ready before the old one gets SIGTERM. A *rotation* renews the leaf of\n" +
		"each server, then the CA: both CAs are in the caBundle before the first leaf of the new one is served. In a *policy rollout* the\n" +
		"files of the servers change one after the other, by the symbolic link that kubelet swaps; between the two either policy's patch\n" +
		"is expected, afterwards only the new one's.\n")
	for _, p := range r.Lossless {
		writeProblems(b, p.name, p.counts.examples())
	}
}

func (p *phase) row(t *measured.Table) {
	c := p.counts
	t.Row(p.name, fmt.Sprint(p.changes), p.took.Round(time.Second).String(), measured.Thousands(c.sent), measured.Thousands(c.expected), verdict(c.lost(), c.lost() == 0),
		measured.Thousands(c.late), fmt.Sprintf("%.0f", float64(c.sent)/p.took.Seconds()),
		fmt.Sprintf("%.1f", quantile(c.latencies, 0.5)), fmt.Sprintf("%.1f", quantile(c.latencies, 0.99)), measured.Thousands(p.connections), measured.Thousands(p.refused))
}

func (r *results) creationsTable(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Pods while things change\n\n%d pods a second, created and deleted at a real kube-apiserver with our webhook configuration, half of them in a namespace\n"+
		"that is opted out and so by the other entry. *Mutated* is host, cache and ndots of the policy in force.\n\n", r.PodRate)
	t := measured.NewTable("what changes", "times", "for", "created", "mutated", "missed", "not created", "per second", "p50", "p99", "connections", "refused")
	p := r.Creations
	c := p.counts
	t.Row(p.name, fmt.Sprint(p.changes), p.took.Round(time.Second).String(), measured.Thousands(c.sent-c.failed), measured.Thousands(c.expected), verdict(c.missed(), c.missed() == 0),
		verdict(c.failed, c.failed == 0), fmt.Sprintf("%.0f", float64(c.sent-c.failed)/p.took.Seconds()),
		fmt.Sprintf("%.1f", quantile(c.latencies, 0.5)), fmt.Sprintf("%.1f", quantile(c.latencies, 0.99)), measured.Thousands(p.connections), measured.Thousands(p.refused))
	t.Write(b)
	writeProblems(b, p.name, c.examples())
}

func (r *results) faultsTable(b *strings.Builder) {
	fmt.Fprintf(b, "\n## The soak\n\n%s of %d reviews and %d pods a second, and one fault after the other, in rounds with each of them once, in random order\n"+
		"(`-seed %d`). One server lives through all of it and is the one whose files and connections are tampered with; *replica* is the\n"+
		"other one. Counted is from the fault until everything works again.\n\n"+
		"- *none lost*: every review is answered with the patch that the policy asks for; every pod is created and mutated.\n"+
		"- *none missed*: the API server may refuse pods, for it or etcd is away; those that it creates are mutated.\n"+
		"- *may be lost*: reviews on their way to a server that dies, and new ones until its Service has noticed. The others are answered\n"+
		"  as always, and no pod is refused.\n\n",
		r.SoakTook.Round(time.Second), r.SoakRate, r.SoakPods, r.Seed)
	t := measured.NewTable("fault", "times", "reviews", "promised", "lost", "over 2 s", "pods created", "promised", "missed", "not created", "")
	for _, h := range r.Faults {
		if h.reviews.sent+h.pods.sent == 0 {
			continue // it did not come to that
		}
		times := fmt.Sprint(h.times)
		if h.times == 0 {
			times = ""
		}
		met := "kept"
		if !h.kept() {
			met = "**broken**"
		}
		t.Row(h.fault.name, times, measured.Thousands(h.reviews.sent), string(h.fault.reviews), measured.Thousands(h.reviews.lost()), measured.Thousands(h.reviews.late),
			measured.Thousands(h.pods.sent-h.pods.failed), string(h.fault.pods), measured.Thousands(h.pods.missed()), measured.Thousands(h.pods.failed), met)
	}
	t.Write(b)
	for _, h := range r.Faults {
		writeProblems(b, h.fault.name, h.problems())
	}
}

func (r *results) leakTable(b *strings.Builder) {
	if len(r.Samples) == 0 {
		return
	}
	first := judge(&figures[0], r.Samples)
	fmt.Fprintf(b, "\n## Does it leak?\n\nThe long-lived server at rest, %d times after the %d of a warm-up, every %s: without load, after the connections of the load are\n"+
		"closed. *First* and *last* are medians of the first and the last quarter; *trend* is the rise from the first sample to the last of\n"+
		"a line through them whose slope is the median of those between all pairs. The difference and the trend may not be more than *allowed*.\n\n", first.samples, first.warmUps, interval(r.Samples).Round(time.Second))
	t := measured.NewTable("figure", "first", "last", "trend", "allowed", "lowest", "highest", "")
	for i := range figures {
		g := judge(&figures[i], r.Samples)
		format := "%.0f"
		if g.figure.unit != "" {
			format = "%.1f"
		}
		name := strings.TrimSpace(g.figure.name + " " + g.figure.unit)
		met := "flat"
		if !g.flat() {
			met = "**grows**"
		}
		t.Row(name, fmt.Sprintf(format, g.first), fmt.Sprintf(format, g.last), fmt.Sprintf("%+.1f", g.trend), fmt.Sprintf("%+.1f", g.allowed),
			fmt.Sprintf(format, g.lowest), fmt.Sprintf(format, g.highest), met)
	}
	t.Write(b)
}

func writeProblems(b *strings.Builder, name string, problems []string) {
	for i, problem := range problems {
		if i == 0 {
			fmt.Fprintf(b, "\nNot as expected, %s:\n\n", name)
		}
		fmt.Fprintf(b, "- %s\n", strings.Join(strings.Fields(problem), " "))
	}
}

// verdict makes a number that breaks a promise stand out.
func verdict(n int, kept bool) string {
	if kept {
		return measured.Thousands(n)
	}
	return "**" + measured.Thousands(n) + "**"
}
