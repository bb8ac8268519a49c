package main

import "slices"

// scaleTable has the steps in its rows and the sizes in its columns. How much a number has grown is said as a multiple of
// the first size's.
func scaleTable(results []scaleResult) table {
	t := table{head: []string{"step", ""}}
	for i, r := range results {
		t.head = append(t.head, r.size.String())
		if i > 0 {
			t.head = append(t.head, "×")
		}
	}
	for _, f := range results[0].facts {
		row := []string{f.name, ""}
		for i, r := range results {
			value := none
			if at := slices.IndexFunc(r.facts, func(g fact) bool { return g.name == f.name }); at >= 0 {
				value = r.facts[at].value
			}
			row = append(row, value)
			if i > 0 {
				row = append(row, "")
			}
		}
		t.rows = append(t.rows, row)
	}
	for _, step := range results[0].steps {
		for n, m := range scaleMetrics {
			row := []string{step, m.title}
			if n > 0 {
				row[0] = ""
			}
			first := m.value(results[0].usage[step])
			for i, r := range results {
				v := m.value(r.usage[step])
				row = append(row, m.format(v))
				if i > 0 {
					row = append(row, times(ratio(v, first)))
				}
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

var scaleMetrics = []struct {
	title  string
	value  func(usage) float64
	format func(float64) string
}{
	{"wall s", func(u usage) float64 { return u.wall.Seconds() }, seconds},
	{"CPU s", func(u usage) float64 { return u.cpu.Seconds() }, seconds},
	{"RssAnon MiB", func(u usage) float64 { return float64(u.anon) }, mib},
}
