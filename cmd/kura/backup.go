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

	"github.com/kura-backup/kura/backends/lease"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backends/probe"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/source/stream"
	"github.com/kura-backup/kura/ui"
)

func (a *app) backupCommand() *cobra.Command {
	var o backupOptions
	var ofFiles []string
	cmd := &cobra.Command{
		Use:   "backup [flags] PATH...",
		Short: "back up files and folders into a new snapshot",
		Long: `Back up files and folders, with everything in them, into a new snapshot.

Only what the repository does not have yet is stored. Files that have the same size, times and inode as
in the newest snapshot of the same host and paths are not read. Symbolic links are stored as such. A
repository on a local disk and kura's own cache are left out of the backup by themselves, and so is what
the kernel shows of itself (/proc, /sys), unless it is named.

A pattern of --exclude that begins with a slash is a full path, others match at any depth; * and ? stay
within a name, ** stands for any number of folders, and ! in front takes back what earlier patterns left
out. What lies in a folder that is left out is left out, too. Patterns and --exclude-larger-than hold for the
given paths themselves; mount points, markers and ignore files do not.

With --stdin what comes on standard input becomes the only file of the snapshot. With
--stdin-from-command the arguments are a command whose output does; when it fails or prints nothing,
nothing is saved. Put -- in front of a command that has flags. --stream NAME=COMMAND makes a file of the
output of a shell's command line, in which all parts of a pipeline must succeed, and can be given
several times: when one of them fails, nothing is saved. Do not compress a stream: that hides from kura
what has not changed.

--require fails the run if nothing that was backed up matches a pattern: a disk that is not mounted is no
backup. Commands of --before, --after and --on-failure are run by a shell; docs/streams.md has what they
are told.

What can not be read is reported and left out: exit code 3. When a run is cut off, what it had stored is
kept and the next run goes on from there.

At a terminal and without any repository, kura offers to make one in the user's data folder.`,
		Example: `  kura backup ~ --exclude .cache --exclude '*.tmp'
  kura backup /etc /srv --tag nightly
  kura backup / --one-file-system --exclude-caches --exclude-larger-than 4g
  find /data -newer /last-week -print0 | kura backup --files-from-raw -
  mysqldump --all-databases | kura backup --stdin --stdin-filename all.sql
  kura backup --stdin-filename all.sql --stdin-from-command -- mysqldump --all-databases
  kura backup --stream shop.sql='pg_dump shop' --stream roles.sql='pg_dumpall --globals-only'
  kura backup ssh://root@www/etc ssh://root@www/srv
  kura backup /srv --require '/srv/db/*.ibd' --before 'systemctl stop db' --after 'systemctl start db'`,
		Args: func(cmd *cobra.Command, args []string) error { return o.checkArgs(cmd, args, ofFiles) },
		RunE: func(cmd *cobra.Command, args []string) error { return a.runBackup(cmd.Context(), o, args) },
	}
	ofFiles = o.addFlags(cmd)
	return cmd
}

// ownFolders are the repository, where it is a local folder, and the cache. In a folder that the user chose for caches there may
// be other things; only this repository's cache in it is kura's own.
func (a *app) ownFolders(p *place, repositoryID string) (dirs []string, err error) {
	cache, err := a.globals.cache()
	if err != nil {
		return nil, err
	}
	if given(a.globals.cacheDir, envCacheDir) != "" && cache != "" {
		cache = filepath.Join(cache, repositoryID)
	}
	for _, dir := range []string{strings.TrimPrefix(p.String(), "local:"), cache} {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// ownPatterns are patterns for what must not be backed up because the backup itself changes it. Where something else lies in the
// repository's folder, as in that of a whole disk, they are for the repository's own names in it.
func (a *app) ownPatterns(p *place, repositoryID string) ([]string, error) {
	dirs, err := a.ownFolders(p, repositoryID)
	if err != nil {
		return nil, err
	}
	var patterns []string
	for _, dir := range dirs {
		names := []string{"."}
		if dir == strings.TrimPrefix(p.String(), "local:") && !holdsOnlyRepository(dir) {
			names = repositoryNames()
		}
		ways := []string{dir}
		if real, err := filepath.EvalSymlinks(dir); err == nil && real != dir {
			ways = append(ways, real)
		}
		for _, way := range ways {
			for _, name := range names {
				patterns = append(patterns, escapePattern(filepath.Join(way, name)))
			}
		}
	}
	return patterns, nil
}

// repositoryNames are what a repository has in its folder, with what a lease and kura doctor have there.
func repositoryNames() []string {
	return append(object.TopNames(), local.TempDir, strings.TrimSuffix(lease.Class, "/"), strings.TrimSuffix(probe.Class, "/"))
}

// holdsOnlyRepository reports whether nothing but a repository is in its folder.
func holdsOnlyRepository(dir string) bool {
	entries, err := os.ReadDir(dir)
	own := repositoryNames()
	return err == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !slices.Contains(own, e.Name()) })
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
	if o.force {
		o.parent = ""
	}
	return a.makeSnapshot(ctx, &o.snapshotOptions, opts, func(opts *backup.Options) error { return o.read(a, args, opts) })
}

// mergeIndex merges small index segments, of which each backup leaves one, if there are many. The backup is done
// whatever comes of it.
func (a *app) mergeIndex(ctx context.Context, r *session) {
	host, err := os.Hostname()
	if err == nil {
		_, err = gc.MergeIndex(ctx, r.Repository, host)
	}
	if err != nil && ctx.Err() == nil {
		a.term.Info("the index could not be merged, which a later backup or prune tries again: " + ui.PrintableMessage(withoutPackages(err.Error())))
	}
}

// readIndexTime is for how long readIndex may go on. What --before has stopped is not running yet.
const readIndexTime = 10 * time.Second

// readIndex reads the index of what was stored into the cache, which the next run would have to do before it begins: a second for each million
// of blobs. The backup is done whatever comes of it. A far store's is not read back: the next run does that, if there is one.
func (a *app) readIndex(ctx context.Context, r *session) {
	if a.globals.noCache || r.CacheError() != nil || !r.Store().Caps().Local {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readIndexTime)
	defer cancel()
	_, _ = r.Index(ctx) // the next run says what is the matter
}

func explainBackup(err error) error {
	switch {
	case errors.Is(err, backup.ErrNothing):
		return withHint(err, "nothing was saved; are the names right?")
	case errors.Is(err, backup.ErrMissing):
		return withHint(err, "is a disk not mounted, or is the pattern of --require not the path as it is on this machine?")
	case errors.Is(err, stream.ErrEmpty):
		return withHint(err, "an empty stream is hardly ever what was meant; did the program that makes it fail?")
	case errors.Is(err, stream.ErrStreams):
		return &usageError{err}
	}
	return err
}

// backupError is how a backup that made a snapshot falls short.
func backupError(r *backup.Result) error {
	if n := r.Summary.Errors; n > 0 {
		return withHint(fmt.Errorf("%w: %s", errIncomplete, ui.Count(n, "error")), "the errors above name what is missing or was changed while it was read")
	}
	return nil
}
