package main

import (
	"testing"
	"time"

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

func TestResultTable_OfSeveralRounds_HasMediansAndMultiplesOfTheBestPeer(t *testing.T) {
	m := func(wall time.Duration, mibs int64) measurement {
		return measurement{
			usage:  usage{wall: wall * time.Second, cpu: 2 * wall * time.Second, rss: mibs << 20, anon: mibs << 19},
			stored: mibs << 20, hasStored: true,
		}
	}
	restores := m(4, 8)
	restores.hasStored = false
	steps := []*step{{name: "one", title: "first"}, {name: "two", title: "second"}}
	got := resultTable(steps, []*tool{{name: "kura"}, {name: "restic"}, {name: "borg"}}, results{
		"one": {"kura": {m(1, 4), m(3, 4), m(2, 4)}, "restic": {m(4, 8), m(5, 8), m(20, 8)}, "borg": {m(10, 2), m(10, 2), m(10, 2)}},
		"two": {"kura": {restores}},
	}, false)
	want := [][]string{
		{"first", "kura", "2.000", "1.000–3.000", "0.40", "4.000", "0.40", "4.0", "2.00", "2.0", "2.00", "4.0", "2.00"},
		{"", "restic", "5.000", "4.000–20.0", "1.00", "10.0", "1.00", "8.0", "4.00", "4.0", "4.00", "8.0", "4.00"},
		{"", "borg", "10.0", "10.0–10.0", "2.00", "20.0", "2.00", "2.0", "1.00", "1.0", "1.00", "2.0", "1.00"},
		{"second", "kura", "4.000", "4.000–4.000", none, "8.000", none, "8.0", none, "4.0", none, none, none},
		{"", "restic", none, none, none, none, none, none, none, none, none, none, none},
		{"", "borg", none, none, none, none, none, none, none, none, none, none, none},
	}
	if diff := cmp.Diff(want, got.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
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
