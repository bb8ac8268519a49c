package main

import (
	"fmt"
	"math"
	"strings"
)

// goal is what a row of the results should show.
type goal struct {
	row    string
	metric metric
	of     string  // a peer by its name without a version; or best, every, or first
	most   float64 // as a multiple of that; without it in the metric's unit
}

// What a goal is a multiple of, besides a peer.
const (
	best  = "the best peer's"
	every = "every peer's"
	first = "its first generation's"
	alone = ""
)

const (
	ramGoal   = 200 << 20
	noNewPack = 256 << 10 // less than a pack of new data would take
)

// goals are what kura is made for: time as a share of that of the best peer, or where peers differ widely of
// the one that does it best, sizes, and memory. Of two lines for the same step either is enough, if they are
// for different peers: not all of them are on every machine.
var goals = []goal{
	{"backup-tree", wall, best, 0.33},
	{"backup-tree", stored, every, 1},
	{"backup-tree", anon, alone, ramGoal},
	{"unchanged-tree", wall, "kopia", 0.5},
	{"unchanged-tree", wall, "restic", 0.2},
	{"unchanged-tree", stored, alone, noNewPack},
	{"changed-tree", wall, "kopia", 0.5},
	{"changed-tree", wall, "restic", 0.25},
	{"restore-tree", wall, best, 0.5},
	{"restore-tree", anon, alone, ramGoal},
	{"backup-incompressible", wall, "kopia", 0.5},
	{"backup-incompressible", wall, "restic", 0.3},
	{"backup-incompressible", anon, alone, ramGoal},
	{"restore-incompressible", wall, best, 0.6},
	{"backup-tiny", wall, best, 0.5},
	{"backup-tiny", stored, every, 1},
	{"unchanged-tiny", wall, best, 0.5},
	{"restore-tiny", wall, best, 0.5},
	{"backup-dump", wall, best, 0.6},
	{"backup-dump", stored, every, 1},
	{"generations-dump", wall, best, 0.5},
	{"generations-dump", stored, best, 0.1},
	{"rewritten-image", wall, best, 0.5},
	{"rewritten-image", stored, first, 0.1},
	{"touched5-image", wall, best, 0.5},
	{"touched5-image", stored, first, 0.1},
	{"touched25-image", wall, best, 0.5},
	{"touched25-image", stored, first, 0.3},
	{"snapshots-tree", wall, alone, 0.3},
	{"check-tree", wall, best, 0.6},
	{"check-incompressible", wall, best, 0.6},
}

// overStagesGoal is the goal for the wall time as a multiple of the sum of the stages.
const overStagesGoal = 1.25

// goals says what of them was reached.
func (s *section) goals() table {
	t := table{head: []string{"step", "goal", "measured", "reached"}}
	line := func(title, what, measured string, reached bool) {
		yes := "no"
		if reached {
			yes = "yes"
		}
		t.rows = append(t.rows, []string{title, what, measured, yes})
	}
	for _, r := range s.rows {
		for _, g := range goals {
			if g.row != r.row {
				continue
			}
			for _, base := range s.bases(g) {
				value := ratio(g.metric.of(s, g.row, kura.name), base.value)
				what, unit, _ := strings.Cut(g.metric.title, " ")
				measured := ""
				if g.of == alone {
					what += fmt.Sprintf(" ≤ %s %s", g.metric.format(g.most), unit)
					measured = g.metric.format(value) + " " + unit
				} else {
					what += " ≤ " + times(g.most) + " of " + base.name
					measured = times(value)
				}
				if !math.IsNaN(value) {
					line(r.title, what, measured, value <= g.most)
				}
			}
		}
		if _, over := s.overStages(); r.row == "backup-"+incompressible && len(s.stages) > 0 && !math.IsNaN(over) {
			line(r.title, fmt.Sprintf("wall ≤ %.2f of its stages on all cores", overStagesGoal), times(over), over <= overStagesGoal)
		}
	}
	return t
}

type base struct {
	value float64
	name  string
}

// bases are what the goal is a multiple of.
func (s *section) bases(g goal) []base {
	switch g.of {
	case alone:
		return []base{{1, ""}}
	case first:
		_, data, _ := strings.Cut(g.row, "-")
		return []base{{stored.of(s, "backup-"+data, kura.name), g.of}}
	case best, every: // smaller than every peer is smaller than the best
		value, name := g.metric.best(s, g.row)
		return []base{{value, fmt.Sprintf("%s (%s)", g.of, name)}}
	}
	var found []base
	for _, p := range s.programs {
		if strings.HasPrefix(p.Name, g.of+"-") {
			found = append(found, base{g.metric.of(s, g.row, p.Name), p.Name + "'s"})
		}
	}
	return found
}
