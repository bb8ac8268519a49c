package main

import (
	"errors"
	"fmt"
	"os"
	account "os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/source/mysql"
)

func (a *app) mysqlCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mysql COMMAND",
		Short: "back up and restore MariaDB and MySQL servers",
		Long: `Back up MariaDB and MySQL servers, and restore what was backed up.

Which server and who asks it is said by --host, --port, --socket, --user, --password-file and
--defaults-file. Without them that is ~/.my.cnf, if there is one, and otherwise the server of this machine and
the user who runs kura. Here --password-file is about the server: the repository's password comes from
-p, or from the environment as always. Only dump asks no server: its --password-file is the repository's.`,
		Example: `  kura mysql backup
  kura mysql restore latest --database shop.orders
  kura mysql lock -- lvcreate --snapshot --size 10G --name shop-now vg/shop`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.mysqlBackupCommand(), a.mysqlRestoreCommand(), a.mysqlDumpCommand(), a.mysqlLockCommand(), a.mysqlArchiveCommand())
	return cmd
}

// mysqlServer are the flags that say which server is meant, and who asks.
type mysqlServer struct {
	host         string
	port         uint16
	socket       string
	user         string
	passwordFile string
	defaultsFile string
}

// addFlags adds them, and the repository's password file under another name.
func (o *mysqlServer) addFlags(a *app, f *pflag.FlagSet) {
	f.StringVar(&o.host, "host", "", "`name` of the server's host (default: this one, by the socket)")
	f.Uint16Var(&o.port, "port", 0, "`number` of the server's port (default: 3306)")
	f.StringVar(&o.socket, "socket", "", "the server's `socket` (default: the usual one)")
	f.StringVar(&o.user, "user", "", "`name` of the account (default: the user who runs kura)")
	f.StringVar(&o.passwordFile, "password-file", "", "`file` with the account's password in it, which others may not read")
	f.StringVar(&o.defaultsFile, "defaults-file", "", "option `file` as MariaDB and MySQL have them, of which the section [client] counts (default: ~/.my.cnf)")
	f.StringVarP(&a.globals.passwordFile, "repository-password-file", "p", "", "`file` with the repository's password in it (default: $"+envPasswordFile+")")
}

// config makes the connection's configuration of the flags.
func (o *mysqlServer) config() (c mysql.Config, err error) {
	if c, err = o.defaults(); err != nil {
		return c, err
	}
	if o.host != "" {
		c.Host, c.Socket = o.host, "" // a socket of the file's is that of another server
	}
	if o.socket != "" {
		if o.host != "" && o.host != "localhost" || o.port != 0 {
			return c, usage("--socket is for the server of this machine: it does not go with --host and --port")
		}
		c.Host, c.Port, c.Socket = "", 0, o.socket
	}
	if o.port != 0 {
		c.Port, c.Socket = int(o.port), ""
	}
	if o.user != "" {
		c.User = o.user
	}
	if c.User == "" {
		me, err := account.Current()
		if err != nil {
			return c, err
		}
		c.User = me.Username
	}
	if o.passwordFile != "" {
		if err := privateFile("--password-file", o.passwordFile); err != nil {
			return c, err
		}
		if c.Password, err = readLine(o.passwordFile, "password file"); err != nil {
			return c, err
		}
	}
	return c, nil
}

// defaults reads the option file that was named, or the user's own.
func (o *mysqlServer) defaults() (mysql.Config, error) {
	if o.defaultsFile != "" {
		return mysql.ReadDefaults(o.defaultsFile)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return mysql.Config{}, nil // then there is none
	}
	own := filepath.Join(home, ".my.cnf")
	if _, err := os.Stat(own); err != nil {
		return mysql.Config{}, nil
	}
	return mysql.ReadDefaults(own)
}

// privateFile refuses a file that everybody may read.
func privateFile(what, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return withHint(fmt.Errorf("%s: everybody may read %s", what, path), "chmod o= "+path)
	}
	return nil
}

// addName adds the flag for what the server is called in the snapshot.
func addName(f *pflag.FlagSet, name *string) {
	f.StringVar(name, "name", "", "`name` of the folder in the snapshot (default: the server's host, or local)")
}

// checkName refuses what is no name of a folder.
func checkName(name string) error {
	if name == "." || name == ".." || strings.Contains(name, "/") {
		return usage(fmt.Sprintf("--name %q is not the name of a folder", name))
	}
	return nil
}

// addLimits adds the flags that bound a lock.
func addLimits(f *pflag.FlagSet, l *mysql.Limits, hold time.Duration) {
	f.DurationVar(&l.Wait, "lock-wait", 10*time.Second, "wait for the lock, and for long queries in front of it, for this `time` at most")
	f.DurationVar(&l.Hold, "max-hold", hold, "release the lock, and fail, after this `time`")
}

func checkLimits(l mysql.Limits) error {
	if l.Wait < time.Second {
		return usage(fmt.Sprintf("--lock-wait %v is less than a second", l.Wait))
	}
	if l.Hold <= 0 {
		return usage(fmt.Sprintf("--max-hold %v is no time", l.Hold))
	}
	return nil
}

// explainMySQL says what to do about what can be wrong with a server.
func explainMySQL(err error) error {
	switch {
	case errors.Is(err, mysql.ErrNonTransactional):
		return withHint(err, "ALTER TABLE … ENGINE=InnoDB makes such a table safe",
			"--non-transactional lock backs them up, too: they can be read but not written while the dump runs")
	case errors.Is(err, mysql.ErrHistory):
		return withHint(err, "--no-history backs up only the rows that there are now", "--physical backs up all of it")
	case errors.Is(err, mysql.ErrRunning):
		return withHint(err, "stop it first, or restore into another folder")
	case errors.Is(err, mysql.ErrAccount):
		return withHint(err, "restore once more, with --yes --users: then the accounts of the backup are there; drop those that were made after it")
	case errors.Is(err, mysql.ErrDefinitionChanged):
		return withHint(err, "nothing was saved; run the command again when nobody alters tables")
	case errors.Is(err, mysql.ErrBusy):
		return withHint(err, "run the command again when the server has less to do; --lock-wait waits longer")
	case errors.Is(err, mysql.ErrHeldTooLong):
		return withHint(err, "what ran under the lock is worth nothing; --max-hold holds it longer, and everybody else waits")
	case errors.Is(err, mysql.ErrViewLost):
		return withHint(err, "the server's log may say why it ended the connection of this number: it was killed (KILL), was idle for longer than the server allows, or the server was stopped",
			"run the command again; a backup without --checksums needs no such connection")
	}
	return err
}
