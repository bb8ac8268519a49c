package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// program is what actors do, for each one after the other.
type program [][]access

func (p program) ready(done []int) (out []choice) {
	for actor, ops := range p {
		if done[actor] < len(ops) {
			out = append(out, choice{access: ops[done[actor]], actor: actor})
		}
	}
	return out
}

// event is the n-th operation of an actor.
type event struct{ actor, n int }

// class names all orders of a program's events that differ in nothing but the order of operations that commute.
func (p program) class(order []event) string {
	var pairs []string
	for i, a := range order {
		for _, b := range order[i+1:] {
			if a.actor != b.actor && !p[a.actor][a.n].commutes(p[b.actor][b.n]) {
				pairs = append(pairs, fmt.Sprint(a, "<", b))
			}
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, " ")
}

// all adds the class of every order that begins with the given one.
func (p program) all(order []event, classes map[string]int) {
	done := make([]int, len(p))
	for _, e := range order {
		done[e.actor]++
	}
	ready := p.ready(done)
	if len(ready) == 0 {
		classes[p.class(order)]++
	}
	for _, c := range ready {
		p.all(append(slices.Clip(order), event{c.actor, done[c.actor]}), classes)
	}
}

// TestSearch_RandomPrograms_RunsEveryClassOnce compares the search with one of all orders.
func TestSearch_RandomPrograms_RunsEveryClassOnce(t *testing.T) {
	rng := newRNG(seed(t), 0)
	accesses := []access{
		{kind: get, name: "a/1"},
		{kind: get, name: "b/1"},
		{kind: list, name: "a/"},
		{kind: list, name: "a/", after: "a/1"},
		{kind: put, name: "a/1"},
		{kind: put, name: "a/2"},
		{kind: put, name: "b/1"},
		{kind: del, name: "a/1"},
		{kind: del, name: "b/2"},
	}
	orders, classes := 0, 0
	for range 300 {
		p := make(program, 2+rng.IntN(2))
		for actor := range p {
			for range 1 + rng.IntN(9/len(p)) {
				p[actor] = append(p[actor], accesses[rng.IntN(len(accesses))])
			}
		}
		want := map[string]int{}
		p.all(nil, want)
		got := map[string]int{}
		for s := (&search{}); ; {
			done, order := make([]int, len(p)), []event{}
			for {
				ready := p.ready(done)
				if len(ready) == 0 {
					got[p.class(order)]++
					break
				}
				n, _ := s.next(ready)
				if n < 0 {
					break
				}
				actor := ready[n].actor
				order = append(order, event{actor, done[actor]})
				done[actor]++
			}
			if !s.again() {
				break
			}
		}
		for class, n := range want {
			orders += n
			if got[class] != 1 {
				t.Fatalf("program %v: the search ran an order of this class %d times: %s", p, got[class], class)
			}
		}
		classes += len(want)
	}
	t.Logf("%d orders of operations, of which %d differ, and were run", orders, classes)
}
