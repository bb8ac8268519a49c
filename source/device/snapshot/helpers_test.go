package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testsys"
)

// The test program is its own watchdog, its own holder of locks, and the run that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "watchdog":
			if _, err := RunWatchdog(os.Args[2], os.Stdin, os.Stdout); err != nil {
				fail(err)
			}
			return
		case "holder":
			if err := RunHolder(); err != nil {
				fail(err)
			}
			return
		case "freezer":
			runFreezer(os.Args[2])
			return
		case "victim":
			runVictim(os.Args[2:])
			return
		}
	}
	testsys.VerifyMain(m)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newTaker returns one with leases in a folder.
func newTaker(t testing.TB, dir, kind string, o Options) *Taker {
	t.Helper()
	p, err := New(kind, o)
	must(t, err)
	l, err := OpenLeases(dir)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return &Taker{
		Kind: kind, Provider: p, Leases: l, Stderr: os.Stderr,
		Watchdog: Watchdog{Args: []string{"watchdog"}, Longest: 10 * time.Minute, Stderr: os.Stderr}, Holder: []string{"holder"},
	}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// entries returns the names in a folder.
func entries(t testing.TB, dir string) (out []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range all {
		out = append(out, e.Name())
	}
	return out
}

// script writes a shell script that notes in a log what it is called for.
func script(t testing.TB, body string) (path, log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	path = write(t, filepath.Join(dir, "script"), fmt.Sprintf("#!/bin/sh\nLOG=%s\n%s\n", log, body))
	must(t, os.Chmod(path, 0o755))
	return path, log
}

// freeze freezes a file system, beside a watchdog that ends when it is told that it was thawed.
func freeze(p place, w Watchdog) (*frozen, error) {
	watched, err := places{p}.watched(context.Background(), w)
	if err != nil {
		return nil, err
	}
	f := watched[0]
	if err := f.freeze(context.Background()); err != nil {
		return nil, errors.Join(err, f.dismiss())
	}
	return f, nil
}
