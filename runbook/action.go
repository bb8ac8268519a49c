package runbook

import (
	"context"
	"fmt"
)

// action is what a step of one kind does.
type action interface {
	// preflight returns what is in the way. It changes nothing.
	preflight(ctx context.Context, a *attempt, c *preflight) []error
	// prepare notes what is about to change, and how that can be taken back. It changes nothing.
	prepare(ctx context.Context, a *attempt) (note, error)
	// run does it.
	run(ctx context.Context, a *attempt) error
	// commands are what it runs, for people.
	commands(w *World) []string
}

// commandAction is a command of the plan.
type commandAction struct{ s *Step }

func newCommand(s *Step) action { return commandAction{s} }

func (c commandAction) preflight(ctx context.Context, a *attempt, p *preflight) []error {
	return p.program(ctx, a, c.s.Command)
}

func (c commandAction) prepare(context.Context, *attempt) (note, error) {
	n := note{}
	if c.s.Writes {
		n.Stays = "what the command has done stays: " + c.s.Command.String()
	}
	return n, nil
}

func (c commandAction) run(ctx context.Context, a *attempt) error {
	return a.command(ctx, c.s.Command)
}

func (c commandAction) commands(*World) []string { return []string{c.s.Command.String()} }

// fenceAction is a command, or a question, behind which it is safe to write.
type fenceAction struct{ action }

func newFence(s *Step) action {
	if s.Ask != "" {
		return fenceAction{newConfirm(s)}
	}
	return fenceAction{newCommand(s)}
}

func (f fenceAction) prepare(context.Context, *attempt) (note, error) {
	if c, ok := f.action.(commandAction); ok {
		return note{Stays: "the fence stays: " + c.s.Command.String()}, nil
	}
	return note{}, nil
}

// confirmAction is a question.
type confirmAction struct{ s *Step }

func newConfirm(s *Step) action { return confirmAction{s} }

func (c confirmAction) preflight(_ context.Context, a *attempt, _ *preflight) []error {
	if !a.w.CanAsk() {
		return []error{fmt.Errorf("%w: it asks %q", ErrNobody, c.s.Ask)}
	}
	return nil
}

func (c confirmAction) prepare(context.Context, *attempt) (note, error) { return note{}, nil }

func (c confirmAction) run(ctx context.Context, a *attempt) error {
	a.log.say("? " + c.s.Ask)
	yes, err := a.w.Ask(ctx, c.s.Ask)
	if err == nil && !yes {
		err = ErrRefused
	}
	return err
}

func (c confirmAction) commands(*World) []string { return []string{"asks: " + c.s.Ask} }
