package main

import (
	"math"
	"time"
)

// figure is something of the long-lived server that must not grow.
type figure struct {
	name, unit string
	of         func(sample) float64
	// allowed is by how much it may grow: share of what it was, and at least least.
	least, share float64
}

// figures: what is counted is exact at rest but for a connection that is closed a moment later or a retry that is under
// way. The heap after a collection is half of what the collector aims at (GOGC=100). RssAnon also has what the collector
// has not yet given back to the kernel.
var figures = []figure{
	{"goroutines", "", func(s sample) float64 { return s.goroutines }, 3, 0},
	{"open files", "", func(s sample) float64 { return s.files }, 3, 0},
	{"heap after a collection", "MiB", func(s sample) float64 { return s.heap }, 2, 0.15},
	{"heap in use", "MiB", func(s sample) float64 { return s.heapInUse }, 4, 0.25},
	{"RssAnon", "MiB", func(s sample) float64 { return s.anonymous }, 4, 0.25},
}

// growth is how a figure went.
type growth struct {
	figure *figure
	// first and last are medians of the first and of the last quarter of the samples.
	first, last float64
	// trend is by how much a line through the samples rises from the first to the last.
	trend            float64
	lowest, highest  float64
	allowed          float64
	samples, warmUps int
}

// flat reports whether there is no leak: neither the medians nor the trend grow by more than is allowed.
func (g *growth) flat() bool { return g.last-g.first <= g.allowed && g.trend <= g.allowed }

// judge compares samples. The first eighth is a warm-up: what is allocated once is there after it.
func judge(f *figure, samples []sample) growth {
	warmUps := len(samples) / 8
	samples = samples[warmUps:]
	g := growth{figure: f, samples: len(samples), warmUps: warmUps, lowest: math.Inf(1), highest: math.Inf(-1)}
	var at, values []float64
	for _, s := range samples {
		value := f.of(s)
		at, values = append(at, s.at.Seconds()), append(values, value)
		g.lowest, g.highest = min(g.lowest, value), max(g.highest, value)
	}
	quarter := max(1, len(values)/4)
	g.first, g.last = quantile(values[:quarter], 0.5), quantile(values[len(values)-quarter:], 0.5)
	g.trend = slope(at, values) * (at[len(at)-1] - at[0])
	g.allowed = max(f.least, f.share*g.first)
	return g
}

// slope is the median of the slopes between all pairs of points (Theil and Sen), 0 for a single point. What a fault has left
// on the heap of one sample does not bend it, as it would a least-squares fit.
func slope(x, y []float64) float64 {
	var slopes []float64
	for i := range x {
		for j := range i {
			slopes = append(slopes, (y[i]-y[j])/(x[i]-x[j]))
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	return quantile(slopes, 0.5)
}

// interval is the mean time between two samples.
func interval(samples []sample) time.Duration {
	if len(samples) < 2 {
		return 0
	}
	return (samples[len(samples)-1].at - samples[0].at) / time.Duration(len(samples)-1)
}
