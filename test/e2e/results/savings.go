package results

import (
	"bytes"
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/shorthop/shorthop/test/savings"
)

// shown are the strategies of the picture, with how they are called there.
var shown = []struct{ strategy, label string }{
	{"fixed 3", "fixed 3"},
	{"fixed 2 (Zalando)", "fixed 2"},
	{"fixed 1", "fixed 1"},
	{"ACK: 3, cache and kube-dns", "ACK\n3, two\nservers"},
	{"CCE: 5, cache and CoreDNS", "CCE\n5, two\nservers"},
	{"Shorthop, default 4", "Shorthop\ndefault"},
	{"Shorthop, resolvers known", "Shorthop\nresolvers\nknown"},
	{"Shorthop, advice as rules", "Shorthop\nadvice\nas rules"},
	{"Shorthop, advice in force", "Shorthop\nadvice\nin force"},
	{"oracle, breaking nothing", "the best\nwithout\nbreaking"},
}

// SavingsPicture is a bar for every strategy and mix, and what breaks.
func SavingsPicture(all []savings.Result) ([]byte, error) {
	plot.DefaultFont.Variant, plotter.DefaultFont.Variant = "Sans", "Sans"
	p := plot.New()
	p.Title.Text = "DNS queries saved, by mix of resolvers and names; ✗ broken lookups of 100,000"
	p.Y.Label.Text = "% of kubelet's default"
	p.Y.Min, p.Y.Max = -40, 100
	var ticks []plot.Tick
	for value := -40; value <= 100; value += 20 {
		ticks = append(ticks, plot.Tick{Value: float64(value), Label: fmt.Sprint(value)})
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Add(plotter.NewGrid())
	palette := append(slices.Clone(colors), color.RGBA{R: 204, G: 121, B: 167, A: 255}, color.RGBA{R: 86, G: 180, B: 233, A: 255})
	width := vg.Points(9)
	for i := range all {
		values := make(plotter.Values, len(shown))
		for x, s := range shown {
			values[x] = all[i].Row(s.strategy).SavedPercent
		}
		bars, err := plotter.NewBarChart(values, width)
		if err != nil {
			return nil, fmt.Errorf("drawing the savings: %w", err)
		}
		bars.Color, bars.LineStyle.Width = palette[i%len(palette)], 0
		bars.Offset = width * vg.Length(float64(i)-float64(len(all)-1)/2)
		p.Add(bars)
		p.Legend.Add(all[i].Name, bars)
	}
	var broken plotter.XYLabels
	labels := make([]string, len(shown))
	for x, s := range shown {
		labels[x] = s.label
		var lookups, lost int64
		top := 0.0
		for i := range all {
			row := all[i].Row(s.strategy)
			lookups, lost, top = lookups+row.Lookups, lost+row.Broken, max(top, row.SavedPercent)
		}
		text := "none broken"
		if lost > 0 {
			text = fmt.Sprintf("✗ %.0f", max(1, 100_000*float64(lost)/float64(lookups)))
		}
		broken.XYs = append(broken.XYs, plotter.XY{X: float64(x), Y: top})
		broken.Labels = append(broken.Labels, text)
	}
	texts, err := plotter.NewLabels(broken)
	if err != nil {
		return nil, fmt.Errorf("drawing the savings: %w", err)
	}
	texts.Offset = vg.Point{Y: vg.Points(3)}
	for i := range texts.TextStyle {
		texts.TextStyle[i].XAlign = draw.XCenter
		texts.TextStyle[i].Font.Size = vg.Points(9)
		if strings.HasPrefix(broken.Labels[i], "✗") {
			texts.TextStyle[i].Color = color.RGBA{R: 190, G: 0, B: 0, A: 255}
		}
	}
	p.Add(texts)
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.5, float64(len(labels))-0.4
	p.X.Tick.Label.Font.Size = vg.Points(8.5)
	p.Legend.Top, p.Legend.Left, p.Legend.Padding, p.Legend.ThumbnailWidth = true, true, vg.Points(1), vg.Points(10)
	p.Legend.XOffs = 3.3 * vg.Inch // where there is nothing to see
	p.Legend.TextStyle.Font.Size = vg.Points(9)

	canvas := vgsvg.New(9.5*vg.Inch, 3.6*vg.Inch)
	p.Draw(draw.New(canvas))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, fmt.Errorf("drawing the savings: %w", err)
	}
	return svg.Bytes(), nil
}
