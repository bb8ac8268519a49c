package jail_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore/internal/jail"
)

func TestAddFlags_SomeRefused_SetsTheOthers(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	at := testsys.Mount(t, "ext4", 64<<20) // has no copy on write to do without
	testsys.Unlock(t, at)
	d, _, err := jail.Open(at, false)
	must(t, err)
	defer d.Close()
	f, err := d.Create("f")
	must(t, err)
	defer f.Close()
	must(t, f.AddFlags(jail.FlagNoAtime))
	err = f.AddFlags(jail.FlagNoCOW | jail.FlagImmutable | jail.FlagNoDump | jail.FlagCasefold)
	var refused *jail.FlagsError
	if !errors.As(err, &refused) || refused.Refused != jail.FlagNoCOW {
		t.Errorf("error %v", err)
	}
	const want = jail.FlagImmutable | jail.FlagNoDump | jail.FlagNoAtime
	if lacks := f.LacksFlags(want | jail.FlagCasefold); lacks != jail.FlagCasefold {
		t.Errorf("lacks %#x", lacks)
	}
	if flags, err := testsys.Flags(filepath.Join(at, "f")); err != nil || flags&(want|jail.FlagNoCOW) != want {
		t.Errorf("flags %#x, %v", flags, err)
	}
}

func TestReplace_LockedEntries_SaysSo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	d, path := open(t)
	testsys.Unlock(t, path)
	for name, flag := range map[string]int{"immutable": testsys.FlagImmutable, "append": testsys.FlagAppend} {
		must(t, os.WriteFile(filepath.Join(path, name), []byte("x"), 0o600))
		if err := testsys.ChangeFlags(filepath.Join(path, name), flag, 0); err != nil {
			t.Skip(err)
		}
		if _, err := d.Create(name); !errors.Is(err, jail.ErrLocked) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(path, "free"), []byte("x"), 0o600))
	must(t, testsys.ChangeFlags(path, testsys.FlagImmutable, 0))
	for _, name := range []string{"free", "new"} {
		if _, err := d.Symlink("x", name); !errors.Is(err, jail.ErrLocked) {
			t.Errorf("%s in an immutable folder: %v", name, err)
		}
	}
	if _, err := d.Mkdir("new"); !errors.Is(err, jail.ErrLocked) {
		t.Errorf("a folder in an immutable folder: %v", err)
	}
	must(t, testsys.ChangeFlags(path, 0, testsys.FlagImmutable))
	f, err := d.Create("free")
	must(t, err)
	must(t, f.Close())
}
