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
	value  func(s sample) float64
	format func(v float64) string
	spread bool // the least and the most of the rounds are shown, too
	far    bool // only of stores that are far away
	mean   bool // of the generations of a data set it is the mean that counts
}

// wall and stored are the metrics that most is said about.
var (
	wall   = metric{title: "wall s", value: func(s sample) float64 { return s.Wall }, format: seconds, spread: true}
	stored = metric{title: "stored MiB", value: func(s sample) float64 {
		if s.Stored == nil {
			return math.NaN()
		}
		return float64(*s.Stored)
	}, format: mib, mean: true}
	anon = metric{title: "RssAnon MiB", value: func(s sample) float64 { return float64(s.Anon) }, format: mib}
)

var metrics = []metric{
	wall,
	{title: "CPU s", value: func(s sample) float64 { return s.CPU }, format: seconds},
	{title: "RSS MiB", value: func(s sample) float64 { return float64(s.RSS) }, format: mib},
	anon,
	stored,
	{title: "requests", value: func(s sample) float64 { return float64(s.Requests) }, format: whole, far: true},
	{title: "round trips", value: func(s sample) float64 { return float64(s.Chain) }, format: whole, far: true},
}

// of is what the metric is for the program in the row: the median of all rounds and generations, or a mean.
func (m metric) of(s *section, row, program string) float64 {
	samples := s.samples[row][program]
	values := valuesOf(samples, m)
	if m.mean && slices.ContainsFunc(samples, func(one sample) bool { return one.Generation > 0 }) {
		return mean(values)
	}
	return median(values)
}

// best is the least of the peers, and which of them it is.
func (m metric) best(s *section, row string) (value float64, name string) {
	value = math.NaN()
	for _, p := range s.programs {
		// Nothing can be a multiple of zero, or of what was freed.
		if v := m.of(s, row, p.Name); p.Kind == peer && v > 0 && (math.IsNaN(value) || v < value) {
			value, name = v, p.Name
		}
	}
	return value, name
}

// table has a row for each step and program: medians, and each as a multiple of the best peer's.
func (s *section) table() table {
	t := table{head: []string{"step", "program"}}
	var shown []metric
	for _, m := range metrics {
		if m.far && !s.far() {
			continue
		}
		shown = append(shown, m)
		t.head = append(t.head, m.title)
		if m.spread {
			t.head = append(t.head, "min–max")
		}
		t.head = append(t.head, "×")
	}
	for _, r := range s.rows {
		title := r.title
		for _, p := range s.programs {
			samples := s.samples[r.row][p.Name]
			if len(samples) == 0 && p.Kind == limit {
				continue
			}
			row := []string{title, p.title()}
			title = ""
			for _, m := range shown {
				value := m.of(s, r.row, p.Name)
				row = append(row, m.format(value))
				if m.spread {
					row = append(row, spread(valuesOf(samples, m), m.format))
				}
				base, _ := m.best(s, r.row)
				row = append(row, times(ratio(value, base)))
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

// generations is what each further generation of a data set added: the mean, and that as a share of what the
// program stored of the first generation and of the best peer's mean.
func (s *section) generations() table {
	t := table{head: []string{"step", "program", "generations", "mean new MiB", "of its first generation", "of the best peer's"}}
	for _, r := range s.rows {
		if r.series == nil {
			continue
		}
		title := r.title
		base, _ := stored.best(s, r.row)
		for _, p := range s.programs {
			samples := s.samples[r.row][p.Name]
			if len(samples) == 0 || math.IsNaN(stored.of(s, r.row, p.Name)) {
				continue
			}
			new := stored.of(s, r.row, p.Name)
			first := stored.of(s, "backup-"+r.data.name, p.Name)
			t.rows = append(t.rows, []string{
				title, p.title(), fmt.Sprint(different(samples)), mib(new), percent(ratio(new, first)), percent(ratio(new, base)),
			})
			title = ""
		}
	}
	return t
}

// different is how many generations the samples are of, in however many rounds.
func different(samples []sample) int {
	seen := make(map[int]bool)
	for _, one := range samples {
		seen[one.Generation] = true
	}
	return len(seen)
}

// far says whether the repositories were far away.
func (s *section) far() bool {
	for _, byProgram := range s.samples {
		for _, samples := range byProgram {
			if slices.ContainsFunc(samples, func(one sample) bool { return one.Requests > 0 }) {
				return true
			}
		}
	}
	return false
}

func (p program) title() string {
	if p.Kind == limit {
		return "limit: " + p.Name
	}
	return p.Name
}

func valuesOf(samples []sample, m metric) []float64 {
	var values []float64
	for _, one := range samples {
		values = append(values, m.value(one))
	}
	return values
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

func percent(v float64) string {
	if math.IsNaN(v) {
		return none
	}
	return fmt.Sprintf("%.1f %%", 100*v)
}

func times(v float64) string {
	if math.IsNaN(v) {
		return none
	}
	return fmt.Sprintf("%.2f", v)
}
