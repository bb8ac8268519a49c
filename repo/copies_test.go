package repo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
)

func openCopy(t testing.TB, store backends.Store) error {
	t.Helper()
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
	if err == nil {
		err = r.Close()
	}
	return err
}

// TestOpen_EitherCopyDamagedInAnyWay_Opens damages config, a key slot and their copies, one at a time.
func TestOpen_EitherCopyDamagedInAnyWay_Opens(t *testing.T) {
	_, store := testrepo.New(t)
	twice := []string{object.ConfigName, object.ConfigCopyName}
	twice = append(twice, testrepo.Names(t, store, object.KeysPrefix)...)
	cases, step := 0, 7
	if testing.Short() {
		step = 700
	}
	for _, name := range twice {
		whole, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		damages := map[string][]byte{
			"missing": nil, "one byte": whole[:1], "half": whole[:len(whole)/2], "longer": append(whole[:len(whole):len(whole)], 0),
			"zeros": make([]byte, len(whole)), "text": []byte("not an object"),
		}
		for at := 0; at < len(whole); at += step {
			flipped := append([]byte(nil), whole...)
			flipped[at] ^= 0x40
			// The cost of a passphrase is not tried: these slots are those of a key file.
			damages["flip at "+string(rune('0'+at%10))+strings.Repeat("+", at/10)] = flipped
		}
		for other, obj := range map[string]string{"a log entry": object.LogName(1), "another class": twice[len(twice)-1-indexOf(twice, name)]} {
			if damages[other], err = store.Get(t.Context(), obj, 0, -1, nil); err != nil {
				t.Fatal(err)
			}
		}
		for what, obj := range damages {
			damaged := store.Clone()
			damaged.Tamper(name, obj)
			if err := openCopy(t, damaged); err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			cases++
		}
	}
	t.Logf("%d ways of damage", cases)
}

func indexOf(list []string, s string) int {
	for i := range list {
		if list[i] == s {
			return i
		}
	}
	return -1
}

func TestOpen_CopyThatTheDiskCanNotRead_OpensFromTheOther(t *testing.T) {
	_, store := testrepo.New(t)
	for _, name := range append([]string{object.ConfigName, object.ConfigCopyName}, testrepo.Names(t, store, object.KeysPrefix)...) {
		for _, unreadable := range []error{syscall.EIO, syscall.EACCES} {
			disk := fault.New(store)
			disk.Inject(fault.On(fault.Get).Always().Hook(func(_ context.Context, c fault.Call) error {
				if c.Name == name {
					return &backends.Error{Op: "get", Name: name, Err: unreadable}
				}
				return nil
			}))
			if err := openCopy(t, disk); err != nil {
				t.Errorf("%s, %v: %v", name, unreadable, err)
			}
		}
	}
}

// Neither a network that fails nor a disk that can read neither copy is taken for a wrong password or damage.
func TestOpen_StoreFails_IsSaid(t *testing.T) {
	_, store := testrepo.New(t)
	for _, prefix := range []string{object.ConfigName, object.KeysPrefix} {
		for _, want := range []error{
			&backends.Error{Op: "get", Kind: backends.Transient, Err: syscall.ETIMEDOUT},
			&backends.Error{Op: "get", Err: syscall.EIO},
		} {
			disk := fault.New(store)
			disk.Inject(fault.On(fault.Get).Prefix(prefix).Always().Before(want))
			err := openCopy(t, disk)
			if !errors.Is(err, want) || errors.Is(err, repo.ErrWrongKey) || errors.As(err, new(*repo.DamageError)) {
				t.Errorf("%s, %v: %v", prefix, want, err)
			}
		}
	}
	// Once is enough to be said, if the next try may succeed.
	disk := fault.New(store)
	disk.Inject(fault.On(fault.Get).Prefix(object.ConfigName).Before(&backends.Error{Op: "get", Kind: backends.Transient, Err: syscall.ETIMEDOUT}))
	if err := openCopy(t, disk); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("a network that fails once: %v", err)
	}
}

func TestOpen_LinkOrFolderInPlaceOfACopy_OpensFromTheOther(t *testing.T) {
	dir := t.TempDir()
	store, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	testrepo.Init(t, store)
	keys, err := filepath.Glob(filepath.Join(dir, "keys", "*", "*"))
	if err != nil || len(keys) != 2 {
		t.Fatalf("%v, %v", keys, err)
	}
	for _, path := range append(keys, filepath.Join(dir, "config"), filepath.Join(dir, "config.copy")) {
		for what, place := range map[string]func() error{
			"loop":     func() error { return os.Symlink(filepath.Base(path), path) },
			"dangling": func() error { return os.Symlink("nowhere", path) },
			"outside":  func() error { return os.Symlink("/etc/passwd", path) },
			"folder":   func() error { return os.Mkdir(path, 0o700) },
		} {
			kept := filepath.Join(t.TempDir(), "kept")
			if err := os.Rename(path, kept); err != nil {
				t.Fatal(err)
			}
			if err := place(); err != nil {
				t.Fatal(err)
			}
			if err := openCopy(t, store); err != nil {
				t.Errorf("%s, %s: %v", path, what, err)
			}
			if err := errors.Join(os.Remove(path), os.Rename(kept, path)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
