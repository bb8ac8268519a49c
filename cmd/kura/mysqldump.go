package main

import (
	"context"

	"github.com/spf13/cobra"
)

type mysqlDumpOptions struct {
	mysqlChoice
}

func (a *app) mysqlDumpCommand() *cobra.Command {
	var o mysqlDumpOptions
	cmd := &cobra.Command{
		Use:   "dump [flags] ID",
		Short: "print a backup of a MariaDB or MySQL server as SQL",
		Long: `Print a backup of a MariaDB or MySQL server as SQL on standard output.

Without --database and --rename-db that is, byte by byte, what the dump program had printed. Otherwise it
is what kura mysql restore would execute: it lacks the first line, which only newer clients of MariaDB understand, and the
place in the server's log. Give it to a client in binary mode, in which it does not take what is in texts for
commands of its own.`,
		Example: `  kura mysql dump latest > all.sql
  kura mysql dump latest --database shop.orders --rename-db shop=test | mariadb --binary-mode`,
		Args: wantsSnapshot,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runMySQLDump(cmd.Context(), o, args[0]) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runMySQLDump(ctx context.Context, o mysqlDumpOptions, name string) error {
	sel, err := o.selection()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		b, err := o.find(ctx, r, name, ofSQL, nil)
		if err != nil {
			return err
		}
		m, err := b.manifest(ctx)
		if err != nil {
			return err
		}
		if len(sel.Only) == 0 && len(sel.Rename) == 0 {
			return m.WriteExact(ctx, a.term, b.details.CoordinatesSQL, b.open(ctx))
		}
		plan, err := m.Plan(sel)
		if err != nil {
			return plain{err}
		}
		renamed, err := plan.WriteTo(ctx, a.term, b.open(ctx))
		a.sayRenamed(renamed)
		return err
	})
}
