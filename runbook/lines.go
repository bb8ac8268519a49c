package runbook

import (
	"github.com/pelletier/go-toml/v2/unstable"
)

// lines are those of what a plan says.
type lines struct {
	top   map[string]int            // keys of the plan
	table map[string]map[string]int // of [vars] and [snapshots]
	steps []stepLines
}

type stepLines struct {
	line int
	keys map[string]int
}

// step returns the line of a step, and those of its keys.
func (l *lines) step(i int) (int, map[string]int) {
	if i < len(l.steps) {
		return l.steps[i].line, l.steps[i].keys
	}
	return l.top["step"], map[string]int{}
}

// findLines finds the lines in a text that was decoded.
func findLines(text []byte) *lines {
	l := &lines{top: map[string]int{}, table: map[string]map[string]int{}}
	var p unstable.Parser
	p.Reset(text)
	var at []string // the table that keys belong to
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			names, line := keyOf(&p, e)
			at = names
			l.add(names, line)
		case unstable.ArrayTable:
			names, line := keyOf(&p, e)
			at = names
			if len(names) == 1 && names[0] == "step" {
				l.steps = append(l.steps, stepLines{line, map[string]int{}})
			}
		case unstable.KeyValue:
			names, line := keyOf(&p, e)
			l.add(append(at[:len(at):len(at)], names...), line)
			if len(at) == 0 && len(names) == 1 && names[0] == "step" {
				l.inline(&p, e.Value(), line)
			}
		}
	}
	return l
}

// add notes where a key is.
func (l *lines) add(names []string, line int) {
	if len(names) == 0 {
		return
	}
	if _, ok := l.top[names[0]]; !ok {
		l.top[names[0]] = line
	}
	if len(names) == 1 {
		return
	}
	if names[0] == "step" && len(l.steps) > 0 {
		l.steps[len(l.steps)-1].keys[names[1]] = line
		return
	}
	if l.table[names[0]] == nil {
		l.table[names[0]] = map[string]int{}
	}
	if _, ok := l.table[names[0]][names[1]]; !ok {
		l.table[names[0]][names[1]] = line
	}
}

// inline notes the steps of step = [{…}, {…}].
func (l *lines) inline(p *unstable.Parser, array *unstable.Node, line int) {
	if array == nil || array.Kind != unstable.Array {
		return
	}
	for all := array.Children(); all.Next(); {
		s := stepLines{line, map[string]int{}}
		if table := all.Node(); table.Kind == unstable.InlineTable {
			for keys := table.Children(); keys.Next(); {
				names, line := keyOf(p, keys.Node())
				if len(names) > 0 {
					s.keys[names[0]] = line
				}
			}
		}
		l.steps = append(l.steps, s)
	}
}

// keyOf returns a key, and the line that it is on.
func keyOf(p *unstable.Parser, n *unstable.Node) (names []string, line int) {
	for k := n.Key(); k.Next(); {
		if len(names) == 0 {
			line = p.Shape(k.Node().Raw).Start.Line
		}
		names = append(names, string(k.Node().Data))
	}
	return names, line
}
