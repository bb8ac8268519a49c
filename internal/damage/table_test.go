package damage

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// table counts what became of the cases.
type table struct {
	rows []string

	mu     sync.Mutex
	byRow  map[string]*counts
	byKind map[string]*counts
	failed []string
}

type counts struct {
	cases, harmless, detected int
	whole, refused            int // what was read
	mendable, mended          int // on reading, without a repair
	repairable, repaired      int
	wrong, panics             int
}

func newTable(rows []string) *table {
	return &table{rows: rows, byRow: map[string]*counts{}, byKind: map[string]*counts{}}
}

func (t *table) add(c *one, o *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m, key := range map[*map[string]*counts]string{&t.byRow: c.it.row, &t.byKind: c.kind.name} {
		if (*m)[key] == nil {
			(*m)[key] = &counts{}
		}
		(*m)[key].add(c, o)
	}
	if o.wrong != nil {
		t.failed = append(t.failed, fmt.Sprintf("%v: %v", c, o.wrong))
	}
	if o.missed != nil {
		t.failed = append(t.failed, fmt.Sprintf("%v: %v", c, o.missed))
	}
}

func (n *counts) add(c *one, o *outcome) {
	count := func(field *int, is bool) {
		if is {
			*field++
		}
	}
	n.cases++
	count(&n.harmless, c.harmless() && !o.detected)
	count(&n.detected, o.detected)
	count(&n.whole, o.whole)
	count(&n.refused, o.refused)
	count(&n.mendable, c.mendable())
	count(&n.mended, c.mendable() && o.whole)
	count(&n.repairable, o.repairable)
	count(&n.repaired, o.repaired)
	count(&n.wrong, o.wrong != nil && !o.panicked)
	count(&n.panics, o.panicked)
}

// maxShown is how many failures are listed.
const maxShown = 20

func (t *table) verify(tb testing.TB) {
	tb.Helper()
	for i, f := range t.failed {
		if i == maxShown {
			tb.Errorf("and %d more", len(t.failed)-i)
			break
		}
		tb.Error(f)
	}
	for _, row := range t.rows {
		if t.byRow[row] == nil {
			tb.Errorf("no case of %s was tried", row)
		}
	}
}

// String is the table of docs/damage.md.
func (t *table) String() string {
	var b strings.Builder
	names := make([]string, len(kinds))
	for i := range kinds {
		names[i] = kinds[i].name
	}
	t.part(&b, "object", t.rows, t.byRow)
	fmt.Fprintln(&b)
	t.part(&b, "damage", names, t.byKind)
	return b.String()
}

func (t *table) part(b *strings.Builder, title string, keys []string, all map[string]*counts) {
	tw := tabwriter.NewWriter(b, 0, 0, 1, ' ', tabwriter.Debug)
	line := func(cells ...any) {
		for _, c := range cells {
			fmt.Fprintf(tw, "\t %v ", c)
		}
		fmt.Fprintln(tw, "\t")
	}
	line(title, "cases", "detected", "without effect", "all read", "refused in part", "mended on read", "repaired", "wrong bytes", "panics")
	line("---", "---", "---", "---", "---", "---", "---", "---", "---", "---")
	var sum counts
	for _, key := range keys {
		n := all[key]
		if n == nil {
			continue
		}
		n.line(key, line)
		sum.plus(n)
	}
	sum.line("together", line)
	tw.Flush()
}

func (n *counts) line(key string, line func(...any)) {
	of := func(done, all int) string {
		if all == 0 {
			return "–"
		}
		return fmt.Sprintf("%d of %d", done, all)
	}
	line(key, n.cases, n.detected, n.harmless, n.whole, n.refused, of(n.mended, n.mendable), of(n.repaired, n.repairable), n.wrong, n.panics)
}

func (n *counts) plus(o *counts) {
	n.cases += o.cases
	n.harmless += o.harmless
	n.detected += o.detected
	n.whole += o.whole
	n.refused += o.refused
	n.mendable += o.mendable
	n.mended += o.mended
	n.repairable += o.repairable
	n.repaired += o.repaired
	n.wrong += o.wrong
	n.panics += o.panics
}
