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
)

// colors of the resolvers: distinguishable with any kind of colour vision (Okabe and Ito).
var colors = []color.Color{
	color.RGBA{R: 0, G: 114, B: 178, A: 255},
	color.RGBA{R: 230, G: 159, B: 0, A: 255},
	color.RGBA{R: 0, G: 158, B: 115, A: 255},
}

// pictured are the kinds of names that the picture shows, one panel each.
var pictured = []string{"external", "service.namespace", "service.namespace.svc"}

// picture is a bar for every resolver and setting, in one panel for each kind of name.
func (q *Queries) picture() ([]byte, error) {
	var names, resolvers []string
	for _, c := range q.Cells {
		if !slices.Contains(resolvers, c.Resolver) {
			resolvers = append(resolvers, c.Resolver)
		}
	}
	most := 0
	for _, kind := range pictured {
		i := slices.IndexFunc(q.Cells, func(c Cell) bool { return c.Kind == kind })
		if i < 0 {
			return nil, fmt.Errorf("drawing the results: no %s name was measured", kind)
		}
		names = append(names, q.Cells[i].Name)
	}
	for _, c := range q.Cells {
		if slices.Contains(names, c.Name) {
			most = max(most, c.Queries)
		}
	}

	plot.DefaultFont.Variant, plotter.DefaultFont.Variant = "Sans", "Sans"
	panels := make([][]*plot.Plot, len(names))
	for i, name := range names {
		p := plot.New()
		p.Title.Text = fmt.Sprintf("%s (%s)", name, pictured[i])
		p.Y.Label.Text = "queries per lookup"
		p.Y.Min, p.Y.Max = 0, float64(most)+2
		p.Y.Tick.Marker = plot.ConstantTicks(ticks(most + 2))
		p.Add(plotter.NewGrid())
		width := vg.Points(16)
		for j, resolver := range resolvers {
			var values plotter.Values
			var labels plotter.XYLabels
			shift := width * vg.Length(float64(j)-float64(len(resolvers)-1)/2)
			for x, setting := range q.Settings {
				c := q.Cell(name, resolver, setting)
				values = append(values, float64(c.Queries))
				text := fmt.Sprint(c.Queries)
				if !c.Resolved {
					text += " ✗"
				}
				labels.XYs = append(labels.XYs, plotter.XY{X: float64(x), Y: float64(c.Queries)})
				labels.Labels = append(labels.Labels, text)
			}
			bars, err := plotter.NewBarChart(values, width)
			if err != nil {
				return nil, fmt.Errorf("drawing the results: %w", err)
			}
			bars.Color, bars.Offset, bars.LineStyle.Width = colors[j%len(colors)], shift, 0
			texts, err := plotter.NewLabels(labels)
			if err != nil {
				return nil, fmt.Errorf("drawing the results: %w", err)
			}
			texts.Offset = vg.Point{X: shift, Y: vg.Points(2)}
			for k := range texts.TextStyle {
				texts.TextStyle[k].XAlign = draw.XCenter
				texts.TextStyle[k].Font.Size = vg.Points(9)
			}
			p.Add(bars, texts)
			if i == 0 {
				p.Legend.Add(resolver, bars)
			}
		}
		if i == 0 {
			p.Legend.Add("✗ does not resolve")
		}
		p.Legend.Top, p.Legend.Left, p.Legend.Padding, p.Legend.ThumbnailWidth = true, true, vg.Points(3), vg.Points(10)
		p.Legend.XOffs, p.Legend.YOffs = 2.4*vg.Inch, vg.Points(4) // above bars that are low
		labels := make([]string, len(q.Settings))
		for x, setting := range q.Settings {
			labels[x] = strings.NewReplacer(", ", "\n", " ", "\n").Replace(setting)
		}
		p.NominalX(labels...)
		p.X.Min, p.X.Max = -0.5, float64(len(labels))-0.5
		panels[i] = []*plot.Plot{p}
	}

	const panelHeight = 2.4 * vg.Inch
	canvas := vgsvg.New(9.5*vg.Inch, panelHeight*vg.Length(len(panels)))
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: vg.Points(14), PadTop: vg.Points(4), PadBottom: vg.Points(4), PadLeft: vg.Points(4), PadRight: vg.Points(4)}
	for i, row := range plot.Align(panels, tiles, draw.New(canvas)) {
		panels[i][0].Draw(row[0])
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, fmt.Errorf("drawing the results: %w", err)
	}
	return svg.Bytes(), nil
}

// ticks are at every second number of queries.
func ticks(most int) []plot.Tick {
	var all []plot.Tick
	for value := 0; value <= most; value += 2 {
		all = append(all, plot.Tick{Value: float64(value), Label: fmt.Sprint(value)})
	}
	return all
}
