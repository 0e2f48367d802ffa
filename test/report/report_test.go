package report

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/htmlreport"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/hostile"
	"github.com/shorthop/shorthop/test/loggen"
)

var screenshots = flag.String("screenshots", "", "folder to write pictures of the page to")

const (
	workloads = 1000
	pageSize  = 50
	charted   = 20
)

// advised is what advise finds in the log of a simulated cluster.
var advised = sync.OnceValues(func() (*advisor.Report, error) {
	cluster := loggen.New(loggen.Options{Seed: 6, Workloads: workloads, Lookups: 120, Timestamps: true, Loss: 5})
	var text bytes.Buffer
	if _, err := cluster.Write(&text); err != nil {
		return nil, err
	}
	clients := advisor.NewClients(loggen.ResolverOf, nil)
	for _, pod := range cluster.Pods() {
		clients.Add(&pod)
	}
	collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{ClusterDomain: loggen.ClusterDomain})
	if err := collector.Read(&text, nil); err != nil {
		return nil, err
	}
	return collector.Report(advisor.Settings{Names: 10}), nil
})

func simulated(t *testing.T) (*advisor.Report, []byte) {
	t.Helper()
	r, err := advised()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Workloads) != workloads {
		t.Fatalf("%d workloads, want %d", len(r.Workloads), workloads)
	}
	return r, written(t, r, nil)
}

func written(t *testing.T, r *advisor.Report, comparison []advisor.Comparison) []byte {
	t.Helper()
	var html bytes.Buffer
	if err := htmlreport.Write(&html, r, comparison); err != nil {
		t.Fatal(err)
	}
	return html.Bytes()
}

func TestPageAsksForNothing(t *testing.T) {
	_, html := simulated(t)
	t.Run("from a server", func(t *testing.T) {
		b := newTab(t)
		address, asked := serve(t, html)
		b.do(t, chromedp.Navigate(address))
		use(t, b)
		if got := asked(); !slices.Equal(got, []string{"/"}) {
			t.Errorf("the server was asked for %q, want only the page", got)
		}
		if requests, _, _ := b.did(); !slices.Equal(requests, []string{address}) {
			t.Errorf("requests for %q, want only the page", requests)
		}
		b.quiet(t)
	})
	t.Run("from a file", func(t *testing.T) {
		b := newTab(t)
		b.open(t, html)
		use(t, b)
		if requests, _, _ := b.did(); len(requests) != 1 || !strings.HasPrefix(requests[0], "file://") {
			t.Errorf("requests for %q, want only the page", requests)
		}
		b.quiet(t)
	})
	// What the other tests rely on: requests and errors are noticed.
	t.Run("a page that asks is noticed", func(t *testing.T) {
		b := newTab(t)
		address, asked := serve(t, []byte(`<!DOCTYPE html><title>x</title><img src="/picture.png"><script>console.error("x"); alert(1); undefined.x</script>`))
		b.do(t, chromedp.Navigate(address))
		requests, messages, dialogs := b.did()
		if !slices.Contains(asked(), "/picture.png") || !slices.Contains(requests, address+"picture.png") {
			t.Errorf("asked for %q, noticed %q", asked(), requests)
		}
		if len(messages) < 2 || dialogs != 1 {
			t.Errorf("noticed %q and %d dialogs", messages, dialogs)
		}
	})
	t.Run("a script that is not the page's does not run", func(t *testing.T) {
		b := newTab(t)
		more := bytes.Replace(html, []byte("</main>"), []byte(`<script>window.hit = 1</script><img src="/x.png" onerror="window.hit = 2"></main>`), 1)
		address, asked := serve(t, more)
		b.do(t, chromedp.Navigate(address))
		if evaluate[bool](t, b, `"hit" in window`) {
			t.Error("it ran")
		}
		if got := asked(); !slices.Equal(got, []string{"/"}) {
			t.Errorf("the server was asked for %q, want only the page", got)
		}
		if _, messages, _ := b.did(); len(messages) < 2 {
			t.Errorf("want two violations, got %q", messages)
		}
	})
}

// use does what people do with a page.
func use(t *testing.T, b *tab) {
	t.Helper()
	b.do(t,
		chromedp.Click(chromedp.CSS("#workloads thead th:nth-child(3) button")),
		chromedp.Click(chromedp.CSS("#next")),
		chromedp.Click(chromedp.CSS("#workloads tbody:not(.off-page):not([hidden]) summary")),
	)
	search(t, b, "shop")
}

// search types over what was searched for before.
func search(t *testing.T, b *tab, words string) {
	t.Helper()
	b.do(t, chromedp.Evaluate[chromedp.Void](`document.getElementById('search').focus(); document.getElementById('search').select()`), chromedp.KeyEvent(words))
}

func TestCharts(t *testing.T) {
	r, html := simulated(t)
	b := newTab(t)
	b.open(t, html)
	type measured struct {
		Title, Description string
		Rows               int
		Widths             map[string][]float64
		Outside            []string
	}
	// The names that aria-labelledby leads to, the rectangles as they are drawn, and texts that leave the picture to the right.
	got := evaluate[map[string]measured](t, b, `Object.fromEntries(Array.from(document.querySelectorAll('svg[role=img]'), (svg) => {
		const [title, description] = svg.getAttribute('aria-labelledby').split(' ').map((id) => document.getElementById(id));
		const widths = {}, box = svg.getBoundingClientRect(), outside = [];
		for (const rect of svg.querySelectorAll('g:not(:first-of-type) rect')) (widths[rect.getAttribute('class')] ??= []).push(rect.getBBox().width);
		for (const text of svg.querySelectorAll('text')) {
			const {left, right} = text.getBoundingClientRect();
			if (right > box.right || left < box.left) outside.push(text.textContent);
		}
		return [title.id, {Title: title.textContent, Description: description.textContent, Rows: svg.querySelectorAll('g').length - 1, Widths: widths, Outside: outside}];
	}))`)
	for id, rows := range map[string]int{"queries-title": charted, "waste-title": min(charted, len(r.Waste)), "results-title": 1} {
		c, ok := got[id]
		if !ok {
			t.Errorf("no picture %s", id)
			continue
		}
		if c.Title == "" || c.Description == "" || c.Rows != rows || len(c.Outside) > 0 {
			t.Errorf("%s: got %+v, want %d rows, a title and a description, and all texts inside", id, c, rows)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d pictures, want 3", len(got))
	}
	now, then := got["queries-title"].Widths["now"], got["queries-title"].Widths["then"]
	if len(now) != charted || len(then) != charted {
		t.Fatalf("%d bars now and %d then, want %d", len(now), len(then), charted)
	}
	for i := range charted {
		w := r.Workloads[i]
		want := float64(w.Recommendation.Queries) / float64(w.Queries)
		if share := then[i] / now[i]; share < want-0.02 || share > want+0.02 {
			t.Errorf("%s: the bars are as 1 to %.3f, want %.3f", w.Name, share, want)
		}
	}
}

// contrasts measures every text against what is behind it, and every bar of a
// chart against its picture's background.
const contrasts = `(() => {
	const parse = (color) => color.match(/[\d.]+/g).map(Number);
	const luminance = (color) => {
		const [r, g, b] = parse(color).slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (element) => {
		for (let e = element; e; e = e.parentElement) {
			const color = getComputedStyle(e).backgroundColor, alpha = parse(color)[3];
			if (alpha === undefined || alpha === 1) return color;
		}
		return 'rgb(255, 255, 255)';
	};
	const ratio = (a, b) => {
		const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
		return (high + 0.05) / (low + 0.05);
	};
	const result = {texts: 0, bars: 0, low: [], page: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color};
	for (const details of Array.from(document.querySelectorAll('details')).slice(0, 5)) details.open = true;
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const seen = new Set();
	while (walker.nextNode()) {
		const element = walker.currentNode.parentElement;
		if (!walker.currentNode.data.trim() || seen.has(element) || !element.checkVisibility() || element.closest('title, desc, script')) continue;
		seen.add(element);
		const color = element.closest('svg') ? getComputedStyle(element).fill : getComputedStyle(element).color;
		const got = ratio(color, behind(element));
		result.texts++;
		if (got < 4.5) result.low.push(element.outerHTML.slice(0, 80) + ' ' + got.toFixed(2));
	}
	for (const rect of document.querySelectorAll('svg rect')) {
		const got = ratio(getComputedStyle(rect).fill, behind(rect));
		result.bars++;
		if (got < 3) result.low.push(rect.outerHTML + ' ' + got.toFixed(2));
	}
	return result;
})()`

func TestLightAndDark(t *testing.T) {
	r, _ := simulated(t)
	// Everything that a page can have.
	html := written(t, r, advisor.Compare(r, r))
	b := newTab(t)
	b.open(t, html)
	type colours struct {
		Texts, Bars int
		Low         []string
		Page, Ink   string
	}
	found := make(map[string]colours)
	for _, media := range []string{"screen", "print"} {
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(t, scheme, media)
			got := evaluate[colours](t, b, contrasts)
			t.Logf("%s, %s: %d texts and %d bars, %s on %s", media, scheme, got.Texts, got.Bars, got.Ink, got.Page)
			if len(got.Low) > 0 {
				t.Errorf("%s, %s: too little contrast: %d, for example\n%s", media, scheme, len(got.Low), strings.Join(got.Low[:min(len(got.Low), 10)], "\n"))
			}
			if got.Texts < 100 || got.Bars < 2*charted {
				t.Errorf("%s, %s: only %d texts and %d bars", media, scheme, got.Texts, got.Bars)
			}
			found[media+" "+scheme] = got
			if *screenshots != "" {
				picture(t, b, media+"-"+scheme)
			}
		}
	}
	light, dark := found["screen light"], found["screen dark"]
	if light.Page == dark.Page || light.Ink == dark.Ink {
		t.Errorf("light is %s on %s, dark %s on %s", light.Ink, light.Page, dark.Ink, dark.Page)
	}
	if paper := found["print dark"]; paper.Page != "rgb(255, 255, 255)" || paper.Ink != "rgb(0, 0, 0)" {
		t.Errorf("paper is %s on %s", paper.Ink, paper.Page)
	}
	b.quiet(t)
}

// picture takes two: the beginning of the page, and the table.
func picture(t *testing.T, b *tab, name string) {
	t.Helper()
	for part, element := range map[string]string{"top": "h1", "table": "#workloads-heading"} {
		b.do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector('`+element+`').scrollIntoView()`))
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, name+"-"+part+".png"), png, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shown are the names of the workloads that can be seen, as namespace/name.
func shown(t *testing.T, b *tab) []string {
	t.Helper()
	return evaluate[[]string](t, b, `Array.from(document.querySelectorAll('#workloads > tbody')).filter((body) => body.checkVisibility()).map((body) => body.querySelector('th .name').textContent)`)
}

func names(list []advisor.Workload) []string {
	var all []string
	for i := range list {
		all = append(all, list[i].Namespace+"/"+list[i].Name)
	}
	return all
}

func TestThousandWorkloads(t *testing.T) {
	r, html := simulated(t)
	t.Logf("%d workloads in %d bytes", len(r.Workloads), len(html))
	b := newTab(t)
	b.open(t, html)
	status := func() string {
		t.Helper()
		return evaluate[string](t, b, `document.getElementById('status').textContent`)
	}
	want := func(what string, expected []string, words string) {
		t.Helper()
		if got := shown(t, b); !slices.Equal(got, expected) {
			t.Errorf("%s: shown are %d, %q..., want %d, %q...", what, len(got), got[:min(len(got), 3)], len(expected), expected[:min(len(expected), 3)])
		}
		if got := status(); got != words {
			t.Errorf("%s: it says %q, want %q", what, got, words)
		}
	}
	all := names(r.Workloads)
	want("at first", all[:pageSize], "1–50 of 1,000")

	b.do(t, chromedp.Click(chromedp.CSS("#next")))
	want("the second page", all[pageSize:2*pageSize], "51–100 of 1,000")
	b.do(t, chromedp.Click(chromedp.CSS("#previous")))
	want("back again", all[:pageSize], "1–50 of 1,000")

	header := func(n int) string { return fmt.Sprintf("#workloads > thead th:nth-child(%d) button", n) }
	byQueries := slices.Clone(r.Workloads)
	slices.SortStableFunc(byQueries, func(x, y advisor.Workload) int { return cmp.Compare(y.Queries, x.Queries) })
	b.do(t, chromedp.Click(chromedp.CSS(header(3))))
	want("by queries, most first", names(byQueries)[:pageSize], "1–50 of 1,000")
	if got := evaluate[string](t, b, `Array.from(document.querySelectorAll('#workloads > thead th'), (th) => th.ariaSort ?? '').join()`); got != ",,descending,,,,,,,," {
		t.Errorf("aria-sort is %q", got)
	}
	slices.SortStableFunc(byQueries, func(x, y advisor.Workload) int { return cmp.Compare(x.Queries, y.Queries) })
	b.do(t, chromedp.Click(chromedp.CSS(header(3))))
	want("by queries, fewest first", names(byQueries)[:pageSize], "1–50 of 1,000")

	// Numbers in names count as numbers: app-9 comes before app-10.
	byName := slices.Clone(r.Workloads)
	slices.SortFunc(byName, func(x, y advisor.Workload) int {
		return cmp.Or(strings.Compare(x.Namespace, y.Namespace), cmp.Compare(index(t, x), index(t, y)))
	})
	b.do(t, chromedp.Click(chromedp.CSS(header(1))))
	want("by name", names(byName)[:pageSize], "1–50 of 1,000")

	// Where there is no recommendation there is nothing to order by, in both directions.
	for range 2 {
		b.do(t, chromedp.Click(chromedp.CSS(header(4))))
		if got := shown(t, b); slices.ContainsFunc(r.Workloads, func(w advisor.Workload) bool {
			return w.Recommendation == nil && slices.Contains(got, w.Namespace+"/"+w.Name)
		}) {
			t.Error("by queries then: workloads without a recommendation come first")
		}
	}
	b.do(t, chromedp.Click(chromedp.CSS(header(1))))

	var found []string
	for _, name := range names(byName) {
		if strings.Contains(name, "shop/app-77") {
			found = append(found, name)
		}
	}
	search(t, b, "Shop/APP-77")
	want("a search", found, fmt.Sprintf("1–%d of %d (of 1,000)", len(found), len(found)))
	if len(found) == 0 {
		t.Error("nothing to find: another seed?")
	}
	search(t, b, "no such workload")
	want("a search for nothing", []string{}, "No workload matches")

	// All words have to be there, those of names and risks too.
	var both []string
	for i := range byName {
		w := &byName[i]
		if w.Namespace == "dev" && slices.ContainsFunc(w.Names, func(u advisor.NameUse) bool { return u.Name == "hooks.example.org" }) {
			both = append(both, w.Namespace+"/"+w.Name)
		}
	}
	search(t, b, "dev/ hooks.example.org")
	want("two words", both[:min(len(both), pageSize)], fmt.Sprintf("1–%d of %d (of 1,000)", min(len(both), pageSize), len(both)))

	for value, matches := range map[string]func(w *advisor.Workload) bool{
		"apply": func(w *advisor.Workload) bool { return w.Recommendation != nil && w.Recommendation.Apply },
		"keep":  func(w *advisor.Workload) bool { return w.Recommendation != nil && !w.Recommendation.Apply },
		"none":  func(w *advisor.Workload) bool { return w.Recommendation == nil },
		"risks": func(w *advisor.Workload) bool { return len(w.Risks) > 0 },
	} {
		var kept []string
		for i := range byName {
			if matches(&byName[i]) {
				kept = append(kept, byName[i].Namespace+"/"+byName[i].Name)
			}
		}
		evaluate[bool](t, b, `(() => { for (const [id, value, event] of [['search', '', 'input'], ['show', '`+value+`', 'change']]) { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event(event)); } return true; })()`)
		if len(kept) == 0 {
			t.Errorf("no workload for the filter %s: another seed?", value)
		}
		if got := shown(t, b); !slices.Equal(got, kept[:min(len(kept), pageSize)]) {
			t.Errorf("filter %s: shown are %d, want %d", value, len(got), min(len(kept), pageSize))
		}
		// Paper has all pages of what matches.
		b.scheme(t, "light", "print")
		if got := shown(t, b); !slices.Equal(got, kept) {
			t.Errorf("filter %s: %d on paper, want %d", value, len(got), len(kept))
		}
		b.scheme(t, "light", "screen")
	}
	b.quiet(t)
}

// index is the number in the name of a simulated workload.
func index(t *testing.T, w advisor.Workload) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(w.Name, "app-"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWithoutJavaScript(t *testing.T) {
	r, html := simulated(t)
	b := newTab(t)
	call(t, b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(t, html)
	if got := shown(t, b); !slices.Equal(got, names(r.Workloads)) {
		t.Errorf("%d workloads are shown, want all %d in the report's order", len(got), workloads)
	}
	if evaluate[bool](t, b, `document.getElementById('controls').checkVisibility() || document.querySelector('#workloads thead button') !== null`) {
		t.Error("there are controls that do nothing")
	}
}

func TestHostileNamesAreText(t *testing.T) {
	var texts, printed []string
	for _, text := range hostile.Texts() {
		texts, printed = append(texts, text.Text), append(printed, printable.Line(printable.Cut(text.Text, printable.MaxLine)))
	}
	r := &advisor.Report{Cluster: advisor.Cluster{Domain: texts[0], NodeSearches: texts}}
	for i, s := range texts {
		risks := []advisor.Risk{{Code: advisor.RiskCode(s), Text: s, Names: texts}}
		r.Risks = append(r.Risks, risks...)
		r.Waste = append(r.Waste, advisor.NameWaste{Name: s, Queries: 10, Wasted: 8, Lookups: 1, Workloads: 1})
		r.Unattributed = append(r.Unattributed, advisor.Unattributed{Reason: advisor.Reason(s), Text: s, Clients: []advisor.ClientUse{{Address: s}}})
		r.Workloads = append(r.Workloads, advisor.Workload{
			WorkloadKey: advisor.WorkloadKey{Namespace: s, Kind: s, Name: s}, Queries: int64(100 - i), Ndots: []int{5}, Risks: risks,
			Names:          []advisor.NameUse{{Name: s, Answer: s}},
			Recommendation: &advisor.Recommendation{Ndots: 1, Queries: 1, Saved: int64(99 - i), Confidence: advisor.Confidence(s), Because: texts, Apply: true},
		})
	}
	b := newTab(t)
	b.open(t, written(t, r, []advisor.Comparison{{WorkloadKey: r.Workloads[0].WorkloadKey}}))
	search(t, b, "alert(1)")
	if got := evaluate[int](t, b, `document.querySelectorAll('script').length`); got != 1 {
		t.Errorf("%d scripts, want the page's own", got)
	}
	if got := evaluate[int](t, b, `document.querySelectorAll('img, iframe, object, embed, form, a, base').length`); got != 0 {
		t.Errorf("%d elements that the page does not have", got)
	}
	if got := evaluate[[]string](t, b, `Array.from(document.querySelectorAll('*')).flatMap((e) => e.getAttributeNames().filter((n) => n.startsWith('on')))`); len(got) > 0 {
		t.Errorf("attributes %q", got)
	}
	if got := evaluate[[]string](t, b, `Array.from(document.querySelectorAll('#workloads .why td.name:first-child'), (e) => e.textContent)`); !slices.Equal(got, printed) {
		t.Errorf("names are shown as %q, want %q", got, printed)
	}
	if requests, _, _ := b.did(); len(requests) != 1 {
		t.Errorf("requests for %q", requests)
	}
	b.quiet(t)
}
