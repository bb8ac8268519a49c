package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/runbook"
)

type runbookOptions struct {
	runbook.Options
	state                   string
	set                     []string // name=value
	undo, list, dryRun, yes bool
	globals                 []string // as they were given, for what is run
	order                   []string // of the steps that are taken back
	begun                   bool     // something may have been done
}

func (a *app) runbookCommand() *cobra.Command {
	var o runbookOptions
	cmd := &cobra.Command{
		Use:   "runbook [flags] PLAN.toml",
		Short: "carry out a recovery plan, step by step",
		Long: `Carry out a recovery plan: stop services, fence off what must not write, move the old folder aside, restore files
and databases, start, check. The plan is a file with the steps in their order; docs/runbook.md has its format.

Before the first step it is looked whether all that the plan names is there: snapshots and paths in them, programs, services.
Which snapshots are meant, such as the latest of a host, is found out then, once for all steps.

Each step is written down before it begins and when it has ended. If one fails, the run stops there and says what to
type next. --continue goes on: what is done is not done again, unless the step's own check says that it is not so any
more. Where it is not known whether a step has done its work, and doing it twice could do harm, you are asked.
--from STEP begins with a step, so that those before it are taken for done, and --only STEP does one alone.

--undo takes back what the last run of the plan has done, in the reverse order, and says first what can not be taken back: then the
exit code is 3. With --from it begins with that step.

--dry-run looks at everything, shows the commands with all values filled in, and changes nothing. --list shows how far
the last run has come.

What is written down, and what each step has printed, is in a folder of the run below --state. Only one run at a time uses that.`,
		Example: `  kura runbook controller.toml --dry-run
  kura runbook controller.toml --set old_host=ctl1
  kura runbook controller.toml --continue
  kura runbook controller.toml --continue --from start-services
  kura runbook controller.toml --undo`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return wrongArgs(cmd, "carry out which plan?")
			case len(args) > 1:
				return wrongArgs(cmd, fmt.Sprintf("unexpected argument %q", args[1]))
			}
			return o.check()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.globals = givenGlobals(cmd)
			return a.runRunbook(cmd.Context(), &o, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.state, "state", "", "`folder` in which runs are written down (default: kura/runbooks in the user's state folder)")
	f.StringArrayVar(&o.set, "set", nil, "give a variable of the plan a value: `name=value` (can be given several times)")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but look at everything and show what would be run")
	f.BoolVar(&o.Continue, "continue", false, "go on with the last run of the plan, which is not over")
	f.BoolVar(&o.New, "new", false, "begin a new run, though the last one is not over, and leave that as it is")
	f.StringVar(&o.From, "from", "", "begin with this `step`, and take those before it for done, or with --undo for taken back")
	f.StringVar(&o.Only, "only", "", "do this `step` alone")
	f.BoolVar(&o.undo, "undo", false, "take back what the last run of the plan has done")
	f.BoolVar(&o.list, "list", false, "show the steps, and how far the last run has come")
	f.BoolVarP(&o.yes, "yes", "y", false, "answer all questions with yes, also those that the plan asks")
	return cmd
}

// check refuses flags that do not go together.
func (o *runbookOptions) check() error {
	var given []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"--continue", o.Continue}, {"--new", o.New}, {"--undo", o.undo}, {"--list", o.list}} {
		if f.set {
			given = append(given, f.name)
		}
	}
	switch {
	case len(given) > 1:
		return usage(strings.Join(given, " and ") + " do not go together")
	case o.From != "" && o.Only != "":
		return usage("--from and --only do not go together")
	case (o.undo || o.list) && (o.Only != "" || len(o.set) > 0) || o.list && o.From != "":
		return usage(given[0] + " is about the whole of the last run: it does not go with --from, --only and --set")
	case o.list && (o.dryRun || o.yes):
		return usage("--list does nothing: it does not go with --dry-run and --yes")
	}
	return o.variables()
}

// variables takes --set apart.
func (o *runbookOptions) variables() error {
	o.Set = map[string]string{}
	for _, text := range o.set {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return usage(fmt.Sprintf("--set %q is not name=value", text))
		}
		if _, twice := o.Set[name]; twice {
			return usage("--set " + name + " was given twice")
		}
		o.Set[name] = value
	}
	return nil
}

// stateDir is the folder in which runs are written down.
func (o *runbookOptions) stateDir() (string, error) {
	if o.state != "" {
		return o.state, nil
	}
	dir, err := xdg("XDG_STATE_HOME", ".local/state")
	if err != nil {
		return "", usage("no folder to write the run down in", "name one with --state")
	}
	return filepath.Join(dir, "kura", "runbooks"), nil
}

func (a *app) runRunbook(ctx context.Context, o *runbookOptions, file string) (err error) {
	plan, err := runbook.Read(file)
	if err != nil {
		return a.badPlan(err)
	}
	dir, err := o.stateDir()
	if err != nil {
		return err
	}
	open := runbook.OpenState
	if o.dryRun || o.list {
		open = runbook.LookAtState
	}
	state, err := open(dir, clock.Now)
	if err != nil {
		return a.explainRunbook(ctx, err, o, plan)
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	w := a.runbookWorld(o, plan)
	switch {
	case o.list:
		return a.listRunbook(o, plan, state)
	case o.undo:
		err = a.undoRunbook(ctx, o, plan, state, w)
	default:
		err = a.followRunbook(ctx, o, plan, state, w)
	}
	return a.explainRunbook(ctx, err, o, plan)
}

// badPlan tells of everything that is wrong with a plan.
func (a *app) badPlan(err error) error {
	if !errors.Is(err, runbook.ErrPlan) {
		return err
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 1 {
		for _, e := range many.Unwrap() {
			a.term.ItemError("plan", "", plain{e})
		}
		err = fmt.Errorf("the plan has %d errors%w", len(many.Unwrap()), hidden{err})
	}
	return withHint(&usageError{plain{err}}, "nothing was done; the format is explained in docs/runbook.md")
}

func (a *app) followRunbook(ctx context.Context, o *runbookOptions, plan *runbook.Plan, state *runbook.State, w *runbook.World) error {
	if o.dryRun && !o.Continue {
		o.New = true // which it would be
	}
	start := clock.Now()
	run, err := runbook.Prepare(ctx, plan, state, w, o.Options)
	if run != nil && o.dryRun {
		a.sayDryRun(plan, run)
	}
	if err == nil && o.dryRun {
		return a.sayAfterDryRun(o, plan, state)
	}
	if err != nil {
		return err
	}
	defer outliveOutput()()
	a.sayBegin(plan, run)
	o.begun = true
	over, err := run.Go(ctx)
	if err != nil {
		a.sayProgress(run)
		return err
	}
	result := runbook.ResultDone
	if !over {
		result = resultOpen
	}
	a.sayEnd(plan, run.Dir(), result, len(run.Left()), clock.Since(start))
	if !over {
		a.term.Info(fmt.Sprintf("%s left: %s; to go on: %s", steps(len(run.Unfinished())), strings.Join(run.Unfinished(), ", "), o.again(plan, "--continue")))
	}
	return nil
}

func (a *app) undoRunbook(ctx context.Context, o *runbookOptions, plan *runbook.Plan, state *runbook.State, w *runbook.World) error {
	start := clock.Now()
	u, err := runbook.PrepareUndo(plan, state, w, o.From)
	if err != nil {
		return err
	}
	left := u.Left()
	for _, e := range left {
		o.order = append(o.order, e.Step.Name)
	}
	a.sayUndo(u, left, o.dryRun)
	if o.dryRun {
		return nil
	}
	if len(left) > 0 {
		yes, err := w.Ask(ctx, fmt.Sprintf("take back %s?", steps(len(left))))
		if err == nil && !yes {
			err = runbook.ErrRefused
		}
		if err != nil {
			return err
		}
	}
	defer outliveOutput()()
	o.begun = true
	err = u.Go(ctx)
	if err == nil || errors.Is(err, runbook.ErrStays) {
		a.sayEnd(plan, u.Dir(), runbook.ResultUndone, len(left), clock.Since(start))
		err = errors.Join(err, a.sayEarlier(o, plan, state))
	}
	return err
}

// someone is advice where a question could not be asked.
const someone = "run the command at a terminal, or with --yes, which answers everything with yes"

// explainRunbook says what to type next.
func (a *app) explainRunbook(ctx context.Context, err error, o *runbookOptions, plan *runbook.Plan) error {
	if err == nil {
		return nil
	}
	next := func(args ...string) string { return o.again(plan, args...) }
	if many := (*runbook.PreflightError)(nil); errors.As(err, &many) {
		for _, p := range many.Problems {
			a.term.ItemError("preflight", p.Step, plain{p.Err})
		}
		hints := []string{"nothing was done"}
		if o.Continue {
			hints[0] = "nothing was done now: the run is as it was; mend that, then go on: " + next("--continue")
		}
		if errors.Is(err, runbook.ErrNobody) {
			hints = append(hints, someone)
		}
		return withHint(fmt.Errorf("the plan can not be carried out here: %s%w", problems(len(many.Problems)), hidden{err}), hints...)
	}
	var failed *runbook.StepError
	switch {
	case errors.As(err, &failed) || o.begun && errors.Is(context.Cause(ctx), errInterrupted):
		return a.explainStep(ctx, err, failed, o, plan)
	case errors.Is(err, runbook.ErrBusy):
		return withHint(err, "wait until it has ended, or look what it does: "+next("--list"))
	case errors.Is(err, runbook.ErrOpenRun):
		return withHint(err, next("--list")+" shows how far it has come", next("--continue")+" goes on with it", next("--undo")+" takes it back",
			o.anew(plan, "--new")+" begins anew and leaves that one as it is")
	case errors.Is(err, runbook.ErrChanged):
		return withHint(err, "put the plan back to what it was, or say where to go on: "+next("--continue", "--from", "STEP"))
	case errors.Is(err, runbook.ErrNoRun):
		return withHint(err, o.anew(plan)+" begins one")
	case errors.Is(err, runbook.ErrNobody):
		return withHint(err, someone)
	case errors.Is(err, runbook.ErrStays):
		return withHint(err, "what stays is as the run has left it, and "+next("--list")+" says why; all else is as it was before")
	case errors.Is(err, runbook.ErrRefused):
		return withHint(err, "nothing was done now; "+next("--list")+" shows how far the run has come")
	case errors.Is(err, runbook.ErrChoice):
		return withHint(&usageError{plain{err}}, next("--list")+" shows the steps")
	case errors.Is(err, runbook.ErrPlan):
		return a.badPlan(err)
	}
	return err
}

// explainStep says what to do about a step that failed.
func (a *app) explainStep(ctx context.Context, err error, failed *runbook.StepError, o *runbookOptions, plan *runbook.Plan) error {
	next := func(args ...string) string { return o.again(plan, args...) }
	var hints []string
	if failed != nil && failed.Log != "" {
		hints = append(hints, "what it has printed is in "+failed.Log)
	}
	if errors.Is(err, runbook.ErrNobody) {
		hints = append(hints, someone)
	}
	mend := "mend it, then go on"
	if errors.Is(context.Cause(ctx), errInterrupted) {
		mend = "to go on"
	}
	if o.undo {
		hints = append(hints, mend+" taking back: "+next("--undo"))
		if failed != nil {
			i := slices.Index(o.order, failed.Step)
			if i >= 0 {
				a.sayNames("taken back, or found that it can not be", o.order[:i])
				a.sayNames("not taken back yet", o.order[i:])
			}
			if i >= 0 && i+1 < len(o.order) {
				hints = append(hints, "if it was taken back by hand, go on behind it: "+next("--undo", "--from", o.order[i+1]))
			}
		}
		return withHint(fmt.Errorf("%w%w", err, hidden{errLeft}), hints...)
	}
	switch {
	case errors.Is(err, runbook.ErrUnclear):
		hints = append(hints, "look what it has done; to do it again: "+next("--continue", "--from", failed.Step))
	case errors.Is(err, runbook.ErrStillRunning):
		hints = append(hints, "fuser -v "+runbook.Quote([]string{failed.Log})+" names it; wait until it has ended, or end it; then: "+next("--continue"))
	case errors.Is(err, runbook.ErrRefused):
		hints = append(hints, "to be asked again, and go on then: "+next("--continue"))
	default:
		if errors.Is(err, runbook.ErrTimeout) {
			hints = append(hints, "timeout (of a check: within) in the plan gives it more time")
		}
		hints = append(hints, mend+": "+next("--continue"))
	}
	if errors.Is(err, runbook.ErrStillRunning) { // whatever else is done now is done beside it
		return withHint(fmt.Errorf("%w%w", err, hidden{errLeft}), hints...)
	}
	if failed != nil {
		if i, ferr := plan.Find(failed.Step); ferr == nil && i+1 < len(plan.Steps) {
			hints = append(hints, "if it was done by hand, go on behind it: "+next("--continue", "--from", plan.Steps[i+1].Name))
		}
	}
	hints = append(hints, "to take everything back: "+next("--undo"))
	return withHint(fmt.Errorf("%w%w", err, hidden{errLeft}), hints...)
}

// errLeft marks an error after which something is left to be done: running the same command again is not the advice.
var errLeft = errors.New("steps are left")

// again is a command line about the same plan.
func (o *runbookOptions) again(plan *runbook.Plan, args ...string) string {
	line := append([]string{"kura", "runbook", plan.File}, args...)
	if o.state != "" {
		line = append(line, "--state", o.state)
	}
	return runbook.Quote(append(line, o.globals...))
}

// anew is a command line that begins a run of the plan with the same values.
func (o *runbookOptions) anew(plan *runbook.Plan, args ...string) string {
	for _, set := range o.set {
		args = append(args, "--set", set)
	}
	return o.again(plan, args...)
}

func steps(n int) string { return plural(n, "step") }

func problems(n int) string { return plural(n, "problem") }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
