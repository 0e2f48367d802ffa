package savings

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/shorthop/shorthop/test/measured"
)

// Targets, in percent of what the oracle that breaks nothing saves.
const (
	targetKnown  = 55
	targetAdvice = 90
)

// Write writes savings.md and savings.json to a folder.
func Write(results []Result, dir string) error {
	figures, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	for name, content := range map[string][]byte{"savings.json": append(figures, '\n'), "savings.md": []byte(page(results))} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return nil
}

func page(results []Result) string {
	var b strings.Builder
	b.WriteString(`# Queries saved, and what that breaks

![Queries saved by strategy and mix](savings.svg)

Written by ` + "`make bench-savings`" + `. Five stated mixes of resolvers and names (below, each share with its source: **most shares are
assumptions**, and whoever knows a cluster better puts a file into test/savings/mixes), ` + fmt.Sprint(workloadsOfMix) + ` workloads each. What there is to know is from
one month: the images whose resolver is known, and the query log that advice rests on. What is counted is the **next** month, with new
names, new tags and changed base images. Everything is drawn with a fixed seed.

What pods get is what the webhook decides and patches; which resolv.conf that makes, and what is asked under it, is **by the models** of
pkg/resolver. ` + "`make test-resolvers`" + ` holds them to the real glibc, musl and Go, and asks these for 500 sampled pairs of pod and name, half of
them broken, whether they are. A query is a packet that a pod sends, to whichever server: musl asks a cache and its fallback
at once, which is why two nameservers make queries of one. Caches, and what they save behind the first hop, are not in these figures.

- *broken*: the lookup has an answer under kubelet's default, and now none or another one. It is **charged what it costs under kubelet's
  default**, so that nobody saves by breaking. *seen* is of containers whose image's reference was there in the first month.
- *answered*: the share of lookups that have the answer that they have under kubelet's default, of those that have one there.
- *outside first*: lookups of names of the cluster whose first query goes outside it.
- *of the oracle*: of what the best ndots saves that breaks nothing, picked for each workload with the judged month known.
- *resolvers known* stands on the cluster DNS answering "svc." itself, and on images that were read in the first month; *new tags read*
  on their being read again.
- *advice in force* is the document that the advisor makes of the first month's log, as it would be after seven days like it. New tags get its
  ndots with ` + "`advice.match: Repository`" + ` only (*every build of an image*); the advisor, which runs every day, knows a
  build once a start of it was seen. Images are known as in *resolvers known*.
- *a floor of 1* is ` + "`spec.advice.floor: 1`" + `, an operator's choice: most of what 2 leaves are names like ` + "`example.com`" + `, and with 1 a
  name like ` + "`service.namespace`" + ` that the log did not have is asked outside first.

`)
	summary(&b, results)
	targets(&b, results)
	missing(&b, results)
	for i := range results {
		results[i].table(&b)
	}
	hijacked(&b, results)
	sources(&b, results)
	return b.String()
}

func percent(x float64) string { return fmt.Sprintf("%.1f %%", x) }

// perHundredThousand is a rate that is 0 only for none.
func perHundredThousand(n, of int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f", 100_000*float64(n)/float64(of))
}

func summary(b *strings.Builder, results []Result) {
	b.WriteString("## Queries saved of kubelet's default\n\n")
	header := []string{"strategy"}
	for i := range results {
		header = append(header, results[i].Name)
	}
	t := measured.NewTable(append(header, "least", "broken, of 100,000 lookups", "seen")...)
	for n := range results[0].Rows {
		cells := []string{results[0].Rows[n].Strategy}
		least, sum := 100.0, Figures{}
		for i := range results {
			row := &results[i].Rows[n]
			cells = append(cells, percent(row.SavedPercent))
			least = min(least, row.SavedPercent)
			sum.add(&row.Figures)
		}
		t.Row(append(cells, percent(least), perHundredThousand(sum.Broken, sum.Lookups), perHundredThousand(sum.BrokenSeen, sum.Lookups))...)
	}
	t.Write(b)
}

func targets(b *strings.Builder, results []Result) {
	b.WriteString("\n## Targets\n\nOf what the oracle saves that breaks nothing. The least counts.\n\n")
	header := []string{"strategy", "target"}
	for i := range results {
		header = append(header, results[i].Name)
	}
	t := measured.NewTable(append(header, "least", "")...)
	for _, goal := range []struct {
		strategy string
		target   float64
	}{{nameKnown, targetKnown}, {nameReread, targetKnown}, {nameAdvice, targetAdvice}, {nameInForce, targetAdvice}, {nameBuilds, targetAdvice}} {
		cells := []string{goal.strategy, fmt.Sprintf("≥ %.0f %%", goal.target)}
		least, met := 100.0, "met"
		for i := range results {
			share := results[i].Row(goal.strategy).OfOracle
			cells = append(cells, percent(share))
			least = min(least, share)
		}
		if least < goal.target {
			met = "**missed**"
		}
		t.Row(append(cells, percent(least), met)...)
	}
	t.Write(b)
	b.WriteString(`
Knowing the resolver saves where it falls through. musl does not: where most containers have it, only knowing the names helps
(advice). Rules of advice name ndots alone; what advice breaks, as rules and in force, are names that the first month did not have, on musl.
Advice in force is safe on musl whatever the image has, so that a changed base image breaks nothing; that costs queries.
`)
}

// explained are the strategies of which the page tells what they do not save.
func explained() []string { return []string{nameKnown, nameInForce, nameBuilds} }

func missing(b *strings.Builder, results []Result) {
	b.WriteString(`
## What is not saved

The rest of what the oracle saves, in percent of it, by the first of these that holds for the workload: an image of its pod was not read, was
not there in the first month, its environment comes from ` + "`envFrom`" + `, an image has musl. What remains are *names*: of one dot, which the
floor of 2 leaves to the search list; names like ` + "`pod.service.namespace`" + `, of which advice that has seen them keeps the answer from
depending on what is outside; and what the oracle knows of the names of the next month.

`)
	header := []string{"strategy", "because of"}
	for i := range results {
		header = append(header, results[i].Name)
	}
	t := measured.NewTable(header...)
	for _, strategy := range explained() {
		for _, o := range obstacles() {
			cells := []string{strategy, string(o)}
			for i := range results {
				cells = append(cells, percent(results[i].Row(strategy).Missing[o]))
			}
			t.Row(cells...)
		}
	}
	t.Write(b)
}

func (r *Result) table(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s %s lookups.\n\n", strings.ToUpper(r.Name[:1])+r.Name[1:], r.Mix.About, measured.Thousands(int(r.Rows[0].Lookups)))
	t := measured.NewTable("strategy", "queries", "saved", "of the oracle", "answered", "broken", "seen", "names broken", "outside first")
	for i := range r.Rows {
		row := &r.Rows[i]
		t.Row(row.Strategy, measured.Thousands(int(row.Queries)), percent(row.SavedPercent), percent(row.OfOracle),
			fmt.Sprintf("%.2f %%", 100*float64(row.Answered)/float64(row.Answered+row.Broken)),
			measured.Thousands(int(row.Broken)), measured.Thousands(int(row.BrokenSeen)), fmt.Sprint(row.BrokenNames), measured.Thousands(int(row.Outside)))
	}
	t.Write(b)
}

func hijacked(b *strings.Builder, results []Result) {
	fmt.Fprintf(b, "\n## A namespace that is a name outside\n\n"+
		"The same five months, while the outside has an address for everything below `%s`, a namespace with headless Services. Shorthop finds that\n"+
		"out, and the ndots of fall-through counts as 3 (`namespace_is_public_suffix`). All mixes together.\n\n", publicNamespace)
	t := measured.NewTable("strategy", "saved", "broken", "because of that name")
	var kubelet Figures
	for n := range results[0].Rows {
		var plain, sum Figures
		for i := range results {
			plain.add(&results[i].Rows[n].Figures)
			sum.add(&results[i].Rows[n].Hijacked)
		}
		if n == 0 {
			kubelet = sum
		}
		t.Row(results[0].Rows[n].Strategy, percent(100*float64(kubelet.Queries-sum.Queries)/float64(kubelet.Queries)),
			measured.Thousands(int(sum.Broken)), measured.Thousands(int(sum.Broken-plain.Broken)))
	}
	t.Write(b)
}

func sources(b *strings.Builder, results []Result) {
	b.WriteString("\n## The mixes\n\nIn percent: images of containers, names of those that a workload looks up, the rest of workloads or containers.\n")
	for i := range results {
		mix := &results[i].Mix
		fmt.Fprintf(b, "\n### %s\n\n", strings.ToUpper(mix.Name[:1])+mix.Name[1:])
		if len(mix.NodeSearches) > 0 {
			fmt.Fprintf(b, "Search domains of the nodes: %s.\n\n", strings.Join(mix.NodeSearches, ", "))
		}
		t := measured.NewTable("what", "percent", "source")
		for _, part := range []struct {
			name   string
			shares []Share
		}{{"images", mix.Images}, {"names", mix.Names}, {"pods", mix.Pods}, {"next month", mix.NextMonth}} {
			for _, s := range part.shares {
				t.Row(part.name+": "+s.Kind, fmt.Sprint(s.Percent), s.Source)
			}
		}
		t.Write(b)
	}
}
