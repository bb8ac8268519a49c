package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dumpMaker makes the dump of a database. Where MariaDB is installed the dump is a real one: the rows are in a
// server of its own, are changed there, and mariadb-dump writes each generation.
type dumpMaker struct {
	rows   dumpRows
	path   string
	server *mariadb // nil: mariadb-dump's format is written without it
}

func newDump(o *options, folder string) maker {
	m := &dumpMaker{rows: dumpRows{o.seed, max(1, uint64(o.dump)/dumpRowBytes)}, path: filepath.Join(folder, "dump.sql")}
	for _, program := range mariadbPrograms {
		if _, err := exec.LookPath(program); err != nil || !o.mariadb {
			return m
		}
	}
	m.server = &mariadb{folder: filepath.Join(folder, "mariadb")}
	return m
}

func (m *dumpMaker) describe() string {
	by := "generated as mariadb-dump would write it"
	if m.server != nil {
		by = "each generation changed by SQL in a server of MariaDB and written by mariadb-dump"
	}
	return fmt.Sprintf("a dump of %d rows with seed %d, %s; in each generation 1 %% of the rows updated and 1 %% inserted at random places; "+
		"the programs read it from a pipe to which cat writes it", m.rows.rows, m.rows.seed, by)
}

func (m *dumpMaker) make(ctx context.Context) (string, error) {
	if m.server == nil {
		return m.path, m.write(func(w io.Writer) error { return m.rows.writeDump(ctx, w, 0) })
	}
	if err := m.server.start(ctx); err != nil {
		return "", err
	}
	if err := m.server.run(ctx, func(w io.Writer) error { return m.rows.writeDump(ctx, w, 0) }); err != nil {
		return "", err
	}
	return m.path, m.dump(ctx)
}

// nextDump makes the generation n, counted from 0.
func nextDump(ctx context.Context, of maker, n int) error {
	m := of.(*dumpMaker)
	if m.server == nil {
		return m.write(func(w io.Writer) error { return m.rows.writeDump(ctx, w, n) })
	}
	if err := m.server.rest(false); err != nil {
		return err
	}
	if err := m.server.run(ctx, func(w io.Writer) error { return m.rows.writeChanges(ctx, w, n) }); err != nil {
		return err
	}
	return m.dump(ctx)
}

func (m *dumpMaker) write(content func(w io.Writer) error) error {
	f, err := os.Create(m.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := content(f); err != nil {
		return err
	}
	return f.Close()
}

// dump writes what the server has, which then does nothing until the next generation.
func (m *dumpMaker) dump(ctx context.Context) error {
	err := m.write(func(w io.Writer) error {
		cmd := exec.CommandContext(ctx, "mariadb-dump", m.server.client("--single-transaction", "--skip-dump-date", database)...)
		cmd.Stdout = w
		return told(cmd, cmd.Run)
	})
	return errors.Join(err, m.server.rest(true))
}

func (m *dumpMaker) close() error {
	if m.server == nil {
		return nil
	}
	return m.server.stop()
}

const database = "shop"

// mariadb is a private server with a socket in a folder.
type mariadb struct {
	folder string
	cmd    *exec.Cmd
	ended  chan error
}

var mariadbPrograms = []string{"mariadb-install-db", "mariadbd", "mariadb", "mariadb-dump"}

// patience is how long the server may take to start or to stop.
const patience = time.Minute

// start begins with an empty database.
func (d *mariadb) start(ctx context.Context) error {
	if d.cmd != nil {
		if err := d.stop(); err != nil {
			return err
		}
		if err := os.RemoveAll(d.folder); err != nil {
			return err
		}
	}
	if err := os.Mkdir(d.folder, 0o755); err != nil {
		return err
	}
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(d.folder, "data")}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	if err := execute(ctx, "mariadb-install-db", append(args, "--auth-root-authentication-method=normal", "--skip-test-db")...); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.folder, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// Nobody needs this database after a crash.
	d.cmd = exec.Command("mariadbd", append(
		args, "--socket="+d.socket(), "--pid-file="+filepath.Join(d.folder, "pid"), "--skip-networking", "--skip-log-bin",
		"--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M",
	)...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is not for it
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.cmd.Wait() }()
	return d.wait(ctx, log.Name())
}

// wait waits until the server answers.
func (d *mariadb) wait(ctx context.Context, log string) error {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		cmd := exec.CommandContext(ctx, "mariadb", d.client("-e", "CREATE DATABASE IF NOT EXISTS "+database)...)
		if err = told(cmd, cmd.Run); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ended := <-d.ended:
			d.ended <- ended
			return fmt.Errorf("mariadbd ended: %w\n%s", ended, tail(log))
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("mariadbd does not answer: %w\n%s", err, tail(log))
}

// socket is a short name: the path of a socket may have a hundred bytes.
func (d *mariadb) socket() string { return filepath.Join(d.folder, "s") }

func (d *mariadb) client(args ...string) []string {
	return append([]string{"--no-defaults", "--socket=" + d.socket(), "--user=root"}, args...)
}

// run gives the statements to the server.
func (d *mariadb) run(ctx context.Context, statements func(w io.Writer) error) error {
	cmd := exec.CommandContext(ctx, "mariadb", d.client(database)...)
	w, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	return told(cmd, func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		written := errors.Join(statements(w), w.Close())
		return errors.Join(cmd.Wait(), written)
	})
}

// rest makes the server stand still, so that it takes nothing from the programs that are measured, or go on.
func (d *mariadb) rest(still bool) error {
	if still {
		return d.cmd.Process.Signal(syscall.SIGSTOP)
	}
	return d.cmd.Process.Signal(syscall.SIGCONT)
}

// stop ends the server, which nobody needs any more.
func (d *mariadb) stop() error {
	if d.cmd == nil || d.ended == nil {
		return nil
	}
	err := d.cmd.Process.Kill()
	<-d.ended
	d.ended = nil
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// told runs the program, and puts its messages into the error.
func told(cmd *exec.Cmd, run func() error) error {
	var messages strings.Builder
	cmd.Stderr = &messages
	if err := run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Path, err, strings.TrimSpace(messages.String()))
	}
	return nil
}
