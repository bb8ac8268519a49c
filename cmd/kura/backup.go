package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/pattern"
	"github.com/kura-backup/kura/ui"
)

type backupOptions struct {
	tags             []string
	host             string
	time             string
	excludes         []string
	excludeFiles     []string
	stdin            bool
	stdinFilename    string
	stdinFromCommand bool
	dryRun           bool
	compression      string
}

func (a *app) backupCommand() *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup [flags] PATH...",
		Short: "back up files and folders into a new snapshot",
		Long: `Back up files and folders, with everything in them, into a new snapshot.

Only what the repository does not have yet is stored. Files that have the same size, times and inode as
in the newest snapshot of the same host and paths are not read. Symbolic links are stored as such. A
repository on a local disk and kura's own cache are left out of the backup by themselves.

A pattern of --exclude that begins with a slash is a full path, others match at any depth; * and ? stay
within a name, ** stands for any number of folders, and ! in front takes back what earlier patterns left
out. What lies in a folder that is left out is left out, too.

With --stdin what comes on standard input becomes the only file of the snapshot. With
--stdin-from-command the arguments are a command whose output does; when it fails or prints nothing,
nothing is saved. Put -- in front of a command that has flags.

What can not be read is reported and left out: exit code 3. When a run is cut off, what it had stored is
kept and the next run goes on from there.

At a terminal and without any repository, kura offers to make one in the user's data folder.`,
		Example: `  kura backup ~ --exclude .cache --exclude '*.tmp'
  kura backup /etc /srv --tag nightly
  mysqldump --all-databases | kura backup --stdin --stdin-filename all.sql
  kura backup --stdin-filename all.sql --stdin-from-command -- mysqldump --all-databases`,
		Args: func(cmd *cobra.Command, args []string) error { return o.checkArgs(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error { return a.runBackup(cmd.Context(), o, args) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.tags, "tag", nil, "`tag` of the snapshot, or a list a,b (can be given several times)")
	f.StringVarP(&o.host, "host", "H", "", "`name` of the host (default: that of this machine)")
	f.StringVar(&o.time, "time", "", "`time` of the snapshot (default: now)")
	f.StringArrayVarP(&o.excludes, "exclude", "e", nil, "leave out what matches this `pattern` (can be given several times)")
	f.StringArrayVar(&o.excludeFiles, "exclude-file", nil, "leave out what matches a pattern in this `file`, one a line (can be given several times)")
	f.BoolVar(&o.stdin, "stdin", false, "back up standard input")
	f.StringVar(&o.stdinFilename, "stdin-filename", "", "`name` of the file that standard input, or the command's output, becomes (default: stdin)")
	f.BoolVar(&o.stdinFromCommand, "stdin-from-command", false, "back up the output of the command that the arguments are")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "store nothing, but say what would be stored")
	f.StringVar(&o.compression, "compression", "auto", "how much to compress: `auto`, off, fastest, better or max")
	return cmd
}

func (o *backupOptions) checkArgs(cmd *cobra.Command, args []string) error {
	stream := o.stdin || o.stdinFromCommand
	switch {
	case o.stdin && o.stdinFromCommand:
		return wrongArgs(cmd, "both --stdin and --stdin-from-command were given")
	case o.stdin && len(args) > 0:
		return wrongArgs(cmd, fmt.Sprintf("with --stdin there can be no paths: %q", args[0]))
	case o.stdinFromCommand && len(args) == 0:
		return usage("the output of which command?", "kura backup --stdin-from-command -- COMMAND ARGUMENT…")
	case !stream && len(args) == 0:
		return wrongArgs(cmd, "back up what? name files or folders")
	case !stream && o.stdinFilename != "":
		return wrongArgs(cmd, "--stdin-filename is for --stdin and --stdin-from-command")
	case stream && len(o.excludes)+len(o.excludeFiles) > 0:
		return wrongArgs(cmd, "there is nothing to exclude from a stream")
	}
	for _, p := range args {
		if p == "" {
			return wrongArgs(cmd, "one of the paths is empty")
		}
	}
	return nil
}

// compressions are the words for --compression.
var compressions = map[string]repo.Compression{
	"auto":    {Level: zst.Default},
	"off":     {Off: true},
	"fastest": {Level: zst.Fastest},
	"better":  {Level: zst.Better},
	"max":     {Level: zst.Best},
}

// options makes the library's options of the flags.
func (o *backupOptions) options(a *app, args []string) (out backup.Options, err error) {
	out = backup.Options{Paths: args, Host: o.host, Program: program(), DryRun: o.dryRun}
	if out.Tags, err = splitTags(o.tags); err != nil {
		return out, err
	}
	if o.time != "" {
		if out.Time, err = parseTime("--time", o.time, false); err != nil {
			return out, err
		}
	}
	var ok bool
	if out.Compression, ok = compressions[o.compression]; !ok {
		return out, usage(fmt.Sprintf("--compression %q is none of auto, off, fastest, better, max", o.compression))
	}
	out.Excludes = append(out.Excludes, o.excludes...)
	for _, name := range o.excludeFiles {
		patterns, err := readPatterns(name)
		if err != nil {
			return out, err
		}
		out.Excludes = append(out.Excludes, patterns...)
	}
	if _, err := pattern.Parse(out.Excludes); err != nil {
		return out, usage("--exclude: " + err.Error())
	}
	switch {
	case o.stdin:
		out.Stdin = &backup.Stdin{Reader: a.stdin, Filename: o.stdinFilename}
	case o.stdinFromCommand:
		out.Paths, out.Stdin = nil, &backup.Stdin{Command: args, Filename: o.stdinFilename}
	}
	// Walking the tree twice is worth it only for somebody who looks at the progress.
	out.Scan = !a.term.Quiet && (a.term.Interactive() || a.term.JSON) && out.Stdin == nil
	return out, nil
}

// readPatterns reads a file of patterns, one a line, between empty lines and comments.
func readPatterns(name string) (patterns []string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("exclude file: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("exclude file %s: %w", name, err)
	}
	return patterns, nil
}

// ownFolders are patterns for what must not be backed up because the backup itself changes it: the
// repository, where it is a local folder, and the cache. In a folder that the user chose for caches there may
// be other things; only this repository's cache in it is kura's own.
func (a *app) ownFolders(p *place, repositoryID string) ([]string, error) {
	cache, err := a.globals.cache()
	if err != nil {
		return nil, err
	}
	if given(a.globals.cacheDir, envCacheDir) != "" && cache != "" {
		cache = filepath.Join(cache, repositoryID)
	}
	var patterns []string
	for _, dir := range []string{strings.TrimPrefix(p.String(), "local:"), cache} {
		if !filepath.IsAbs(dir) {
			continue
		}
		patterns = append(patterns, escapePattern(dir))
		if real, err := filepath.EvalSymlinks(dir); err == nil && real != dir {
			patterns = append(patterns, escapePattern(real))
		}
	}
	return patterns, nil
}

// escapePattern returns the pattern that matches a path and nothing else.
func escapePattern(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(path)
}

func (a *app) runBackup(ctx context.Context, o backupOptions, args []string) error {
	opts, err := o.options(a, args)
	if err != nil {
		return err
	}
	p, err := a.placeOrOffer(ctx)
	if err != nil {
		return err
	}
	return a.withPlace(ctx, p, func(r *session) error {
		if opts.Stdin == nil {
			own, err := a.ownFolders(p, hex.EncodeToString(idOf(r)))
			if err != nil {
				return err
			}
			opts.Excludes = append(opts.Excludes, own...)
		}
		progress := new(backup.Progress)
		stop := a.showProgress(ctx, ui.BackupStatus(progress), ui.BackupMessage)
		defer stop()
		result, err := backup.Run(ctx, r.Repository, opts, backup.Events{
			Progress: progress,
			Error:    func(path string, err error) { a.term.ItemError("archival", path, plain{err}) },
			Item:     a.term.BackupItem,
		})
		stop()
		if err != nil {
			return explainBackup(err)
		}
		a.term.BackedUp(result, o.dryRun)
		return backupError(result)
	})
}

func explainBackup(err error) error {
	switch {
	case errors.Is(err, backup.ErrNothing):
		return withHint(err, "nothing was saved; are the names right")
	case errors.Is(err, backup.ErrEmptyStream):
		return withHint(err, "an empty stream is hardly ever what was meant; did the program that makes it fail")
	}
	return err
}

// backupError is how a backup that made a snapshot falls short.
func backupError(r *backup.Result) error {
	if n := r.Summary.Errors; n > 0 {
		return withHint(fmt.Errorf("%w: %s", errIncomplete, ui.Count(n, "error")), "the errors above name what is missing or was changed while it was read")
	}
	if r.Snapshot != nil && r.Snapshot.Suspect != 0 {
		return fmt.Errorf("%w: the source does not look as it did before", errIncomplete)
	}
	return nil
}
