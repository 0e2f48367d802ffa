package htmlreport

import (
	"fmt"

	"github.com/shorthop/shorthop/pkg/advisor"
)

// top is how many rows a chart has at most.
const top = 20

// Measures of a chart, in its own units, which are pixels at full width.
const (
	chartWidth = 640
	labelWidth = 206
	barStart   = labelWidth + 8
	barWidth   = 246
	rowHeight  = 26
	legendRow  = 28
	// labelChars is how many characters fit beside a bar.
	labelChars = 31
	// charWidth is about that of a character of the legend.
	charWidth = 7
)

// chart is a picture: groups of rectangles and texts.
type chart struct {
	ID, Title string
	// Description is what the picture shows, for those who do not see it.
	Description   string
	Width, Height int
	Groups        []group
}

// group is what belongs together. Its title appears under the mouse.
type group struct {
	Title string
	Bars  []bar
	Texts []text
}

type bar struct {
	Class               string
	X, Y, Width, Height int
}

type text struct {
	Class string
	X, Y  int
	Text  string
}

// series is an entry of a legend.
type series struct{ class, name string }

// legend is a row of squares and words.
func legend(entries ...series) group {
	var g group
	x := 0
	for _, e := range entries {
		g.Bars = append(g.Bars, bar{e.class, x, 4, 12, 12})
		g.Texts = append(g.Texts, text{"", x + 18, 14, e.name})
		x += 18 + len(e.name)*charWidth + 16
	}
	return g
}

// scaled is the length of a bar; what is more than nothing can be seen.
func scaled(n, most int64, length int) int {
	if n <= 0 || most <= 0 {
		return 0
	}
	return max(1, int(float64(n)/float64(most)*float64(length)+0.5))
}

// short cuts a label, which is ASCII, to what fits.
func short(label string) string {
	if len(label) <= labelChars {
		return label
	}
	return label[:labelChars-1] + "…"
}

// row begins a row with its label.
func row(i int, label, title string) group {
	return group{Title: title, Texts: []text{{"label", labelWidth, rowTop(i) + 16, short(label)}}}
}

func rowTop(i int) int { return legendRow + i*rowHeight }

// queriesChart shows the queries of the workloads that save most, now and with the
// recommendation.
func queriesChart(workloads []advisor.Workload) *chart {
	var shown []advisor.Workload
	var most int64
	for _, w := range workloads {
		if w.Recommendation != nil && w.Recommendation.Apply && len(shown) < top {
			shown = append(shown, w)
			most = max(most, w.Queries, w.Recommendation.Queries)
		}
	}
	if len(shown) == 0 {
		return nil
	}
	c := &chart{
		ID: "queries", Title: "Queries now and with the recommendation",
		Width: chartWidth, Height: rowTop(len(shown)),
		Groups: []group{legend(series{"now", "now"}, series{"then", "with the recommendation"})},
		Description: fmt.Sprintf("Bars of the %s that can save most. The first is %s/%s with %s queries now and %s with the recommendation. The table of workloads has all figures.",
			amount(len(shown), "workload"), shown[0].Namespace, shown[0].Name, number(shown[0].Queries), number(shown[0].Recommendation.Queries)),
	}
	for i, w := range shown {
		name, then := w.Namespace+"/"+w.Name, w.Recommendation.Queries
		g := row(i, name, fmt.Sprintf("%s: %s queries now, %s then, ndots %s", name, number(w.Queries), number(then), ndots(w.Ndots, w.Recommendation.Ndots)))
		now := scaled(w.Queries, most, barWidth)
		g.Bars = []bar{
			{"now", barStart, rowTop(i) + 4, now, 16},
			{"then", barStart, rowTop(i) + 8, scaled(then, most, barWidth), 8},
		}
		end := barStart + max(now, scaled(then, most, barWidth)) + 8
		g.Texts = append(g.Texts, text{"value", end, rowTop(i) + 16, number(w.Queries) + " → " + number(then)})
		c.Groups = append(c.Groups, g)
	}
	return c
}

// wasteChart shows the names whose search lists cost most.
func wasteChart(names []advisor.NameWaste) *chart {
	names = names[:min(len(names), top)]
	if len(names) == 0 {
		return nil
	}
	var most int64
	for i := range names {
		most = max(most, names[i].Queries)
	}
	c := &chart{
		ID: "waste", Title: "Names that cause most waste",
		Width: chartWidth, Height: rowTop(len(names)),
		Groups: []group{legend(series{"needed", "queries that had the answer"}, series{"wasted", "wasted on search domains"})},
		Description: fmt.Sprintf("Bars of the %s whose search domains cost most. The first is %s: %s of its %s queries were wasted.",
			amount(len(names), "name"), names[0].Name, number(names[0].Wasted), number(names[0].Queries)),
	}
	for i, n := range names {
		g := row(i, n.Name, fmt.Sprintf("%s: %s of %s queries wasted, %s in %s", n.Name, number(n.Wasted), number(n.Queries), amount(n.Lookups, "lookup"), amount(n.Workloads, "workload")))
		all := scaled(n.Queries, most, barWidth)
		needed := scaled(n.Queries-n.Wasted, n.Queries, all)
		g.Bars = []bar{
			{"needed", barStart, rowTop(i) + 4, needed, 16},
			{"wasted", barStart + needed, rowTop(i) + 4, all - needed, 16},
		}
		g.Texts = append(g.Texts, text{"value", barStart + all + 8, rowTop(i) + 16, number(n.Wasted) + " of " + number(n.Queries)})
		c.Groups = append(c.Groups, g)
	}
	return c
}

// resultsChart shows the response codes.
func resultsChart(r advisor.Results) *chart {
	all := r.NoError + r.NXDomain + r.Other
	if all == 0 {
		return nil
	}
	parts := []struct {
		class, name string
		n           int64
	}{{"needed", "NOERROR", r.NoError}, {"wasted", "NXDOMAIN", r.NXDomain}, {"other", "other", r.Other}}
	c := &chart{ID: "results", Title: "Response codes", Width: chartWidth, Height: legendRow + 28}
	var entries []series
	var g group
	x := 0
	for _, p := range parts {
		share := p.name + " " + percent(p.n, all)
		entries = append(entries, series{p.class, share + " (" + number(p.n) + ")"})
		width := min(scaled(p.n, all, chartWidth), chartWidth-x)
		g.Bars = append(g.Bars, bar{p.class, x, legendRow, width, 24})
		x += width
		c.Description += share + " (" + number(p.n) + " queries). "
	}
	c.Groups = []group{legend(entries...), g}
	return c
}

func amount[T int | int64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}
