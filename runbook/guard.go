package runbook

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// guards reports whether a step makes it safe to write, or is about services, which are looked at again by guard.
func (s *Step) guards() bool { return s.Kind == "fence" || s.Kind == "stop" || s.Kind == "start" }

// guard adds to what is to be done what has to hold for that, and was done before: fences and services may not be any more as the run has left
// them. Where nothing is left to be written, fences and stopped services need not hold.
func (r *Run) guard(ctx context.Context) {
	first, writing := r.firstWrite(ctx)
	r.writing = writing
	if r.journal == nil {
		return
	}
	upTo := len(r.steps)
	if only := r.only(); only != "" {
		upTo, first = index(r.steps, only), len(r.steps)
	}
	for i := range r.steps[:upTo] {
		s, t := &r.steps[i], task{place: i, again: true}
		p := r.past(s.Name)
		if s.Kind == "stop" || s.Kind == "start" {
			t.units = r.held(i, first)
		}
		if at := slices.IndexFunc(r.todo, func(t task) bool { return t.place == i }); at >= 0 {
			if p.begun && r.o.From == "" {
				r.todo[at].units = t.units
			}
			continue
		}
		if p.finished() && p.result != ResultPassed && r.looksAgain(s, t) {
			r.todo = append(r.todo, t)
		}
	}
	slices.SortFunc(r.todo, func(a, b task) int { return a.place - b.place })
}

// looksAgain reports whether a finished step is looked at again for the sake of those to come.
func (r *Run) looksAgain(s *Step, t task) bool {
	switch s.Kind {
	case "fence":
		return r.writing && !s.Done.IsZero()
	case "stop":
		return r.writing && len(t.units) > 0
	}
	return s.Kind == "start" && len(t.units) > 0
}

// firstWrite finds the first step that will write, other than by starting services: behind the last one if none does.
func (r *Run) firstWrite(ctx context.Context) (place int, writes bool) {
	for _, t := range r.todo {
		s := &r.steps[t.place]
		if !s.Writes || t.again && r.stillDone(ctx, s) {
			continue
		}
		if writes = true; s.Kind != "start" {
			return t.place, true
		}
	}
	return len(r.steps), writes
}

// stillDone asks a finished step whether it is. What can not be found out now counts as no.
func (r *Run) stillDone(ctx context.Context, s *Step) bool {
	a := &attempt{step: s, w: r.w, run: r, log: new(stepLog)}
	done, err := a.ask(ctx, s.Done)
	return err == nil && done
}

// held are those services of a step that should still be as it has left them: no step between it and the next write has begun to turn them
// again. Behind that write, no later step at all.
func (r *Run) held(place, write int) []string {
	s := &r.steps[place]
	if place >= write {
		write = len(r.steps)
	}
	units := []string{}
	for _, unit := range s.Units {
		if !slices.ContainsFunc(r.steps[place+1:write], func(later Step) bool {
			p := r.past(later.Name)
			return later.turns(unit) && later.Kind != s.Kind && (p.begun || p.finished())
		}) {
			units = append(units, unit)
		}
	}
	return units
}

// turns reports whether a step stops or starts a service.
func (s *Step) turns(unit string) bool {
	return (s.Kind == "stop" || s.Kind == "start") && slices.ContainsFunc(s.Units, func(u string) bool { return unitName(u) == unitName(unit) })
}

// unitName is the one name of a service that has two.
func unitName(unit string) string { return strings.TrimSuffix(unit, ".service") }

// standing looks, at the end, whether a service stands still that the run has stopped, and that it has to leave running.
func (r *Run) standing(ctx context.Context) error {
	for i := range r.steps {
		s := &r.steps[i]
		if p := r.past(s.Name); s.Kind != "start" || p.result == ResultPassed || !p.finished() {
			continue
		}
		a := &attempt{step: s, w: r.w, run: r, log: new(stepLog)}
		for _, unit := range r.held(i, len(r.steps)) {
			if !r.hasStopped(unit) {
				continue
			}
			state, err := a.stateOf(ctx, unit)
			if err == nil && !(unitsAction{s: s}).is(state) {
				err = fmt.Errorf("all steps are done, but %s, which was stopped, is %s", unit, state)
			}
			if err != nil {
				return &StepError{Step: s.Name, Err: err}
			}
		}
	}
	return nil
}

// hasStopped reports whether the run has stopped a service.
func (r *Run) hasStopped(unit string) bool {
	return slices.ContainsFunc(r.journal.lines, func(l line) bool {
		return l.What == lineBegin && l.Note.Kind == "stop" &&
			slices.ContainsFunc(l.Note.Units, func(u string) bool { return unitName(u) == unitName(unit) })
	})
}

// fenced asks before anything is written without a fence that the plan has.
func (r *Run) fenced(ctx context.Context) error {
	for i, s := range r.steps {
		if s.Kind != "fence" || !r.writing || r.isUp(i) {
			continue
		}
		yes, err := r.w.Ask(ctx, fmt.Sprintf("the fence %s is not up by what this run knows; write without it?", s.Name))
		if err == nil && !yes {
			err = ErrRefused
		}
		if err != nil {
			return fmt.Errorf("this run would write without the fence %s: %w", s.Name, err)
		}
	}
	return nil
}

// isUp reports whether a fence is up by what is known, or will be. One that can not be asked may not have outlived a start of the machine.
func (r *Run) isUp(place int) bool {
	if slices.ContainsFunc(r.todo, func(t task) bool { return t.place == place }) {
		return true
	}
	p := r.past(r.steps[place].Name)
	return (p.result == ResultDone || p.result == ResultAlready) && p.boot == r.w.Host.Boot
}
