package main

import (
	"math"
	"slices"
)

// median is the middle value, or the mean of the two in the middle; of none it is not a number.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// mean of no values is not a number.
func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// ratio is the value as a multiple of the base; not a number where there is no such thing.
func ratio(value, base float64) float64 {
	if math.IsNaN(base) || base <= 0 || value < 0 {
		return math.NaN()
	}
	return value / base
}
