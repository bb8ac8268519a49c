package main

import (
	"math"
	"testing"
)

func TestParseSize_AsRestic(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "2048": 2048, "1b": 1, "7B": 7, "1k": 1 << 10, "10K": 10 << 10, "20m": 20 << 20, "20M": 20 << 20,
		"30g": 30 << 30, "30G": 30 << 30, "2t": 2 << 40, "2T": 2 << 40, "9223372036854775807": math.MaxInt64,
	} {
		if got, err := parseSize("--x", s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "k", "-1", "+1", "1.5g", "1kb", "1 k", "x", "9223372036854775808", "8388608t", "0x10", "1_0", "1\x0b"} {
		if got, err := parseSize("--x", s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
}
