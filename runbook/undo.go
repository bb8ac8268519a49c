package runbook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/mounts"
)

// Undo takes a run back: what its steps have done, in the reverse order. What it does is in the journal and not in the plan, which may
// have changed. It is not safe for concurrent use.
type Undo struct {
	state   *State
	w       *World
	journal *journal
	dir     string
	earlier bool     // it is not the last run
	passed  []string // steps that are taken for taken back
	todo    []back
}

// back is a step to be taken back.
type back struct {
	step  string
	notes []note // of its attempts, the last one first
	past  past
}

// PrepareUndo finds out what is to be taken back of a plan's last run, or if that was taken back, of the one that it has left open. If from names
// a step, it is the first: those that would come before it are taken for taken back. It changes nothing.
func PrepareUndo(plan *Plan, state *State, w *World, from string) (*Undo, error) {
	j, dir, earlier, err := state.toUndo(plan.Name)
	switch {
	case err != nil:
		return nil, err
	case j == nil:
		return nil, fmt.Errorf("%w to take back: the plan %s was not begun, by what %s says", ErrNoRun, plan.Name, state.dir)
	case j.over() == ResultUndone:
		return nil, fmt.Errorf("%w to take back: the last one of %s was taken back before", ErrNoRun, plan.Name)
	}
	if err := errors.Join(j.ours(plan, w.Host), state.quiet(j, dir)); err != nil {
		return nil, err
	}
	u := &Undo{state: state, w: w, journal: j, dir: dir, earlier: earlier}
	steps := j.begun()
	slices.Reverse(steps)
	for _, s := range steps {
		b := back{step: s, past: j.past(s)}
		if b.past.undone == ResultUndone || b.past.undone == ResultStays {
			continue
		}
		b.notes = slices.Clone(b.past.notes)
		slices.Reverse(b.notes)
		u.todo = append(u.todo, b)
	}
	if from == "" {
		return u, nil
	}
	first := slices.IndexFunc(u.todo, func(b back) bool { return b.step == from })
	if first < 0 {
		return nil, fmt.Errorf("%w: the step %s is none of those that are to be taken back", ErrChoice, from)
	}
	for _, b := range u.todo[:first] {
		u.passed = append(u.passed, b.step)
	}
	u.todo = u.todo[first:]
	return u, nil
}

// commands are what takes a step back, for people, and stays is why nothing does.
func (b *back) commands() (commands []string, stays string) {
	for _, n := range b.notes {
		c, s := n.commands()
		commands = append(commands, c...)
		if stays == "" {
			stays = s
		}
	}
	seen := map[string]bool{}
	commands = slices.DeleteFunc(commands, func(c string) bool {
		before := seen[c]
		seen[c] = true
		return before
	})
	if len(commands) > 0 {
		stays = ""
	}
	return commands, stays
}

func (n *note) commands() (commands []string, stays string) {
	switch {
	case !n.Undo.IsZero():
		return []string{n.Undo.String()}, ""
	case n.Kind == "stop" || n.Kind == "start":
		return n.opposite().commands(nil), ""
	case n.Aside != "":
		return []string{Quote([]string{"mv", "-nT", n.Aside, n.Path}) + " (and what is there now gets another name)"}, ""
	case n.Path != "":
		return []string{n.Path + " gets another name, if it is there"}, ""
	}
	return nil, n.Stays
}

// opposite turns the services that a step has changed to what they were before.
func (n *note) opposite() unitsAction {
	units := slices.Clone(n.Units)
	slices.Reverse(units)
	kind := "stop"
	if n.Kind == "stop" {
		kind = "start"
	}
	return unitsAction{&Step{Kind: kind, Units: units}, kind == "stop"}
}

// Left are the steps that will be taken back, in that order. Those with the result ResultStays can not be.
func (u *Undo) Left() (out []StepEvent) {
	for i, b := range u.todo {
		commands, stays := b.commands()
		e := StepEvent{Place: i + 1, Total: len(u.todo), Step: &Step{Name: b.step, Kind: b.notes[0].Kind}, Undo: true, Commands: commands, Why: stays}
		if stays != "" {
			e.Result = ResultStays
		}
		out = append(out, e)
	}
	return out
}

// Dir is the folder of the run.
func (u *Undo) Dir() string { return u.state.dir + "/" + u.dir }

// Begun is when the run began, and Earlier reports whether it is not the plan's last one, which was taken back before.
func (u *Undo) Begun() time.Time { return u.journal.run().At }

// Earlier is explained at Begun.
func (u *Undo) Earlier() bool { return u.earlier }

// Go takes the steps back. After a failure it can be called again, on a new Undo, and goes on with what is left.
func (u *Undo) Go(ctx context.Context) error {
	if _, err := durable.Sweep(ctx, u.state.fsys, u.dir); err != nil {
		return err
	}
	for _, step := range u.passed {
		if err := u.journal.add(ctx, line{What: lineUndone, Step: step, Result: ResultUndone}); err != nil {
			return err
		}
	}
	left := u.Left()
	for i := range u.todo {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := u.back(ctx, &u.todo[i], left[i]); err != nil {
			return err
		}
	}
	if err := u.journal.add(ctx, line{What: lineOver, Result: ResultUndone}); err != nil {
		return err
	}
	var stays []string
	for _, l := range u.journal.lines {
		if l.What == lineUndone && l.Result == ResultStays {
			stays = append(stays, l.Step)
		}
	}
	if len(stays) > 0 {
		return fmt.Errorf("%w: %s", ErrStays, strings.Join(stays, ", "))
	}
	return nil
}

// back takes one step back.
func (u *Undo) back(ctx context.Context, b *back, e StepEvent) (err error) {
	log, err := openLog(u.state.log(u.dir, b.step), func(line string) { u.w.Events.output(b.step, line) })
	if err != nil {
		return &StepError{Step: b.step, Undo: true, Err: err}
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	e.Log = log.name
	fail := func(err error) error { return &StepError{Step: b.step, Undo: true, Log: log.name, Err: err} }
	if !log.take() && b.past.mayRun() {
		return fail(ErrStillRunning)
	}
	start := u.w.Now()
	if e.Result == ResultStays {
		if err := u.journal.add(ctx, line{What: lineUndone, Step: b.step, Result: ResultStays, Error: e.Why}); err != nil {
			return fail(err)
		}
		u.w.Events.step(e)
		return nil
	}
	if err := u.mayRepeat(ctx, b); err != nil {
		return fail(err)
	}
	if err := u.mayStart(ctx, b); err != nil {
		return fail(err)
	}
	if err := u.journal.add(ctx, line{What: lineUndo, Step: b.step}); err != nil {
		return fail(err)
	}
	if len(e.Commands) > 0 {
		u.w.Events.step(e)
	}
	log.say(fmt.Sprintf("=== %s: taking back step %s", u.w.Now().Format(time.RFC3339), b.step))
	a := &attempt{step: e.Step, w: u.w, log: log}
	end := line{What: lineUndone, Step: b.step, Result: ResultUndone}
	failed := u.act(ctx, a, b)
	switch {
	case errors.Is(failed, errGone) || errors.Is(failed, errOther):
		e.Why = failed.Error()
		end.Result, end.Error, failed = ResultStays, e.Why, nil
		log.say("stays: " + end.Error)
	case failed != nil:
		failed = a.stillRuns(failed)
		end.Result, end.Error, end.Cut = ResultFailed, failed.Error(), a.cut
		log.say("failed: " + end.Error)
	}
	end.Seconds = u.w.Now().Sub(start).Seconds()
	if err := u.journal.add(ctx, end); err != nil {
		end.Result, failed = ResultFailed, errors.Join(failed, err)
	}
	e.Result, e.Err, e.Elapsed = end.Result, failed, u.w.Now().Sub(start)
	if len(e.Commands) > 0 {
		u.w.Events.step(e)
	}
	switch {
	case failed != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case failed != nil:
		return fail(failed)
	}
	return nil
}

// act takes back all attempts at a step.
func (u *Undo) act(ctx context.Context, a *attempt, b *back) error {
	ran := map[string]bool{}
	for _, n := range b.notes {
		switch command := n.Undo.String(); {
		case !n.Undo.IsZero():
			if ran[command] {
				continue
			}
			ran[command] = true
			limited, cancel := withTimeout(ctx, time.Hour)
			err := a.timeoutIf(limited, a.command(limited, n.Undo))
			cancel()
			if err != nil {
				return err
			}
		case n.Kind == "stop" || n.Kind == "start":
			o := n.opposite()
			limited, cancel := withTimeout(ctx, shortTime)
			err := a.timeoutIf(limited, a.turn(limited, o, o.s.Units))
			cancel()
			if err != nil {
				return err
			}
		case n.Path != "":
			if ran[n.Aside] {
				continue // by the note of a later attempt
			}
			ran[n.Aside] = n.Aside != ""
			if err := a.moveBack(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// timeoutIf is the reason for an error, and notes whether that was the end of the context.
func (a *attempt) timeoutIf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	a.cut = ctx.Err() != nil
	return timeoutOr(ctx, err)
}

// mayRepeat asks, where a command that takes something back was cut off.
func (u *Undo) mayRepeat(ctx context.Context, b *back) error {
	cutOff := b.past.undo && b.past.undone == ""
	if !cutOff || !slices.ContainsFunc(b.notes, func(n note) bool { return !n.Undo.IsZero() }) {
		return nil
	}
	yes, err := u.w.Ask(ctx, fmt.Sprintf("taking back step %s was cut off before, and may have been done in part; do it again?", b.step))
	switch {
	case errors.Is(err, ErrNobody):
		return fmt.Errorf("%w: taking it back was cut off", ErrUnclear)
	case err == nil && !yes:
		return ErrRefused
	}
	return err
}

// mayStart asks before services are started on what a step has left half done.
func (u *Undo) mayStart(ctx context.Context, b *back) error {
	if b.notes[0].Kind != "stop" {
		return nil
	}
	var half []string
	for _, step := range u.journal.begun() {
		if p := u.journal.past(step); !p.finished() && (p.undone == ResultStays || u.remains(&p)) {
			half = append(half, step)
		}
	}
	if len(half) == 0 {
		return nil
	}
	yes, err := u.w.Ask(ctx, fmt.Sprintf("%s did not end well, and what it has done stays; start the services that were stopped, all the same?", strings.Join(half, ", ")))
	if err == nil && !yes {
		err = ErrRefused
	}
	return err
}

// remains reports whether what a step has restored is where it was: the move that was to take it back stays.
func (u *Undo) remains(p *past) bool {
	return slices.ContainsFunc(p.notes, func(n note) bool {
		return n.Into != "" && slices.ContainsFunc(u.journal.begun(), func(step string) bool {
			move := u.journal.past(step)
			return move.undone == ResultStays && slices.ContainsFunc(move.notes, func(m note) bool { return m.Path != "" && mounts.Within(n.Into, m.Path) })
		})
	})
}
