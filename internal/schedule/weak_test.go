package schedule

import "testing"

// TestWeakListingOfTheLog_IsNotDamage lets two writers commit while a third client lists the log. The listing
// may have the second of the two entries without the first.
func TestWeakListingOfTheLog_IsNotDamage(t *testing.T) {
	w := &world{
		name:    "two entries while the log is listed",
		base:    func(p *past) { p.commit("old", 1) },
		clients: []member{collector("gc", usual), writer("a", 2), writer("b", 3)},
	}
	for n := range 16 {
		p := &sleeper{client: "gc", kind: listEnd, prefix: "log/", how: sleepsBefore}
		if out := w.run(t, newRNG(1, n), true, p); out.err != nil {
			t.Fatal(report(w, out))
		}
	}
}
