package sftp_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backends/sftp"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/testsys"
)

// race is a process of a race. Without a command the folder is a local one.
func race(command, dir string) error {
	ctx := context.Background()
	var s backends.Store
	var err error
	if command == "" {
		s, err = local.Open(dir)
	} else {
		s, err = sftp.Open(ctx, sftp.Location{Host: "x", Path: dir}, sftp.Options{Command: command})
	}
	if err != nil {
		return err
	}
	return errors.Join(storetest.Race(ctx, s, 16, os.Stdin, os.Stdout), s.Close())
}

func TestPut_ProcessesOverSSHAndOneOnTheServer_OneWinnerEach(t *testing.T) {
	s, ssh := overSSH(t)
	closed(t, s.create(t))
	over := "ssh -F " + ssh.Config + " -s kura-test sftp"
	raceFor(t, s.dir, map[string]string{"a": over, "b": over, "c": "/usr/lib/openssh/sftp-server", "d": ""})
}

func TestPut_ProcessesThatRename_OneWinnerEach(t *testing.T) {
	s := directly(t, "-P hardlink")
	closed(t, s.create(t))
	raceFor(t, s.dir, map[string]string{"a": s.options.Command, "b": s.options.Command, "c": "/usr/lib/openssh/sftp-server"})
}

func raceFor(t *testing.T, dir string, racers map[string]string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]*exec.Cmd{}
	for who, command := range racers {
		commands[who] = exec.CommandContext(t.Context(), exe, "race", command, dir)
		commands[who].Stderr = os.Stderr
	}
	storetest.RaceProcesses(t, commands, func() backends.Store {
		s, err := local.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// split is a Store that puts and deletes through one, and reads and lists through another.
type split struct {
	backends.Store
	reader backends.Store
}

// Caps are those of what is put. The contract asks little of a store that is far away, on either side.
func (s *split) Caps() backends.Caps {
	c := s.Store.Caps()
	c.Local = c.Local && s.reader.Caps().Local
	return c
}

func (s *split) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	return s.reader.Get(ctx, name, offset, length, buf)
}

func (s *split) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return s.reader.List(ctx, prefix, after)
}

func TestStore_SameFolderFromTheServerItself_OneAndTheSame(t *testing.T) {
	put, read := directly(t, ""), func(t *testing.T, dir string) backends.Store {
		s, err := local.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closed(t, s) })
		return s
	}
	t.Run("written over sftp", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) backends.Store {
			s := put.in(testsys.MemoryDir(t))
			return &split{Store: s.create(t), reader: read(t, s.dir)}
		})
	})
	t.Run("read over sftp", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) backends.Store {
			s := put.in(testsys.MemoryDir(t))
			remote := s.create(t)
			t.Cleanup(func() { closed(t, remote) })
			l, err := local.Open(s.dir)
			if err != nil {
				t.Fatal(err)
			}
			return &split{Store: l, reader: remote}
		})
	})
}

func TestStore_Files_AreThoseOfALocalStore(t *testing.T) {
	objects := []string{"config", "config.copy", "keys/0f0f", "log/0000000000000001", "log/0000000000001000", "data/9a41-07be", "data/a"}
	s := directly(t, "")
	remote := s.create(t)
	hereDir := filepath.Join(t.TempDir(), "here")
	here, err := local.Create(hereDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, store := range []backends.Store{remote, here} {
		for _, name := range objects {
			if err := store.Put(t.Context(), name, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		closed(t, store)
	}
	if diff := cmp.Diff(tree(t, hereDir), tree(t, s.dir)); diff != "" {
		t.Errorf("-local +sftp:\n%s", diff)
	}
}

// tree tells of every file its mode and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		out[rel] = info.Mode().String()
		if info.Mode().IsRegular() {
			b, readErr := os.ReadFile(p)
			out[rel] += " " + string(b)
			err = errors.Join(err, readErr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// By the server's clock: one of ours that is wrong must not make litter of what is being written.
func TestSweep_RemovesOnlyWhatIsOldByTheServersClock(t *testing.T) {
	s := directly(t, "")
	store := s.create(t)
	defer closed(t, store)
	if err := store.Put(t.Context(), "config", []byte("x")); err != nil {
		t.Fatal(err)
	}
	file := func(name string, age time.Duration) string {
		p := filepath.Join(s.dir, "tmp", name)
		at := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(p, []byte("x"), 0o600), os.Chtimes(p, at, at)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	hex := bytes.Repeat([]byte("a"), 32)
	file("put-1"+string(hex[1:]), 25*time.Hour)
	file("put-2"+string(hex[1:]), 240*time.Hour)
	young := file("put-3"+string(hex[1:]), 23*time.Hour)
	other := file("other", 240*time.Hour)
	if n, err := store.Sweep(t.Context()); n != 2 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "tmp", "*"))
	if err != nil || !slices.Equal(left, []string{other, young}) {
		t.Errorf("left: %q, %v", left, err)
	}
}
