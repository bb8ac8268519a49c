package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/source/tarfile"
)

func (a *app) importTarCommand() *cobra.Command {
	var o snapshotOptions
	var prefix string
	cmd := &cobra.Command{
		Use:   "import-tar [flags] [FILE]",
		Short: "make a snapshot of what is in a tar archive",
		Long: `Make a snapshot of what is in a tar archive, as it would be extracted: with owners, times, hard links,
devices, extended attributes and holes. Without FILE, or with -, the archive comes on standard input. An archive
compressed with gzip, bzip2 or zstd is decompressed.

When the archive is cut off, wherever that is, nothing is saved. Names lead neither out of the snapshot nor
out of --prefix: / and .. at their beginning mean nothing. Of several entries of a name the last one counts. What
can not be taken over, such as a hard link to something that is not in the archive, is reported and left
out: exit code 3.

--host and --time say whose the files are and from when; later archives with the same host and prefix
are stored as the difference to this one.`,
		Example: `  kura import-tar backup-2019.tar.gz --host www --time "2019-05-01 03:00"
  ssh www tar -C / --xattrs -cf - etc srv | kura import-tar --host www
  docker export web | kura import-tar --prefix /containers/web`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return wrongArgs(cmd, "one archive makes one snapshot")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runImportTar(cmd.Context(), o, prefix, append(args, "-")[0])
		},
	}
	var groups []flagGroup
	newGroup(&groups, "The archive").StringVar(&prefix, "prefix", "", "put everything below this `path`")
	o.addFlags(cmd, &groups)
	return cmd
}

func (a *app) runImportTar(ctx context.Context, o snapshotOptions, prefix, name string) error {
	in := &struct{ io.Reader }{a.stdin}
	src, err := tarfile.New(in, prefix)
	if err != nil {
		return usage("--prefix: " + withoutPackages(err.Error()))
	}
	src.Warn = func(message string) { a.term.Error("kura: warning: " + message) }
	opts, err := o.options(a)
	if err != nil {
		return err
	}
	opts.Source = src
	var f *os.File
	err = a.makeSnapshot(ctx, &o, opts, func(*backup.Options) (err error) {
		if name != "-" {
			f, err = os.Open(name)
			in.Reader = f
		}
		return err
	})
	_ = f.Close() // it was only read, if it was opened at all
	if errors.Is(err, tarfile.ErrMore) {
		err = withHint(err, "of archives that were joined tar reads the first as well; import each of them, or what tar --concatenate makes of them")
	}
	return err
}
