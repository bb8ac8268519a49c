package sftp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/sftp"
	"github.com/kura-backup/kura/internal/testsys"
)

const victim = "log/0000000000000007"

// settled puts an object, and settles an unclear answer as those above the store do.
func settled(t *testing.T, s *sftp.Store, name string, data []byte) (done bool, err error) {
	t.Helper()
	err = s.Put(t.Context(), name, data)
	if backends.IsUnclear(err) {
		got, readErr := get(t, s, name)
		switch {
		case readErr == nil && bytes.Equal(got, data):
			return true, err
		case errors.Is(readErr, backends.ErrNotExist):
			return false, err
		default:
			t.Fatalf("after %v: %d bytes, %v", err, len(got), readErr)
		}
	}
	return err == nil, err
}

// get reads an object. The cut can come as late as this, and only once.
func get(t *testing.T, s *sftp.Store, name string) ([]byte, error) {
	t.Helper()
	got, err := s.Get(t.Context(), name, 0, -1, nil)
	if backends.IsTransient(err) {
		got, err = s.Get(t.Context(), name, 0, -1, nil)
	}
	return got, err
}

// Each request of a Put in turn is the last one of its connection.
func TestPut_ConnectionCutAtEveryRequest_DoneOrNotAndNeverHalf(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 5000) // three requests to write
	cuts := map[string]int{}
	ways := []string{"", "-P hardlink"}
	if testing.Short() {
		ways = ways[:1]
	}
	for _, args := range ways {
		for _, how := range []string{"before", "after"} {
			for n := 1; ; n++ {
				what := fmt.Sprintf("%s cut %s request %d", args, how, n)
				s := through(t, "any", n, how, args)
				if err := os.MkdirAll(s.dir, 0o700); err != nil {
					t.Fatal(err)
				}
				store, err := sftp.Open(t.Context(), s.location, s.options)
				if err != nil {
					if backends.KindOf(err) != backends.Transient || !errors.Is(err, sftp.ErrConnection) {
						t.Fatalf("%s: Open: %v", what, err)
					}
					continue
				}
				done, err := settled(t, store, victim, data)
				cut := marked(s)
				if err == nil && !cut {
					closed(t, store)
					break
				}
				if cut {
					cuts[how]++
				}
				switch {
				case err != nil && backends.KindOf(err) == backends.Permanent:
					t.Errorf("%s: a cut connection is no lasting failure: %v", what, err)
				case backends.IsTransient(err):
					if _, err := get(t, store, victim); !errors.Is(err, backends.ErrNotExist) {
						t.Errorf("%s: said that nothing was done: %v", what, err)
					}
				}
				if !done {
					if err := store.Put(t.Context(), victim, data); err != nil {
						t.Errorf("%s: the next Put: %v", what, err)
					}
				}
				if got, err := get(t, store, victim); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: in the end %d bytes, %v", what, len(got), err)
				}
				closed(t, store)
			}
		}
	}
	t.Logf("cut: %v", cuts)
	if cuts["before"] < 10 || cuts["after"] < 10 {
		t.Error("hardly anything was cut")
	}
}

// That ssh did not take a password at first says nothing of a connection that it made, and that breaks later.
func TestPut_ConnectionCutAfterAWrongPassword_Transient(t *testing.T) {
	s := through(t, "write", 2, "before") // that of the second object
	asking := s
	asking.options.Command = `sh -c "echo 'me@host: Permission denied, please try again.' >&2; exec ` + s.options.Command + `"`
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	store := asking.open(t)
	defer closed(t, store)
	for n := range 2 {
		if err := store.Put(t.Context(), fmt.Sprintf("data/%d", n), []byte("x")); err != nil && backends.KindOf(err) != backends.Transient {
			t.Errorf("%v of kind %v", err, backends.KindOf(err))
		}
	}
	if !marked(s) {
		t.Error("nothing was cut")
	}
}

// marker is the file that says that the proxy has misbehaved.
func marker(s server) string { return strings.Fields(s.options.Command)[2] }

// marked says whether the proxy has misbehaved.
func marked(s server) bool { return exists(marker(s)) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// The request to link is still on its way when its connection is given up: nobody may hear that nothing was
// done, and then it is.
func TestPut_LinkArrivesAfterTheConnectionWasGivenUp_NoLongerHasAnEffect(t *testing.T) {
	for what, args := range map[string]string{"hardlink": "", "rename": "-P hardlink"} {
		n := 1
		if what == "rename" {
			n = 2 // the first one is a trial
		}
		s := through(t, what, n, "late", args)
		store := s.create(t)
		data := []byte("content")
		if err := store.Put(t.Context(), victim, data); !backends.IsTransient(err) {
			t.Fatalf("%s: %v", what, err)
		}
		if err := os.WriteFile(marker(s)+".go", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for !exists(marker(s) + ".late") {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // for the server, which has it by now
		if _, err := store.Get(t.Context(), victim, 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("%s: it appeared: %v", what, err)
		}
		closed(t, store)
	}
}

func TestPut_ServerThatCanNotCreateExclusively_FailsAndReplacesNothing(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	replacing := directly(t, "")
	replacing.options.Command = exe + " replacing"
	for what, c := range map[string]struct {
		s    server
		want string
	}{
		"renaming replaces": {replacing, "its RENAME replaces"},
		"no links":          {through(t, "hardlink", 0, "refuse"), "has no hard links"},
	} {
		store := c.s.create(t)
		err := store.Put(t.Context(), "config", []byte("x"))
		if !errors.Is(err, backends.ErrNoCreateOnly) || backends.KindOf(err) != backends.Permanent || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
		closed(t, store)
		if left, err := filepath.Glob(filepath.Join(c.s.dir, "*", "*")); err != nil || len(left) != 0 {
			t.Errorf("%s: left behind: %q, %v", what, left, err)
		}

		// With a single writer it will do.
		c.s.options.NoCreateOnly = true
		store = c.s.open(t)
		if store.Caps().CreateOnly {
			t.Errorf("%s: says that it is create-only", what)
		}
		if err := store.Put(t.Context(), victim, []byte("x")); err != nil {
			t.Errorf("%s: with a single writer: %v", what, err)
		}
		if got, err := get(t, store, victim); err != nil || string(got) != "x" {
			t.Errorf("%s: with a single writer: %q, %v", what, got, err)
		}
		closed(t, store)
	}
}

// The server stops in the middle of a request; the caller gives up and gets its buffers back.
func TestStuckServer_ContextEnds_OperationReturnsSoonAndNothingIsLeft(t *testing.T) {
	defer testsys.VerifyNone(t, goleak.IgnoreCurrent())
	sftp.SetPatience(t, time.Hour, 300*time.Millisecond)
	// Opening a store opens and syncs its folder twice.
	for what, n := range map[string]int{"write": 2, "fsync": 3, "hardlink": 1, "open": 3} {
		s := through(t, what, n, "hang")
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		store := s.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for !marked(s) {
				time.Sleep(time.Millisecond)
			}
			cancel()
		})
		err := store.Put(ctx, victim, bytes.Repeat([]byte("x"), 100_000))
		wg.Wait()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		if what == "hardlink" && backends.KindOf(err) == backends.Permanent {
			t.Errorf("%s: it may have been done: %v", what, err)
		}
		if _, err := settled(t, store, victim, []byte("other")); err != nil {
			t.Errorf("%s: afterwards: %v", what, err)
		}
		closed(t, store)
	}
}

// The server stops, and nobody gives up.
func TestStuckServer_NothingArrives_ConnectionIsGivenUp(t *testing.T) {
	s := through(t, "hardlink", 1, "hang")
	sftp.SetPatience(t, 500*time.Millisecond, time.Hour)
	// On a busy machine other connections may be given up as well.
	store, err := sftp.Create(t.Context(), s.location, s.options)
	for backends.IsTransient(err) {
		store, err = sftp.Create(t.Context(), s.location, s.options)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, store)
	err = store.Put(t.Context(), victim, []byte("content"))
	// It is unclear if the connection on which to look what became of it was given up as well.
	unclear := backends.IsUnclear(err)
	if !backends.IsTransient(err) && !unclear || !errors.Is(err, sftp.ErrConnection) {
		t.Errorf("%v", err)
	}
	for backends.KindOf(err) != backends.Permanent {
		err = store.Put(t.Context(), victim, []byte("content"))
		unclear = unclear || backends.IsUnclear(err)
	}
	if err != nil && !(unclear && errors.Is(err, backends.ErrExist)) {
		t.Error(err)
	}
}
