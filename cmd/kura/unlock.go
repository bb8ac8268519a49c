package main

import "github.com/spf13/cobra"

func (a *app) unlockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unlock",
		Short: "do nothing: kura has no locks",
		Long: `Do nothing. Kura has no locks: any number of backups and prunes may run in one repository at the same
time, and one that was cut off leaves nothing behind that has to be removed. The command with its flag, and
--no-lock, are there so that scripts made for other programs work.`,
		Example: `  kura unlock`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			a.term.Info("nothing to do: kura has no locks")
			return nil
		},
	}
	cmd.Flags().Bool("remove-all", false, "does nothing either")
	return cmd
}
