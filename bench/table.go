package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// table is text in rows and columns. The columns after the first two hold numbers.
type table struct {
	head []string
	rows [][]string
}

const textColumns = 2

// text aligns the columns for a terminal.
func (t table) text() string {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i < textColumns {
				line.WriteString(cell + pad)
			} else {
				line.WriteString(pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// markdown writes the table with numbers to the right.
func (t table) markdown() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(t.head)
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---"
		if i >= textColumns {
			rule[i] = "---:"
		}
	}
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// metric is one of the numbers that are compared.
type metric struct {
	title  string
	value  func(m measurement) float64
	format func(v float64) string
	spread bool // the least and the most of the rounds are shown, too
}

var metrics = []metric{
	{"wall s", func(m measurement) float64 { return m.wall.Seconds() }, seconds, true},
	{"CPU s", func(m measurement) float64 { return m.cpu.Seconds() }, seconds, false},
	{"RSS MiB", func(m measurement) float64 { return float64(m.rss) }, mib, false},
	{"RssAnon MiB", func(m measurement) float64 { return float64(m.anon) }, mib, false},
	{"stored MiB", func(m measurement) float64 {
		if !m.hasStored {
			return math.NaN()
		}
		return float64(m.stored)
	}, mib, false},
}

// farMetrics are those of stores that are far away.
var farMetrics = []metric{
	{"requests", func(m measurement) float64 { return float64(m.trips.requests) }, whole, false},
	{"round trips", func(m measurement) float64 { return float64(m.trips.chain) }, whole, false},
}

// resultTable has a row for each step and tool: medians, and each as a multiple of the best peer's. The peers are
// all but kura, so that its multiple says by how much it is ahead.
func resultTable(steps []*step, tools []*tool, r results, far bool) table {
	t := table{head: []string{"step", "program"}}
	metrics := metrics
	if far {
		metrics = slices.Concat(metrics, farMetrics)
	}
	for _, m := range metrics {
		t.head = append(t.head, m.title)
		if m.spread {
			t.head = append(t.head, "min–max")
		}
		t.head = append(t.head, "×")
	}
	for _, s := range steps {
		for i, tool := range tools {
			title := s.title
			if i > 0 {
				title = ""
			}
			row := []string{title, tool.name}
			for _, m := range metrics {
				values := valuesOf(r[s.name][tool.name], m)
				row = append(row, m.format(median(values)))
				if m.spread {
					row = append(row, spread(values, m.format))
				}
				row = append(row, times(ratio(median(values), bestPeer(tools, r[s.name], m))))
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

func valuesOf(ms []measurement, m metric) []float64 {
	var values []float64
	for _, one := range ms {
		values = append(values, m.value(one))
	}
	return values
}

// bestPeer is the least median of the tools that are not kura.
func bestPeer(tools []*tool, byTool map[string][]measurement, m metric) float64 {
	var medians []float64
	for _, t := range tools {
		if t.name != kura.name {
			medians = append(medians, median(valuesOf(byTool[t.name], m)))
		}
	}
	return best(medians)
}

// none stands for a number that there is not.
const none = "–"

func spread(values []float64, format func(float64) string) string {
	if len(values) == 0 {
		return none
	}
	low, high := values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	return format(low) + "–" + format(high)
}

func whole(v float64) string {
	if math.IsNaN(v) {
		return none
	}
	return fmt.Sprintf("%.0f", v)
}

func seconds(v float64) string {
	switch {
	case math.IsNaN(v):
		return none
	case v < 10:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// mib writes bytes as MiB, small numbers with three digits that count.
func mib(v float64) string {
	v /= 1 << 20
	switch {
	case math.IsNaN(v):
		return none
	case math.Abs(v) < 1:
		return fmt.Sprintf("%.3g", v)
	}
	return fmt.Sprintf("%.1f", v)
}

func times(v float64) string {
	if math.IsNaN(v) {
		return none
	}
	return fmt.Sprintf("%.2f", v)
}
