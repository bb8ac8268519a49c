package runbook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind is what a step can be.
type kind struct {
	name    string
	keys    []string // that it may have beside those of all steps
	needs   []string // of these it must have one: a|b
	writes  bool     // it must be behind the fences, unless it says otherwise
	again   bool     // doing it twice does no harm
	timeout time.Duration
	make    func(s *Step) action
}

// stepKeys are those of all steps.
var stepKeys = []string{"name", "kind", "say", "timeout", "done", "undo"}

const (
	shortTime = 10 * time.Minute // for what ends soon
	noTime    = 0                // for what takes as long as the data is large
)

// kinds are all of them. It is a function, since what they do leads back to it.
func kinds() []kind {
	return []kind{
		{"run", []string{"command", "again", "writes"}, []string{"command"}, true, false, time.Hour, newCommand},
		{"stop", []string{"units", "may-be-missing"}, []string{"units"}, false, true, shortTime, newUnits},
		{"start", []string{"units"}, []string{"units"}, true, true, shortTime, newUnits},
		{"fence", []string{"command", "ask", "again"}, []string{"command|ask"}, false, false, shortTime, newFence},
		{"move-aside", []string{"path"}, []string{"path"}, true, true, shortTime, newMove},
		{"restore", []string{"from", "target", "args"}, []string{"from", "target"}, true, true, noTime, newVerb},
		{"mysql-restore", []string{"from", "replace", "args"}, []string{"from"}, true, false, noTime, newVerb},
		{"redis-restore", []string{"from", "dir", "replace", "args"}, []string{"from", "dir"}, true, false, noTime, newVerb},
		{"device-restore", []string{"from", "to", "args"}, []string{"from", "to"}, true, true, noTime, newVerb},
		{"check", []string{"command", "http", "status", "tcp", "within", "every"}, []string{"command|http|tcp"}, false, true, noTime, newCheck},
		{"confirm", []string{"ask"}, []string{"ask"}, false, true, noTime, newConfirm},
	}
}

// Kinds are the names of all kinds of steps.
func Kinds() (names []string) {
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

func findKind(name string) (kind, bool) {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return all[i], true
}

// check looks at a step's keys, and fills in what it does not say.
func (k kind) check(s *Step, r *rawStep, p *parser) {
	for key, line := range r.lines {
		if !slices.Contains(stepKeys, key) && !slices.Contains(k.keys, key) {
			p.fail(line, "step %s: %q is not for a step of kind %s", s.Name, key, k.name)
		}
	}
	for _, need := range k.needs {
		given := 0
		for key := range strings.SplitSeq(need, "|") {
			if _, ok := r.lines[key]; ok {
				given++
			}
		}
		switch choice := strings.ReplaceAll(need, "|", " or "); {
		case given == 0:
			p.fail(s.Line, "step %s: a step of kind %s needs %s", s.Name, k.name, choice)
		case given > 1:
			p.fail(s.Line, "step %s: it can have only one of %s", s.Name, choice)
		case !s.has(need) && r.lines["command"] == 0: // of which that was said
			p.fail(s.Line, "step %s: %s is empty", s.Name, choice)
		}
	}
	s.Again = s.Again || k.again || s.Replace
	s.Writes = k.writes && (r.Writes == nil || *r.Writes)
	if r.Timeout == "" && s.Ask == "" { // people take their time
		s.Timeout = k.timeout
	}
	if k.name == "check" {
		s.Within = cmp.Or(s.Within, time.Minute)
		s.Every = cmp.Or(s.Every, 2*time.Second)
	}
}

// has reports whether one of the keys a|b has a value.
func (s *Step) has(keys string) (has bool) {
	s.texts(func(key, text string, _ bool) string {
		has = has || text != "" && slices.Contains(strings.Split(keys, "|"), key)
		return text
	})
	return has
}

// empty are errors about what variables have left of a step's keys.
func (k kind) empty(s *Step) (errs []error) {
	for _, need := range k.needs {
		if !s.has(need) {
			errs = append(errs, fmt.Errorf("%s is empty", strings.ReplaceAll(need, "|", " or ")))
		}
	}
	for _, unit := range s.Units {
		if unit == "" || unit[0] == '-' || strings.ContainsAny(unit, "*?[ ") {
			errs = append(errs, fmt.Errorf("%q is no name of one unit", unit))
		}
	}
	return errs
}
