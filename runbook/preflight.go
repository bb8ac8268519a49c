package runbook

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kura-backup/kura/internal/mounts"
)

// preflight looks, before the first step, whether all that the steps name is there. Nothing is changed by it.
type preflight struct {
	w        *World
	made     []string // paths below which earlier steps put things
	services bool     // earlier steps may install some
	changes  bool     // earlier steps may change anything at all
	problems []Problem
}

// program looks for the program of a command, and whether a shell understands the line. Programs in that are its own matter.
func (p *preflight) program(ctx context.Context, a *attempt, c Command) []error {
	if c.Line != "" {
		argv, err := c.argv()
		if err != nil {
			return []error{fmt.Errorf("%s: %w", c, err)}
		}
		if out, err := a.output(ctx, slices.Insert(argv, 1, "-n")); err != nil {
			return []error{fmt.Errorf("%s: %w: %s", c, err, strings.TrimSpace(out))}
		}
	}
	if len(c.Argv) == 0 {
		return nil
	}
	name := c.Argv[0]
	if p.willBe(name) {
		return nil
	}
	if err := p.w.Find(name); err != nil {
		return []error{err}
	}
	return nil
}

// willBe reports whether an earlier step may put something at a path.
func (p *preflight) willBe(path string) bool {
	return slices.ContainsFunc(p.made, func(dir string) bool { return mounts.Within(path, dir) })
}

// look looks at the steps that are to be done.
func (p *preflight) look(ctx context.Context, r *Run, todo []task) error {
	for _, t := range todo {
		s := &r.steps[t.place]
		a := &attempt{step: s, w: r.w, run: r, log: new(stepLog)}
		k, _ := findKind(s.Kind)
		errs := k.empty(s)
		if len(errs) == 0 {
			errs = k.make(s).preflight(ctx, a, p)
		}
		errs = append(errs, p.program(ctx, a, s.Done)...)
		errs = append(errs, p.program(ctx, a, s.Undo)...)
		for _, err := range errs {
			p.problems = append(p.problems, Problem{s.Name, err})
		}
		for _, dir := range []string{s.Target, s.Path} {
			if dir != "" {
				p.made = append(p.made, filepath.Clean(dir))
			}
		}
		p.changes = p.changes || !s.onlyLooks()
		p.services = p.services || s.Kind == "run" && s.Writes || s.touchesUnits()
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
	}
	if len(p.problems) > 0 {
		return &PreflightError{p.problems}
	}
	return nil
}

// onlyLooks reports whether a step leaves the machine as it is.
func (s *Step) onlyLooks() bool { return s.Kind == "check" || s.Kind == "confirm" || s.Ask != "" }

// touchesUnits reports whether a step changes something where systemd has its units.
func (s *Step) touchesUnits() bool {
	for _, dir := range []string{s.Target, s.Path} {
		for _, units := range []string{"/etc/systemd", "/usr/lib/systemd", "/lib/systemd"} {
			if dir != "" && (mounts.Within(units, filepath.Clean(dir)) || mounts.Within(filepath.Clean(dir), units)) {
				return true
			}
		}
	}
	return false
}
