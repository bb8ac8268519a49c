package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/source/device"
	"github.com/kura-backup/kura/source/device/snapshot"
)

type deviceBackupOptions struct {
	snapshotOptions
	as, mapFile, state string

	kind, command, size string
	changes             bool
	freeze              bool
	freezeMounts        []string
	lock                string
	maxHold             time.Duration
}

// defaultMaxHold is how long others wait at most for a file system or a database.
const defaultMaxHold = 10 * time.Second

func (a *app) deviceBackupCommand() *cobra.Command {
	var o deviceBackupOptions
	cmd := &cobra.Command{
		Use:   "backup [flags] PATH…",
		Short: "back up block devices or disk images",
		Long: `Back up block devices or disk images: each becomes a file of the snapshot, under its own path.

All of it is read, past the page cache; holes and zeros are not stored, and of what has changed only the
difference. What can not be read, or a size that changes meanwhile, fails the run: nothing is saved then.
The hash of all that was read is kept, so that a restore can be compared with it.

A device that is in use has to be read from a snapshot of it: --snapshot makes one, and removes it in any
case.

  lvm, lvm-thin  of a logical volume; a classic one gets more room as it fills, and the run fails if it overflows, or
                 if the pool of a thin one does
  btrfs          of the subvolume in which the image lies
  reflink        a copy of the image that shares its blocks, on XFS or btrfs
  command        whatever --snapshot-command does, which is called for the steps create, check and remove

--freeze stops writes to what is mounted of the device while the snapshot is made; LVM does so by itself.
--lock-command is put in front of that, as in --lock-command "kura mysql lock --": the lock is held while the snapshot is
made, and not while it is read. Both end after --max-hold: then the run fails. With --dry-run all of this is done, too.

With --changes the snapshot is kept until the next run, which compares its own with it and reads only what differs
(btrfs and reflink). Otherwise --map names a file that says what has changed: see docs/devices.md.`,
		Example: `  kura device backup /dev/vg0/data --snapshot lvm
  kura device backup /var/lib/vm/a.img --snapshot reflink --changes
  kura device backup /dev/vg0/mysql --snapshot lvm-thin --lock-command 'kura mysql lock --'
  kura device backup /dev/nvme1n1 --snapshot command --snapshot-command /etc/kura/cloud-snapshot --freeze`,
		Args: func(cmd *cobra.Command, args []string) error { return o.checkArgs(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error { return a.runDeviceBackup(cmd.Context(), o, args) },
	}
	var groups []flagGroup
	f := newGroup(&groups, "What to read")
	f.StringVar(&o.as, "as", "", "`path` of the device in the snapshot (default: its own)")
	f.StringVar(&o.mapFile, "map", "", "read only what this `file` calls data; - is standard input")
	f.StringVar(&o.state, "state", "", "`name` of the state that the device is in, to which a later map can refer")

	f = newGroup(&groups, "Snapshots of the device")
	f.StringVar(&o.kind, "snapshot", "", "read from a snapshot of this `kind`: "+strings.Join(snapshot.Kinds, ", "))
	f.StringVar(&o.command, "snapshot-command", "", "`command` that makes, checks and removes the snapshot")
	f.StringVar(&o.size, "snapshot-size", "", "`size` of a classic LVM snapshot (default: a tenth of the volume)")
	f.BoolVar(&o.changes, "changes", false, "keep the snapshot, and read only what differs from the one of the run before")
	f.BoolVar(&o.freeze, "freeze", false, "freeze what is mounted of the device while the snapshot is made")
	f.StringArrayVar(&o.freezeMounts, "freeze-mount", nil, "freeze what is mounted at this `folder` while the snapshot is made (can be given several times)")
	f.StringVar(&o.lock, "lock-command", "", "`command` that takes a lock, and runs what is put behind it")
	f.DurationVar(&o.maxHold, "max-hold", defaultMaxHold, "longest `time` for which to freeze, or to hold the lock")
	o.addFlags(cmd, &groups)
	return cmd
}

// checkArgs refuses what does not go together.
func (o *deviceBackupOptions) checkArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return wrongArgs(cmd, "back up what? name block devices or disk images")
	case slices.Contains(args, ""):
		return wrongArgs(cmd, "one of the paths is empty")
	case len(args) > 1 && (o.as != "" || o.mapFile != "" || o.state != ""):
		return wrongArgs(cmd, "--as, --map and --state are about one device")
	case o.mapFile != "" && o.changes:
		return wrongArgs(cmd, "both --map and --changes were given")
	case o.changes && o.kind != "btrfs" && o.kind != "reflink":
		return wrongArgs(cmd, "--changes needs --snapshot btrfs or reflink, in which it can be seen what has changed")
	case o.kind == "command" && o.command == "":
		return wrongArgs(cmd, "--snapshot command needs --snapshot-command")
	case o.kind != "command" && o.command != "":
		return wrongArgs(cmd, "--snapshot-command is for --snapshot command")
	case o.kind != "lvm" && o.size != "":
		return wrongArgs(cmd, "--snapshot-size is for --snapshot lvm")
	case o.kind == "" && (o.freeze || len(o.freezeMounts) > 0 || o.lock != ""):
		return wrongArgs(cmd, "to freeze, or to lock, is of use only while a --snapshot is made")
	case o.maxHold <= 0 || o.maxHold > time.Hour:
		return wrongArgs(cmd, fmt.Sprintf("--max-hold %v is not a time of up to an hour", o.maxHold))
	}
	if o.kind != "" && !slices.Contains(snapshot.Kinds, o.kind) {
		return wrongArgs(cmd, fmt.Sprintf("--snapshot %q is none of %s", o.kind, strings.Join(snapshot.Kinds, ", ")))
	}
	if o.state != "" {
		if err := device.CheckState(o.state); err != nil {
			return wrongArgs(cmd, "--state: "+err.Error())
		}
	}
	return nil
}

func (a *app) runDeviceBackup(ctx context.Context, o deviceBackupOptions, args []string) error {
	opts := device.Options{
		Changes: o.changes && !o.dryRun,
		Warn:    func(message string) { a.term.Error("kura: warning: " + message) },
		Done:    a.term.DeviceRead,
	}
	var err error
	if opts.Devices, err = o.inputs(a, args); err != nil {
		return err
	}
	if o.kind == "" {
		return explainDevice(a.runSource(ctx, o.snapshotOptions, device.New(opts)))
	}
	leases, err := openLeases()
	if err != nil {
		return err
	}
	defer leases.Close()
	if err := a.cleanUp(ctx, leases, false); err != nil { // what is in the way of nobody is no reason not to go on
		a.term.Error("kura: warning: " + withoutPackages(err.Error()))
	}
	if opts.Taker, err = o.taker(a, leases); err != nil {
		return err
	}
	src := device.New(opts)
	err = a.runSource(ctx, o.snapshotOptions, src)
	safe := err == nil || errors.Is(err, errIncomplete)
	return explainDevice(errors.Join(err, src.Forget(context.WithoutCancel(ctx), safe)))
}

// inputs are the devices.
func (o *deviceBackupOptions) inputs(a *app, args []string) (out []device.Input, err error) {
	for _, p := range args {
		in := device.Input{State: o.state}
		if in.Read, err = filepath.Abs(p); err != nil {
			return nil, err
		}
		in.Path = in.Read
		if o.as != "" {
			if in.Path = filepath.Clean("/" + o.as); in.Path == "/" {
				return nil, usage("--as: the snapshot's root can not be a device")
			}
		}
		if slices.ContainsFunc(out, func(other device.Input) bool { return other.Path == in.Path }) {
			return nil, usage(fmt.Sprintf("%s is named twice", in.Path))
		}
		if o.mapFile != "" {
			in.Map = a.mapReader(o.mapFile)
		}
		out = append(out, in)
	}
	return out, nil
}

// mapReader reads a map once: standard input has no second time, if the run has to begin again.
func (a *app) mapReader(name string) func(int64) (*device.Map, error) {
	var m *device.Map
	return func(size int64) (_ *device.Map, err error) {
		if m == nil {
			m, err = a.readMap(name, size)
		}
		return m, err
	}
}

func (a *app) readMap(name string, size int64) (*device.Map, error) {
	if name == "-" {
		return device.ReadMap(a.stdin, size)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return device.ReadMap(f, size)
}

// taker makes the snapshots that the flags ask for.
func (o *deviceBackupOptions) taker(a *app, leases *snapshot.Leases) (t *snapshot.Taker, err error) {
	t = &snapshot.Taker{
		Kind: o.kind, Leases: leases, Freeze: o.freezeMounts, FreezeDevices: o.freeze,
		Watchdog: snapshot.Watchdog{Args: []string{"device", nameWatchdog}, Longest: o.maxHold, Stderr: a.stderr},
		Lock:     o.lock, Holder: []string{"device", nameHolder}, Stderr: a.stderr,
	}
	options := snapshot.Options{Command: o.command}
	if o.size != "" {
		if options.Size, err = parseSize("--snapshot-size", o.size); err != nil {
			return nil, err
		}
	}
	if t.Provider, err = snapshot.New(o.kind, options); err != nil {
		return nil, err
	}
	t.Own, err = a.neededFolders()
	return t, err
}

// neededFolders are those that a run reads and writes while it goes on.
func (a *app) neededFolders() ([]string, error) {
	state, err := stateFolder()
	if err != nil {
		return nil, err
	}
	out := []string{os.TempDir(), state}
	cache, err := a.globals.cache()
	if err != nil {
		return nil, err
	}
	if cache != "" {
		out = append(out, cache)
	}
	p, err := a.place()
	if err != nil {
		return nil, err
	}
	if dir, local := strings.CutPrefix(p.String(), "local:"); local {
		out = append(out, dir)
	}
	// A terminal is no file; a log is.
	for _, f := range []*os.File{os.Stdout, a.stderr} {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			out = append(out, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		}
	}
	return out, nil
}

func explainDevice(err error) error {
	switch {
	case errors.Is(err, device.ErrSince):
		return withHint(err, "without --map all of it is read, and the next map can refer to that")
	case errors.Is(err, snapshot.ErrOverflow):
		return withHint(err, "nothing was saved; give the snapshot more room with --snapshot-size, or run when less is written")
	case errors.Is(err, snapshot.ErrPool):
		return withHint(err, "nothing was saved, and the snapshot makes room again; lvextend gives the pool more of it")
	case errors.As(err, new(*device.ReadError)):
		return withHint(err, "nothing was saved: a copy with a gap in it would look like a good one")
	}
	return err
}
