package main

import (
	"math"
	"testing"
)

// same compares numbers, of which not-a-number is one.
func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func TestMedian_OfRounds_IsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, math.NaN()},
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 100}, 3.5},
	} {
		given := append([]float64(nil), c.values...)
		if got := median(c.values); !same(got, c.want) {
			t.Errorf("median(%v) = %v, want %v", given, got, c.want)
		}
		for i := range given {
			if c.values[i] != given[i] {
				t.Errorf("median reordered %v to %v", given, c.values)
			}
		}
	}
}

func TestRatio_WhereThereIsNone_IsNotANumber(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct{ value, base, want float64 }{
		{1, 4, 0.25},
		{0, 4, 0},
		{4, 0, nan},
		{4, nan, nan},
		{nan, 4, nan},
		{-4, 4, nan},
	} {
		if got := ratio(c.value, c.base); !same(got, c.want) {
			t.Errorf("ratio(%v, %v) = %v, want %v", c.value, c.base, got, c.want)
		}
	}
}
