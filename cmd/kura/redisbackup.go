package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/source/redis"
)

type redisBackupOptions struct {
	serverFlags
	snapshotOptions
	via, rdb, aof, name string
	exact, allowStale   bool
	wait                time.Duration
}

func (a *app) redisBackupCommand() *cobra.Command {
	var o redisBackupOptions
	cmd := &cobra.Command{
		Use:   "backup [flags]",
		Short: "back up what a Redis or Valkey server holds",
		Long: `Back up what a Redis or Valkey server holds into a new snapshot, as /redis/NAME/dump.rdb.

With --via bgsave, which is the default for a server on this machine, the server saves its data (after a save
that is under way) and the file is read where it lies. With --via replica, the default for others, the
server sends its data over the connection as it does to a new replica. With --rdb alone no server is asked: the
file is backed up as it is, however old; beside --addr or --socket it says where the server saves if
that can not be asked. With --aof the files of an append-only folder are backed up, up to the last whole
command, while the server goes on writing and rewriting them.

The file is checked to its checksum. It is stored with its keys in order, so that the same data is the same bytes
after a restart of the server, too; any server loads it as it is. What is left out is when the file was saved and how long
ago keys were used. --exact keeps that as well, at some two bytes a key, and restores the same file byte for byte.

--password-file is the server's; the repository's is -p or --repository-password-file.`,
		Example: `  kura redis backup
  kura redis backup --socket /run/redis/redis-server.sock
  kura redis backup --addr cache1.example.com --tls --user backup --password-file /etc/kura/redis.password
  kura redis backup --aof /var/lib/redis/appendonlydir
  kura redis backup --rdb /srv/exports/dump.rdb --name cache1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runRedisBackup(cmd.Context(), o) },
	}
	var groups []flagGroup
	f := newGroup(&groups, "The server")
	o.serverFlags.addFlags(a, f)
	f = newGroup(&groups, "What to back up")
	f.StringVar(&o.via, "via", "", "`way` of getting the data: bgsave or replica")
	f.StringVar(&o.rdb, "rdb", "", "back up this `file`, or with a server: the file that it saves")
	f.StringVar(&o.aof, "aof", "", "back up the append-only files in this `folder`")
	f.BoolVar(&o.allowStale, "allow-stale", false, "back up a replica though it has no link to its master, and old data")
	f.BoolVar(&o.exact, "exact", false, "keep the order of keys, too, and all else that makes the file the same byte for byte")
	f.DurationVar(&o.wait, "wait", redis.DefaultWait, "fail if the server takes this `long` to save")
	f.StringVar(&o.name, "name", "", "`name` of the folder in the snapshot (default: the server's host and port, or local)")
	o.snapshotOptions.addFlags(cmd, &groups)
	return cmd
}

func (a *app) runRedisBackup(ctx context.Context, o redisBackupOptions) error {
	opts := redis.Options{Via: redis.Via(o.via), RDB: o.rdb, AOF: o.aof, Name: o.name, Exact: o.exact, Wait: o.wait, AllowStale: o.allowStale}
	switch opts.Via {
	case "", redis.BGSave, redis.Replica:
	default:
		return usage(fmt.Sprintf("--via %q is neither bgsave nor replica", o.via))
	}
	if o.wait <= 0 {
		return usage("--wait must be longer than nothing")
	}
	if o.given() || opts.RDB == "" && opts.AOF == "" {
		var err error
		if opts.Server, err = o.server(); err != nil {
			return err
		}
	}
	src, err := redis.New(opts)
	if err != nil {
		return explainRedis(err)
	}
	if err := a.runSource(ctx, o.snapshotOptions, src); err != nil {
		return explainRedis(err)
	}
	a.term.Info(describeRedis(src.Details()))
	return nil
}

// describeRedis says in a line what was backed up.
func describeRedis(d *redis.Details) string {
	if d.AOF != nil {
		var commands uint64
		keys := ""
		for _, f := range d.AOF.Files {
			commands += f.Commands
			if f.RDB != nil && f.RDB.Info != nil {
				keys = fmt.Sprintf("%d keys and ", f.RDB.Keys)
			}
		}
		return fmt.Sprintf("append-only files with %s%d commands", keys, commands)
	}
	if d.RDB.Info == nil {
		return "warning: the file is stored as it is, which costs more after a restart of the server: " + d.RDB.Reason
	}
	saved := ""
	if d.SavedAt != nil {
		saved = ", saved at " + d.SavedAt.Local().Format(time.DateTime)
	}
	if d.MasterLink != "" {
		saved += ", a replica whose link to its master is " + d.MasterLink
	}
	return fmt.Sprintf("%d keys of %s%s", d.RDB.Keys, d.Server, saved)
}
