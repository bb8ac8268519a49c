package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/restore/archive"
	"github.com/kura-backup/kura/tree"
	"github.com/kura-backup/kura/ui"
)

type dumpOptions struct {
	filterOptions
	archive string
	target  string
}

func (a *app) dumpCommand() *cobra.Command {
	var o dumpOptions
	cmd := &cobra.Command{
		Use:   "dump [flags] ID[:PATH]",
		Short: "write a file of a snapshot, or an archive of a folder, to standard output",
		Long: `Write a file of a snapshot to standard output, or a folder as an archive.

A folder becomes a tar archive with what is in it, under names that begin in that folder; without PATH, with
everything under full paths. --archive zip makes a zip archive, in which there are no devices and no
extended attributes, and a file with several names is there several times. With --archive a single file
becomes an archive, too.

ID is as with restore. When something is damaged the dump ends there with an error, and the archive has no
end: look at the exit code.`,
		Example: `  kura dump latest:/shop.sql | psql shop
  kura dump latest:/etc | tar -tvf -
  kura dump latest:/srv/www --archive zip --target www.zip`,
		Args: func(cmd *cobra.Command, args []string) error { return whichSnapshot(cmd, args, o.at) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runDump(cmd.Context(), o, append(args, "latest")[0])
		},
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	cmd.Flags().StringVarP(&o.archive, "archive", "a", "", "`format` of the archive: tar or zip (default: tar for folders, none for files)")
	cmd.Flags().StringVarP(&o.target, "target", "t", "", "write to this new `file` in place of standard output; it is removed if it can not be completed")
	return cmd
}

// archiveFormats are the words for --archive.
var archiveFormats = map[string]archive.Format{"": archive.Tar, "tar": archive.Tar, "zip": archive.Zip}

func (a *app) runDump(ctx context.Context, o dumpOptions, name string) error {
	format, ok := archiveFormats[o.archive]
	if !ok {
		return usage(fmt.Sprintf("--archive %q is neither tar nor zip", o.archive))
	}
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		snap, path, err := findSnapshot(ctx, r, name, f)
		if err != nil {
			return err
		}
		n, err := r.Find(ctx, snap, path)
		if err != nil {
			return explainFind(err)
		}
		isArchive := o.archive != "" || n.Type == tree.Folder
		if !isArchive && n.Type != tree.File {
			return withHint(fmt.Errorf("%s is a %v: it has no content", path, n.Type), "--archive tar writes it as an archive with one entry")
		}
		var missing uint64
		err = a.withOutput(o.target, isArchive, func(w io.Writer) (err error) {
			if !isArchive {
				return dumpFile(ctx, r.Repository, n, w)
			}
			missing, err = a.dumpArchive(ctx, r.Repository, snap, path, w, format)
			return err
		})
		if err == nil && missing > 0 {
			err = withHint(fmt.Errorf("%s: not everything is in the archive", ui.Count(missing, "error")), "the archive is complete but for what the errors above say")
		}
		return err
	})
}

// withOutput calls write with the place that a dump is written to. A file that is not complete is removed.
func (a *app) withOutput(target string, isArchive bool, write func(io.Writer) error) (err error) {
	if target == "" {
		if isArchive && a.term.OutputIsTerminal() {
			return usage("an archive is nothing for a terminal", "--target FILE writes it to a file, or put | in front of a program behind it")
		}
		return write(a.term)
	}
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(target))
	}
	return nil
}

// dumpFile writes the content of a file.
func dumpFile(ctx context.Context, r *repo.Repository, n *tree.Node, w io.Writer) error {
	content, err := restore.NewReader(ctx, r, n)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return errors.Join(err, content.Close())
}

// dumpArchive writes an archive, and returns how many entries are not in it, or not as they were.
func (a *app) dumpArchive(ctx context.Context, r *repo.Repository, snap *repo.Snapshot, path string, w io.Writer, format archive.Format) (missing uint64, err error) {
	result, err := archive.Write(ctx, r, snap, path, w, format, archive.Events{
		Error: func(path string, err error) { a.term.ItemError("dump", path, plain{err}) },
	})
	return result.Errors, err
}
