package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/lease"
)

func (a *app) unlockCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "unlock",
		Short: "take the lease of a repository with a single writer from a dead client",
		Long: `Take the lease of a repository with a single writer (kura init --single-writer) from a client that died
while it had it. Otherwise others wait for 24 hours. No password is needed.

Be sure that the client is dead, and was for some minutes: if it still writes, or something that it sent
still arrives, it can overwrite what others write, and snapshots are lost. The command says who has the
lease and asks; --force answers yes.

All other repositories have no locks, and the command does nothing: any number of backups and prunes may
run in one repository at the same time, and one that was cut off leaves nothing behind that has to be
removed. There, the command with --remove-all is for scripts that were made for other programs.`,
		Example: `  kura unlock`,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runUnlock(cmd.Context(), force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "take the lease without asking")
	cmd.Flags().Bool("remove-all", false, "does nothing; see --force")
	return cmd
}

func (a *app) runUnlock(ctx context.Context, force bool) error {
	name, err := a.globals.named()
	if err != nil {
		return err
	}
	if name == "" {
		a.term.Info("nothing to do: kura has no locks")
		return nil
	}
	p, err := a.place()
	if err != nil {
		return err
	}
	store, err := a.openStore(ctx, p.Open)
	if err != nil {
		return explainOpen(p, err)
	}
	return errors.Join(a.unlock(ctx, store, force), store.Close())
}

func (a *app) unlock(ctx context.Context, store backends.Store, force bool) error {
	holders, err := lease.Holders(ctx, store)
	if err != nil {
		return err
	}
	if len(holders) == 0 {
		a.term.Info("nothing to do: nobody has a lease, and kura has no locks")
		return nil
	}
	for _, h := range holders {
		a.term.Error(fmt.Sprintf("kura: the lease is that of %v%s", h, deadHere(h)))
		if !force {
			if err := a.confirmUnlock(ctx, h); err != nil {
				return err
			}
		}
		if err := lease.Remove(ctx, store, h); err != nil {
			return err
		}
		a.term.Info("the lease was taken away")
	}
	return nil
}

// confirmUnlock asks, or fails.
func (a *app) confirmUnlock(ctx context.Context, h lease.Holder) error {
	refused := withHint(&lease.HeldError{Holder: h}, "if it is dead for certain, kura unlock --force takes the lease from it; otherwise wait")
	tty, done := a.keyboard()
	if tty == nil {
		return refused
	}
	defer done()
	a.term.Error("kura: if it still writes, or something that it sent still arrives, snapshots are lost")
	yes, err := a.confirm(ctx, tty, "is it dead?")
	if err == nil && !yes {
		err = refused
	}
	return err
}

// deadHere says whether a holder was a process of this machine that is no more. Another machine may have the same name, as containers and
// clones of one image do: then it is no sign of death.
func deadHere(h lease.Holder) string {
	host, err := os.Hostname()
	if err != nil || host == "" || host != h.Host {
		return ""
	}
	if p, err := os.FindProcess(h.PID); err == nil && !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		return ", as this one is called; here there is a process of that number"
	}
	return ", as this one is called; if no other machine or container is, there is no such process any more"
}
