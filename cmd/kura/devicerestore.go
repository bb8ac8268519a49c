package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/device"
	"github.com/kura-backup/kura/tree"
	"github.com/kura-backup/kura/ui"
)

type deviceRestoreOptions struct {
	filterOptions
	to     string
	dryRun bool
	force  bool
}

func (a *app) deviceRestoreCommand() *cobra.Command {
	var o deviceRestoreOptions
	cmd := &cobra.Command{
		Use:   "restore [flags] ID[:PATH] --to PATH",
		Short: "restore a block device or disk image",
		Long: `Restore a block device or disk image onto a device, into an image, or as a new file.

What is there is compared, and only what differs is fetched and written, in blocks of 4 KiB; zeros take no
place where the device or file system can do without. In the end everything is written to the disk, read again from it, and
compared with the hash of what was read for the backup.

A device that is mounted, swap, a part of another device or behind a loop device is refused, as is one that is too small. Of a
larger one what is behind the end stays. What a program has locked, such as a virtual machine, and an image of another
size are overwritten only with --force. A new file has another name until it is complete; run the command again after it was cut off.

Without PATH the snapshot must have one device. Any file of any snapshot can be restored this way.`,
		Example: `  kura device restore latest --to /dev/vg0/data
  kura device restore latest:/dev/vg0/data --to /mnt/data.img
  kura device restore latest --path /dev/vg0/data --to /dev/vg0/data --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			err := whichSnapshot(cmd, args, o.at)
			if err == nil && o.to == "" {
				err = wrongArgs(cmd, "restore to where? name a device or file with --to")
			}
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runDeviceRestore(cmd.Context(), o, append(args, "latest")[0])
		},
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	f := cmd.Flags()
	f.StringVarP(&o.to, "to", "t", "", "`path` of the device, or of the image, to restore to")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "write nothing, but say what would be fetched")
	f.BoolVar(&o.force, "force", false, "overwrite an image of another size, or what another program has locked")
	return cmd
}

func (a *app) runDeviceRestore(ctx context.Context, o deviceRestoreOptions, name string) error {
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		snap, path, err := findSnapshot(ctx, r, name, f)
		if err != nil {
			return err
		}
		if path, err = devicePath(snap, path); err != nil {
			return err
		}
		node, err := r.Find(ctx, snap, path)
		if err != nil {
			return explainFind(err)
		}
		if node.Type != tree.File || node.Error != "" {
			return fmt.Errorf("%s is no file of the snapshot", path)
		}
		a.term.Info(fmt.Sprintf("restoring %s of %s", path, ui.Describe(snap)))
		return a.restoreDevice(ctx, r, snap, path, node, &o)
	})
}

// devicePath returns the path of the device in a snapshot.
func devicePath(snap *repo.Snapshot, path string) (string, error) {
	all, err := device.ReadDetails([]byte(snap.Details))
	switch {
	case err != nil:
		return "", fmt.Errorf("snapshot %s: %w", snap.ID.Short(), err)
	case path != "" && path != "/":
		return path, nil
	}
	if len(all.Devices) == 1 {
		return all.Devices[0].Path, nil
	}
	hints := []string{"name one: ID:PATH"}
	for _, d := range all.Devices {
		hints = append(hints, snap.ID.String()[:8]+":"+d.Path)
	}
	return "", usage(fmt.Sprintf("the snapshot has %s", ui.Count(uint64(len(all.Devices)), "device")), hints...)
}

func (a *app) restoreDevice(ctx context.Context, r *session, snap *repo.Snapshot, path string, node *tree.Node, o *deviceRestoreOptions) (err error) {
	start := clock.Now()
	all, err := device.ReadDetails([]byte(snap.Details))
	if err != nil {
		return err
	}
	root := ""
	if d := all.Find(path); d != nil && d.Size == node.Size {
		root = d.Root
	}
	target, err := device.OpenTarget(o.to, node.Size, device.TargetOptions{DryRun: o.dryRun, Force: o.force})
	if err != nil {
		return explainTarget(err)
	}
	defer target.Close()
	done := new(device.Restored)
	stop := a.showProgress(ctx, func() ui.Status {
		n := done.Done.Load() + done.Checked.Load()
		return ui.Status{
			Noun: "device", Total: 1, Bytes: uint64(n), BytesTotal: 2 * uint64(node.Size), Complete: true,
			BytesSkipped: uint64(done.Same.Load()),
		}
	}, ui.RestoreMessage)
	defer stop()
	extents := extentsOf(ctx, r, node)
	if err := target.Restore(ctx, extents, done); err != nil {
		return err
	}
	if err := target.Finish(ctx, root, extents, done); err != nil {
		return err
	}
	stop()
	a.term.DeviceRestored(ui.DeviceResult{
		Restored: done, SnapshotID: snap.ID.String(), Path: path, Target: o.to, Size: node.Size, Root: root != "",
		DryRun: o.dryRun, Elapsed: clock.Since(start),
	})
	return nil
}

// extentsOf are those of a file of a snapshot.
func extentsOf(ctx context.Context, r *session, node *tree.Node) iter.Seq2[device.Extent, error] {
	return func(yield func(device.Extent, error) bool) {
		at := int64(0)
		for e, err := range tree.ReadContent(ctx, node, r.LoadTree) {
			if err != nil {
				yield(device.Extent{}, err)
				return
			}
			x := device.Extent{Start: at, Length: e.Length, Zero: e.Kind != tree.Data}
			if id := e.ID; !x.Zero {
				x.Is = func(data []byte) bool { return r.BlobID(object.DataBlob, data) == id }
				x.Load = func(ctx context.Context) ([]byte, error) { return r.LoadBlob(ctx, object.DataBlob, id) }
			}
			if !yield(x, nil) {
				return
			}
			at += e.Length
		}
	}
}

func explainTarget(err error) error {
	switch {
	case errors.Is(err, device.ErrInUse):
		return withHint(err, "unmount it, or end what uses it; nothing was written")
	case errors.Is(err, device.ErrSize):
		return withHint(err, "is it the right file? --force overwrites it all the same")
	case errors.Is(err, fs.ErrNotExist):
		return withHint(err, "devices are not made; new files are, in folders that are there")
	}
	return err
}
