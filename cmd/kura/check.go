package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/ui"
)

type checkOptions struct {
	readData bool
	subset   string
	rolling  string
	seed     uint64
	noKey    bool
}

func (a *app) checkCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "look for damage in the repository",
		Long: `Look for damage in a repository. None of its data is changed.

Without more flags everything is verified but the contents of files: keys, log, index, and that each
snapshot's tree is whole and everything it refers to is there. With --read-data every byte is read.

--read-data-subset reads some of the packs: 2/7 the second of seven parts, always the same, that together
are all; 5% or 20G so many, drawn anew each time. --rolling 20G reads those that were verified longest
ago, so that a check every night gets through all of a large repository. Which packs were read and found
whole is noted in the repository, and kura stats says what share that is.

--no-key asks for no password. It verifies the hash of everything that is named by one, which is nearly
all of a repository, on the machine where the repository lies. It does not notice objects that are gone.

Damage that parity mends is told apart from damage that costs something. For the latter the files are
named. kura repair repairs either. The exit code is 4 if something is damaged.`,
		Example: `  kura check
  kura check --read-data
  kura check --read-data-subset 3/12
  kura check --rolling 50G`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			choice, err := o.choice(cmd.Flags())
			if err != nil {
				return err
			}
			if o.noKey {
				return a.runCheckNoKey(cmd.Context())
			}
			return a.runCheck(cmd.Context(), choice)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.readData, "read-data", false, "read all packs, too")
	f.StringVar(&o.subset, "read-data-subset", "", "read a `part` of the packs: n/t, a percentage, or a size such as 20G")
	f.StringVar(&o.rolling, "rolling", "", "read packs of this `size`: those that were verified longest ago")
	f.Uint64Var(&o.seed, "seed", 0, "repeat what an earlier --read-data-subset drew: the `number` that it printed")
	f.BoolVar(&o.noKey, "no-key", false, "verify what can be verified without a password")
	return cmd
}

// choice says which packs are read.
func (o *checkOptions) choice(flags *pflag.FlagSet) (c check.Choice, err error) {
	seeded, given := flags.Changed("seed"), 0
	for _, set := range []bool{o.readData, flags.Changed("read-data-subset"), flags.Changed("rolling"), o.noKey} {
		if set {
			given++
		}
	}
	if given > 1 {
		return c, usage("of --read-data, --read-data-subset, --rolling and --no-key only one can be given")
	}
	switch {
	case o.readData:
		c.All = true
	case flags.Changed("read-data-subset"):
		c, err = check.ParseSubset(o.subset)
	case flags.Changed("rolling"):
		c.Rolling, err = check.ParseSize(o.rolling)
	}
	if err != nil {
		return c, &usageError{plain{err}}
	}
	switch {
	case seeded && !c.Drawn():
		return c, usage("--seed is for --read-data-subset with a percentage or a size")
	case seeded:
		c.Seed = o.seed
	case c.Drawn():
		var b [8]byte
		rand.Read(b[:]) // never fails
		c.Seed = binary.BigEndian.Uint64(b[:])
	}
	return c, nil
}

func (a *app) runCheck(ctx context.Context, choice check.Choice) error {
	return a.withRepository(ctx, func(r *session) error {
		r.reports = true
		if r.Keys().Role() == seal.Writer {
			a.term.Info("warning: a writer's key can not look into snapshots: only the repository's own objects are checked, not whether all is there that snapshots need")
		}
		return a.check(ctx, choice, false, func(ev check.Events) (*check.Report, error) {
			return check.Run(ctx, r.Repository, check.Options{Read: choice}, ev)
		})
	})
}

// runCheckNoKey opens the store and no repository: nobody is asked for a password.
func (a *app) runCheckNoKey(ctx context.Context) (err error) {
	p, err := a.place()
	if err != nil {
		return err
	}
	store, err := a.openStore(ctx, p.Open)
	if err != nil {
		return explainOpen(p, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	err = a.check(ctx, check.Choice{All: true}, true, func(ev check.Events) (*check.Report, error) {
		return check.NoKey(ctx, store, ev)
	})
	if errors.Is(err, repo.ErrNoRepository) {
		return explainOpen(p, err)
	}
	return err
}

// check runs a check, and reports what it finds.
func (a *app) check(ctx context.Context, choice check.Choice, noKey bool, run func(check.Events) (*check.Report, error)) error {
	steps := new(ui.Steps)
	stop := a.showProgress(ctx, steps.Status, ui.StepsMessage)
	defer stop()
	report, err := run(check.Events{
		Phase: steps.Phase,
		Step:  steps.Step,
		Problem: func(p check.Problem) {
			if !p.Hint {
				steps.Failed()
			}
			p.Err = plain{p.Err}
			a.term.CheckProblem(p)
		},
	})
	stop()
	if err != nil {
		return err
	}
	a.term.Checked(report, choice, noKey)
	if report.Damaged() > 0 {
		return damageFound(report, choice, noKey)
	}
	return a.explainRecords(report, choice)
}

// explainRecords says that it could not be noted what was read. A check that rolls on reads the same packs for
// ever without it.
func (a *app) explainRecords(r *check.Report, choice check.Choice) error {
	if r.RecordErr == nil {
		return nil
	}
	if choice.Rolling > 0 {
		return withHint(fmt.Errorf("what was verified could not be noted, and the next --rolling will read the same: %w", r.RecordErr),
			"--read-data-subset n/t needs no notes")
	}
	a.term.Info("what was verified could not be noted: " + ui.PrintableMessage(plain{r.RecordErr}.Error()))
	return nil
}
