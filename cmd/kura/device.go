package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/source/device/snapshot"
)

func (a *app) deviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "back up and restore block devices and disk images",
		Long: `Back up block devices and disk images, from snapshots that are made and removed for the purpose, and restore
them where they are, writing only what differs.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.deviceBackupCommand(), a.deviceRestoreCommand(), a.deviceMapCommand(), a.deviceCleanupCommand(), watchdogCommand(), holderCommand())
	return cmd
}

// The names of the commands that kura runs itself, below "device".
const (
	nameWatchdog = "watchdog"
	nameHolder   = "hold"
)

// watchdogCommand is the process that thaws a file system if the one that has frozen it does not.
func watchdogCommand() *cobra.Command {
	return &cobra.Command{
		Use:    nameWatchdog + " MILLISECONDS",
		Short:  "thaw what another process has frozen",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := snapshot.RunWatchdog(args[0], os.Stdin, os.Stdout)
			return err
		},
	}
}

// holderCommand is what the command of --lock-command runs while it holds its lock.
func holderCommand() *cobra.Command {
	return &cobra.Command{
		Use:    nameHolder,
		Short:  "wait while snapshots are made under a lock",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(*cobra.Command, []string) error { return snapshot.RunHolder() },
	}
}

// stateFolder is where kura keeps what must not be lost while it runs.
func stateFolder() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kura"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/kura", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", withHint(fmt.Errorf("no folder for what kura has to remember: %w", err), "set $XDG_STATE_HOME")
	}
	return filepath.Join(home, ".local", "state", "kura"), nil
}

// openLeases opens the folder that says which snapshots of devices there are.
func openLeases() (*snapshot.Leases, error) {
	dir, err := stateFolder()
	if err != nil {
		return nil, err
	}
	return snapshot.OpenLeases(filepath.Join(dir, "snapshots"))
}

func (a *app) deviceCleanupCommand() *cobra.Command {
	var kept bool
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "remove snapshots of devices that runs which have died left behind",
		Long: `Remove snapshots of devices that "kura device backup --snapshot" made and could not remove: the run was killed,
or the machine lost its power. Each such backup does this first, so that there is seldom a reason to.

Snapshots of runs that are under way are left alone. With --kept those that --changes has kept go, too; the next
run then reads everything.`,
		Example: `  kura device cleanup`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			leases, err := openLeases()
			if err != nil {
				return err
			}
			defer leases.Close()
			return a.cleanUp(cmd.Context(), leases, kept)
		},
	}
	cmd.Flags().BoolVar(&kept, "kept", false, "remove also the snapshots that --changes has kept")
	return cmd
}

// cleanUp removes what dead runs have left, as far as it can.
func (a *app) cleanUp(ctx context.Context, leases *snapshot.Leases, kept bool) error {
	left, err := leases.Left()
	errs := []error{err}
	if kept {
		more, err := leases.Kept(ctx, "")
		left, errs = append(left, more...), append(errs, err)
	}
	for i := range left {
		if err := left[i].Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("the %s snapshot %s of %s, which an earlier run has left, can not be removed: %w", left[i].Kind, left[i].Name, left[i].Of, plain{err}))
			continue
		}
		a.term.SnapshotRemoved(&left[i].Copy)
	}
	return errors.Join(errs...)
}
