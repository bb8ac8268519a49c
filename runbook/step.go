package runbook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// do does a step, unless there is nothing to do.
func (r *Run) do(ctx context.Context, t task) (err error) {
	s := &r.steps[t.place]
	p := r.past(s.Name)
	log, err := openLog(r.state.log(r.dir, s.Name), func(line string) { r.w.Events.output(s.Name, line) })
	if err != nil {
		return &StepError{Step: s.Name, Err: err}
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if !log.take() && p.mayRun() {
		return &StepError{Step: s.Name, Log: log.name, Err: ErrStillRunning}
	}
	a := &attempt{step: s, w: r.w, run: r, log: log}
	log.say(fmt.Sprintf("=== %s: step %s (%s)", r.w.Now().Format(time.RFC3339), s.Name, s.Kind))
	start := r.w.Now()
	tell := func(result string, err error) {
		r.w.Events.step(StepEvent{
			Place: t.place + 1, Total: len(r.steps), Step: s, Result: result, Err: err, Elapsed: r.w.Now().Sub(start), Log: log.name,
		})
	}
	result, err := r.attempt(ctx, a, t, p)
	if result != "" {
		end := line{
			What: lineEnd, Step: s.Name, Result: result, Cut: a.cut, Boot: r.w.Host.Boot,
			Seconds: r.w.Now().Sub(start).Seconds(), Print: s.print(),
		}
		if err != nil {
			err = a.stillRuns(err)
			end.Error = err.Error()
			log.say("failed: " + end.Error)
		}
		if jerr := r.journal.add(ctx, end); jerr != nil {
			result, err = ResultFailed, errors.Join(err, jerr)
		}
		tell(result, err)
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &StepError{Step: s.Name, Log: log.name, Err: err}
	}
	return nil
}

// attempt returns how an attempt at a step has ended, or nothing if the journal has nothing to be told.
func (r *Run) attempt(ctx context.Context, a *attempt, t task, p past) (result string, err error) {
	s := a.step
	act := t.action(s)
	if !s.Done.IsZero() {
		done, err := a.ask(ctx, s.Done)
		switch {
		case err != nil:
			return "", fmt.Errorf("whether it is done: %w", err)
		case done && p.unclear():
			return ResultDone, nil
		case done && !p.finished():
			return ResultAlready, nil
		case done:
			return "", nil
		}
	}
	n, err := act.prepare(ctx, a)
	if err != nil {
		return "", err
	}
	if n.nothing {
		switch {
		case t.again:
			return "", nil
		case p.unclear():
			return ResultDone, nil
		}
		return ResultAlready, nil
	}
	if err := r.mayRepeat(ctx, s, t, p); err != nil {
		return "", err
	}
	n.Kind, n.Undo, n.Again = s.Kind, s.Undo, s.Again
	a.note = n
	if err := r.journal.add(ctx, line{What: lineBegin, Step: s.Name, Print: s.print(), Note: &n}); err != nil {
		return "", err
	}
	r.w.Events.step(StepEvent{Place: t.place + 1, Total: len(r.steps), Step: s, Commands: act.commands(r.w), Log: a.log.name})
	limited, cancel := withTimeout(ctx, s.Timeout)
	defer cancel()
	if err := act.run(limited, a); err != nil {
		return ResultFailed, a.timeoutIf(limited, err)
	}
	return ResultDone, nil
}

// mayRepeat asks, where nobody knows what an earlier attempt has done and doing it twice could do harm.
func (r *Run) mayRepeat(ctx context.Context, s *Step, t task, p past) error {
	if !p.begun || t.chosen || t.again || s.Again || !s.Done.IsZero() {
		return nil
	}
	what := "was cut off before, and may have done a part"
	switch {
	case p.finished():
		what = "was done before"
	case p.result == ResultFailed:
		what = "failed before, and may have done a part"
	}
	yes, err := r.w.Ask(ctx, fmt.Sprintf("step %s %s; do it again?", s.Name, what))
	switch {
	case errors.Is(err, ErrNobody):
		return fmt.Errorf("%w: it %s", ErrUnclear, what)
	case err == nil && !yes:
		return ErrRefused
	}
	return err
}
