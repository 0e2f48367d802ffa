package main

import (
	"math"
	"slices"
)

// quantile returns the value that a share q of the values does not exceed, by the nearest rank; NaN of none. It sorts them.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	rank := int(math.Ceil(q * float64(len(values))))
	return values[min(max(rank, 1), len(values))-1]
}
