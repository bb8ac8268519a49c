package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable_WithWideRunes_IsAligned(t *testing.T) {
	tab := table{
		head: []string{"step", "program", "wall s", "×"},
		rows: [][]string{{"a long step", "kura", "1.5", "0.50"}, {"", "b", "10.0", none}},
	}
	want := "" +
		"step         program  wall s     ×\n" +
		"a long step  kura        1.5  0.50\n" +
		"             b          10.0     –\n"
	if diff := cmp.Diff(want, tab.text()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	want = "" +
		"| step | program | wall s | × |\n" +
		"| --- | --- | ---: | ---: |\n" +
		"| a long step | kura | 1.5 | 0.50 |\n" +
		"|  | b | 10.0 | – |\n"
	if diff := cmp.Diff(want, tab.markdown()); diff != "" {
		t.Errorf("markdown (-want +got):\n%s", diff)
	}
}

func TestMib_OfSmallNumbers_KeepsThreeDigits(t *testing.T) {
	for _, c := range []struct {
		bytes float64
		want  string
	}{
		{0, "0"},
		{263, "0.000251"},
		{2100, "0.002"},
		{-64.1 * (1 << 20), "-64.1"},
		{1536 << 20, "1536.0"},
	} {
		if got := mib(c.bytes); got != c.want {
			t.Errorf("mib(%v) = %q, want %q", c.bytes, got, c.want)
		}
	}
}
