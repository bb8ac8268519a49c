package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/ui"
)

type checkOptions struct {
	readData bool
}

func (a *app) checkCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "look for damage in the repository",
		Long: `Look for damage in a repository. Nothing is changed.

Without --read-data everything is verified but the contents of files: keys, log, index, and that each
snapshot's tree is whole and everything it refers to is there. With --read-data every byte is read.

The exit code is 4 if something is damaged.`,
		Example: `  kura check
  kura check --read-data`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runCheck(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.readData, "read-data", false, "read all packs, too")
	return cmd
}

func (a *app) runCheck(ctx context.Context, o checkOptions) error {
	return a.withRepository(ctx, func(r *session) error {
		steps := new(ui.Steps)
		stop := a.showProgress(ctx, steps.Status, ui.StepsMessage)
		defer stop()
		report, err := check.Run(ctx, r.Repository, check.Options{ReadData: o.readData}, check.Events{
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
		a.term.Checked(report, o.readData)
		if n := report.Damaged(); n > 0 {
			hints := []string{"keep the repository as it is until it is clear what is lost; kura restore still restores what is whole"}
			if !o.readData {
				hints = append(hints, "kura check --read-data finds all of it")
			}
			return withHint(fmt.Errorf("%w: %s", errDamageFound, ui.Count(uint64(n), "problem")), hints...)
		}
		return nil
	})
}
