package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/redis"
	"github.com/kura-backup/kura/ui"
)

type redisRestoreOptions struct {
	filterOptions
	dir, config, appendOnly string
	yes, dryRun, check      bool
}

func (a *app) redisRestoreCommand() *cobra.Command {
	var o redisRestoreOptions
	cmd := &cobra.Command{
		Use:   "restore [flags] ID --dir DIR",
		Short: "restore the files that a Redis or Valkey server starts from",
		Long: `Restore the files that a Redis or Valkey server starts from into its folder.

The server must not run. A server with "appendonly yes" in its configuration ignores dump.rdb: for one the
append-only folder is made, with dump.rdb as its base. Whether that is so is read from --config or, if the server
of one of the usual configurations has this folder, from that; --appendonly says it otherwise.

What was restored is checked before it is put in its place: checksums, and the number of keys. With --yes
what is there is moved aside first; nothing is deleted. The files belong to the folder's owner.
No server is started but with --check: then a private one loads the files, its keys are counted, and it ends.

ID is the beginning of a snapshot's id, latest, or latest~N.`,
		Example: `  systemctl stop redis-server
  kura redis restore latest --dir /var/lib/redis --yes --check
  systemctl start redis-server`,
		Args: func(cmd *cobra.Command, args []string) error { return whichSnapshot(cmd, args, o.at) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRedisRestore(cmd.Context(), o, append(args, "latest")[0])
		},
	}
	f := cmd.Flags()
	o.addFlags(f)
	o.addAt(f)
	f.StringVar(&o.dir, "dir", "", "the server's `folder`, as in its configuration")
	f.StringVar(&o.config, "config", "", "the server's configuration `file` (default: one in the usual places whose folder this is)")
	f.StringVar(&o.appendOnly, "appendonly", "", "`yes` or no: whether the server starts from append-only files (default: as the configuration says)")
	f.Lookup("appendonly").NoOptDefVal = "yes"
	f.BoolVarP(&o.yes, "yes", "y", false, "move aside what is there")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "write nothing, but say whether it could be done")
	f.BoolVar(&o.check, "check", false, "let a private server load what was restored, and count its keys")
	return cmd
}

// target makes a Target of the flags.
func (o *redisRestoreOptions) target() (*redis.Target, error) {
	if o.dir == "" {
		return nil, usage("restore to where?", "name the server's folder with --dir")
	}
	t := &redis.Target{Replace: o.yes}
	var err error
	if t.Dir, err = filepath.Abs(o.dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(t.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, usage("there is no folder "+o.dir, "name the server's, which its configuration calls dir, or make it")
	}
	if o.config != "" {
		t.Config, err = redis.ReadConfig(o.config)
	} else {
		t.Config, err = redis.FindConfig(t.Dir)
	}
	if err != nil {
		return nil, err
	}
	switch o.appendOnly {
	case "":
	case "yes", "no":
		yes := o.appendOnly == "yes"
		t.AppendOnly = &yes
	default:
		return nil, usage(fmt.Sprintf("--appendonly %q is neither yes nor no", o.appendOnly))
	}
	return t, nil
}

func (a *app) runRedisRestore(ctx context.Context, o redisRestoreOptions, name string) error {
	t, err := o.target()
	if err != nil {
		return err
	}
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		snap, path, err := findRedis(ctx, r, name, f)
		if err != nil {
			return err
		}
		d, err := redis.ReadDetails([]byte(snap.Details))
		if errors.Is(err, source.ErrNewer) {
			return fmt.Errorf("snapshot %s: %w", snap.ID.Short(), err)
		}
		if err == nil && path != "" && path != d.Folder() {
			err = usage(fmt.Sprintf("%s: only the whole of %s can be restored", name, d.Folder()))
		}
		if err == nil {
			err = t.Check(ctx, d)
		}
		if err != nil {
			return explainRedis(err)
		}
		a.term.Info("restoring " + ui.Describe(snap))
		if t.Config == nil && t.AppendOnly == nil {
			a.term.Info("no configuration of a server with this folder was found; --config names it")
		}
		if o.dryRun {
			a.term.Info("nothing is in the way; nothing was written")
			return nil
		}
		return explainRedis(a.installRedis(ctx, r, snap, t, d, o.check))
	})
}

// findRedis finds the snapshot that is meant. Of snapshots that are not of a server, latest means none, unless there are no others.
func findRedis(ctx context.Context, r *session, name string, f repo.SnapshotFilter) (*repo.Snapshot, string, error) {
	folder := func(s *repo.Snapshot) string {
		d, err := redis.ReadDetails([]byte(s.Details))
		switch {
		case err == nil:
			return d.Folder()
		case errors.Is(err, source.ErrNewer):
			return pathsOf(s)
		}
		return ""
	}
	of := f
	of.Where = func(s *repo.Snapshot) bool { return folder(s) != "" }
	if strings.HasPrefix(name, "latest") {
		if err := oneServer(ctx, r, of, folder, "--host and --path choose one"); err != nil {
			return nil, "", err
		}
	}
	snap, path, err := findSnapshot(ctx, r, name, of)
	if errors.Is(err, repo.ErrNotFound) {
		return findSnapshot(ctx, r, name, f)
	}
	return snap, path, err
}

// installRedis restores a snapshot into a folder in the server's, and from there to its place.
func (a *app) installRedis(ctx context.Context, r *session, snap *repo.Snapshot, t *redis.Target, d *redis.Details, check bool) (err error) {
	staged, err := t.Stage()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staged.Close()) }()
	progress := new(restore.Progress)
	stop := a.showProgress(ctx, ui.RestoreStatus(progress), ui.RestoreMessage)
	defer stop()
	result, err := restore.Run(ctx, r.Repository, snap, restore.Options{Target: staged.Path, Path: d.Folder()}, restore.Events{
		Progress: progress,
		Error:    func(path string, err error) { a.term.ItemError("restore", path, plain{err}) },
	})
	stop()
	if err == nil {
		err = restoreError(result)
	}
	if err != nil {
		return err
	}
	in, started := t.Install(ctx, staged.Path, d)
	if started != nil && !errors.Is(started, redis.ErrStarted) {
		return started
	}
	m := redisSummary{
		MessageType: "summary", SnapshotID: snap.ID.String(), Files: in.Files, Aside: in.Aside, AppendOnly: in.AppendOnly, Commands: in.Commands,
	}
	if in.Info != nil {
		m.Keys = in.Info.Keys()
	}
	if check && started == nil {
		tried, err := t.Try(ctx, staged.Path, in)
		if err != nil {
			return err
		}
		m.Server, m.Loaded = tried.Server, tried.Keys()
	}
	a.redisRestored(m, in)
	return started
}

// redisSummary is what a restore has done, in JSON.
type redisSummary struct {
	MessageType string   `json:"message_type"` // "summary"
	SnapshotID  string   `json:"snapshot_id"`
	Files       []string `json:"files"`
	Aside       []string `json:"moved_aside,omitempty"`
	AppendOnly  bool     `json:"append_only"`
	Keys        uint64   `json:"keys"`
	Commands    uint64   `json:"commands,omitempty"`
	Server      string   `json:"checked_by,omitempty"` // --check: the server that has loaded them
	Loaded      uint64   `json:"keys_loaded,omitempty"`
}

func (a *app) redisRestored(m redisSummary, in *redis.Installed) {
	if a.term.JSON {
		a.term.Message(m)
		return
	}
	for _, old := range m.Aside {
		a.term.Info("what was there is now " + old)
	}
	a.term.Print(describeInstalled(in))
	if m.Server != "" {
		a.term.Print(fmt.Sprintf("%s loads them, and has %s", m.Server, ui.Count(m.Loaded, "key")))
	}
}

// describeInstalled says in a line what was restored.
func describeInstalled(in *redis.Installed) string {
	what := "restored " + strings.Join(in.Files, " and ")
	if in.Info != nil {
		what += ", with " + ui.Count(in.Info.Keys(), "key")
	}
	if in.Commands > 0 {
		what += " and " + ui.Count(in.Commands, "command")
	}
	return what
}
