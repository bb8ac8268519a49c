package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/source/redis"
)

// envRedisPassword is redis-cli's.
const envRedisPassword = "REDISCLI_AUTH"

func (a *app) redisCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redis",
		Short: "back up a Redis or Valkey server, and restore it",
		Long:  "Back up what a Redis or Valkey server holds, and restore the files that one starts from.",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.redisBackupCommand(), a.redisRestoreCommand())
	return cmd
}

// serverFlags say which server.
type serverFlags struct {
	addr, socket, user, passwordFile string
	tls                              bool
	ca                               string
}

func (o *serverFlags) addFlags(a *app, f *pflag.FlagSet) {
	f.StringVar(&o.addr, "addr", "", "`host:port` of the server (default: 127.0.0.1:6379)")
	f.StringVar(&o.socket, "socket", "", "`path` of its socket, instead")
	f.StringVar(&o.user, "user", "", "log in as this `user` of its ACL")
	f.StringVar(&o.passwordFile, "password-file", "", "`file` with the server's password in it (default: $"+envRedisPassword+" is the password)")
	f.StringVarP(&a.globals.passwordFile, "repository-password-file", "p", "", "`file` with the repository's password in it (default: $"+envPasswordFile+")")
	f.BoolVar(&o.tls, "tls", false, "talk to it by TLS")
	f.StringVar(&o.ca, "tls-ca", "", "trust the certificates in this `file` (default: the system's)")
}

// given reports whether any flag names a server.
func (o *serverFlags) given() bool { return o.addr != "" || o.socket != "" }

func (o *serverFlags) server() (*redis.Server, error) {
	switch {
	case o.addr != "" && o.socket != "":
		return nil, usage("both --addr and --socket were given", "give one of them")
	case o.socket != "" && o.tls:
		return nil, usage("--tls is not for sockets")
	case o.ca != "" && !o.tls:
		return nil, usage("--tls-ca is for --tls")
	}
	s := &redis.Server{Addr: o.addr, Socket: o.socket, User: o.user, TLS: o.tls, CA: o.ca, Password: os.Getenv(envRedisPassword)}
	if o.passwordFile != "" {
		var err error
		if err = privateFile("--password-file", o.passwordFile); err != nil {
			return nil, err
		}
		if s.Password, err = readLine(o.passwordFile, "password file"); err != nil {
			return nil, err
		}
	}
	if s.User != "" && s.Password == "" {
		return nil, usage("--user needs a password", "put it into a file for --password-file, or into $"+envRedisPassword)
	}
	return s, nil
}

// explainRedis adds what to do about it.
func explainRedis(err error) error {
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.ErrVia):
		return usage("these flags do not go together", "--via bgsave or replica asks a server, --rdb alone reads a file, --aof an append-only folder")
	case errors.Is(err, redis.ErrPassword):
		hint = "--user and --password-file name a user and a file with the password"
	case errors.Is(err, redis.ErrNoReplica):
		hint = "services that others run often forbid it: export a file there and back it up with --rdb FILE"
	case errors.Is(err, redis.ErrForbidden):
		hint = "--rdb FILE says where the server saves if it does not; --via replica needs neither CONFIG nor its files"
	case errors.Is(err, redis.ErrStale):
		hint = "--allow-stale backs it up nevertheless"
	case errors.Is(err, redis.ErrOtherFile):
		hint = "is this the server that saves to this file"
	case errors.Is(err, redis.ErrSlowSave):
		hint = "--wait says how long a save may take"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT) && isDial(err):
		hint = "does the server run there? --addr and --socket say where"
	case errors.Is(err, redis.ErrStarted):
		hint = "end it with SHUTDOWN NOSAVE, and start it again"
	case errors.Is(err, redis.ErrReplica):
		hint = "restore into the master, or take the line out and see that no Sentinel makes a replica of it again"
	case errors.Is(err, redis.ErrRunning):
		hint = "stop it first: it would replace the restored data by its own"
	case errors.Is(err, redis.ErrExists):
		hint = "--yes moves aside what is there"
	case errors.Is(err, redis.ErrAppendOnly):
		hint = "say --appendonly=yes or --appendonly=no, or name the server's configuration with --config"
	case errors.Is(err, redis.ErrNoFolder):
		hint = "if the server is of version 7 or later, move that file away: it does not need it"
	case errors.Is(err, redis.ErrIgnored):
		hint = "change its configuration to appendonly yes, or say --appendonly=yes if it is so"
	case errors.Is(err, redis.ErrNotSaved):
		hint = "kura snapshots lists the snapshots; those of servers have paths below /redis"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		hint = "where the server's files are out of reach, --via replica lets it send its data"
	default:
		return err
	}
	return withHint(err, hint)
}

// isDial reports whether an error is about getting through to a server.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
