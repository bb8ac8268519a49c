package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
)

func TestExitCode_Table(t *testing.T) {
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	wrap := func(err error) error { return withHint(fmt.Errorf("while testing: %w", err), "a hint") }
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"nothing":                     {nil, nil, exitOK},
		"finished though interrupted": {interrupted, nil, exitOK},
		"some error":                  {nil, errors.New("x"), exitError},
		"usage":                       {nil, usage("x"), exitUsage},
		"incomplete":                  {nil, errIncomplete, exitIncomplete},
		"damaged object":              {nil, &repo.DamageError{Object: "x", Err: errors.New("y")}, exitDamage},
		"damaged entry":               {nil, &log.DamageError{Name: "x", Err: errors.New("y")}, exitDamage},
		"found":                       {nil, errDamageFound, exitDamage},
		"rolled back":                 {nil, log.ErrRollback, exitDamage},
		"no repository":               {nil, repo.ErrNoRepository, exitNoRepository},
		"no store":                    {nil, backends.ErrNoStore, exitNoRepository},
		"stale":                       {nil, repo.ErrStale, exitBusy},
		"revoked":                     {nil, gc.ErrRevoked, exitBusy},
		"wrong key":                   {nil, repo.ErrWrongKey, exitWrongKey},
		"interrupted":                 {interrupted, errInterrupted, exitInterrupted},
		"interrupted, wrapped away":   {interrupted, errors.New("read: operation was canceled"), exitInterrupted},
		"damage, then interrupted":    {interrupted, errDamageFound, exitDamage},
		"wrong key beside damage":     {nil, errors.Join(repo.ErrWrongKey, &repo.DamageError{}), exitDamage},
		"lost blob is not not-found":  {nil, explainFind(&repo.DamageError{Err: repo.ErrNotFound}), exitDamage},
	} {
		ctx := c.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		if got := exitCode(ctx, c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := exitCode(ctx, wrap(c.err)); got != c.want {
			t.Errorf("%s, wrapped: %d, want %d", name, got, c.want)
		}
		if message, _ := explain(c.want, c.err); message == "" {
			t.Errorf("%s: no message", name)
		}
	}
}

func TestExplain_FailureOfTheDisk_SaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		want  string
	}{{syscall.ENOSPC, "make room"}, {syscall.EROFS, "writable"}, {syscall.EACCES, "as a user who may"}} {
		err := fmt.Errorf("put data/x: %w", &fs.PathError{Op: "openat", Path: "tmp/put-1", Err: c.errno})
		if _, hints := explain(exitError, err); len(hints) != 1 || !strings.Contains(hints[0], c.want) {
			t.Errorf("%v: %q", c.errno, hints)
		}
	}
}

func TestWithoutPackages_Table(t *testing.T) {
	for message, want := range map[string]string{
		"restore: a folder is in the way":             "a folder is in the way",
		"get data/x: backends: no such object":        "get data/x: no such object",
		"backup: restore: /srv/restore: is a folder":  "/srv/restore: is a folder",
		"data/x: seal: damaged: part 0":               "data/x: damaged: part 0",
		"put log/0000000000000003: read-only: ok log": "put log/0000000000000003: read-only: ok log",
	} {
		if got := withoutPackages(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

func TestExplain_HintsOfAllLayers(t *testing.T) {
	err := withHint(fmt.Errorf("outer: %w", withHint(errors.New("inner"), "first")), "second", "third")
	message, hints := explain(exitError, err)
	if message != "outer: inner" || strings.Join(hints, " ") != "second third first" {
		t.Errorf("%q, %q", message, hints)
	}
}
