package durable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/durabletest"
)

var errDisk = errors.New("disk on fire")

// folder opens a fresh folder through a recording file system.
func folder(t *testing.T) (path string, fsys *durabletest.FS) {
	t.Helper()
	path = t.TempDir()
	d, err := durable.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return path, durabletest.New(d)
}

// failing fails the operations of one form, at most times times.
func failing(form string, when durabletest.When, err error, times int) func(int, durabletest.Op) (durabletest.When, error) {
	var mu sync.Mutex
	return func(_ int, op durabletest.Op) (durabletest.When, error) {
		mu.Lock()
		defer mu.Unlock()
		if op.String() != form || times == 0 {
			return 0, nil
		}
		times--
		return when, err
	}
}

func content(t *testing.T, path string) (data []byte, exists bool) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return data, err == nil
}

func litter(t *testing.T, tmp string) int {
	t.Helper()
	entries, err := os.ReadDir(tmp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return len(entries)
}

func TestCreateExclusive_OrderOfOperations(t *testing.T) {
	path, fsys := folder(t)
	w := durable.NewWriter(fsys, "tmp")
	if err := w.CreateExclusive(t.Context(), "data/ab/abc", []byte("one")); err != nil {
		t.Fatal(err)
	}
	first := []string{
		"syncdir .", // NewWriter asks whether folders can be synced
		"stat data/ab/abc",
		"mkdir tmp", "readdir tmp",
		"create tmp/put-*", "lock tmp/put-*", "write tmp/put-*", "sync tmp/put-*",
		"mkdir data", "syncdir .", "mkdir data/ab", "syncdir data",
		"link tmp/put-* data/ab/abc", "unlink tmp/put-*", "close tmp/put-*",
		"syncdir data/ab",
	}
	if diff := cmp.Diff(first, fsys.Ops()); diff != "" {
		t.Errorf("first file (-want +got):\n%s", diff)
	}
	fsys.Reset()
	if err := w.CreateExclusive(t.Context(), "data/ab/abd", []byte("two")); err != nil {
		t.Fatal(err)
	}
	second := []string{
		"stat data/ab/abd",
		"create tmp/put-*", "lock tmp/put-*", "write tmp/put-*", "sync tmp/put-*",
		"link tmp/put-* data/ab/abd", "unlink tmp/put-*", "close tmp/put-*",
		"syncdir data/ab",
	}
	if diff := cmp.Diff(second, fsys.Ops()); diff != "" {
		t.Errorf("second file in the folder (-want +got):\n%s", diff)
	}
	if n := litter(t, filepath.Join(path, "tmp")); n != 0 {
		t.Errorf("%d temporary files left", n)
	}
}

func TestCreateExclusive_FolderOfAnotherWriter_IsSyncedToo(t *testing.T) {
	path, fsys := folder(t)
	// Somebody made the folders and was killed before any fsync.
	if err := os.MkdirAll(filepath.Join(path, "data/ab"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := durable.NewWriter(fsys, "tmp")
	fsys.Reset()
	if err := w.CreateExclusive(t.Context(), "data/ab/abc", []byte("one")); err != nil {
		t.Fatal(err)
	}
	link := fsys.Index("link tmp/put-* data/ab/abc")
	for _, dir := range []string{"syncdir .", "syncdir data"} {
		if i := fsys.Index(dir); i < 0 || i > link {
			t.Errorf("%q at %d, link at %d", dir, i, link)
		}
	}
}

func TestCreateExclusive_SeenFolders_AreSyncedBeforeTheLinkOnce(t *testing.T) {
	path, fsys := folder(t)
	if err := os.MkdirAll(filepath.Join(path, "log/0"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := durable.NewWriter(fsys, "tmp")
	fsys.Reset()
	w.Saw("log/0")
	for i, want := range []int{1, 0} {
		name := fmt.Sprintf("data/ab/%d", i)
		if err := w.CreateExclusive(t.Context(), name, []byte("one")); err != nil {
			t.Fatal(err)
		}
		if n := fsys.Count("syncdir log/0"); n != want {
			t.Fatalf("file %d: the seen folder was synced %d times, want %d", i, n, want)
		}
		if fsys.Index("syncdir log/0") > fsys.Index("link tmp/put-* "+name) {
			t.Fatal("the seen folder was synced after the link")
		}
		fsys.Reset()
	}
}

func TestCreateExclusive_SeenFolderFailsToSync_NothingIsCreatedUntilItDoes(t *testing.T) {
	path, fsys := folder(t)
	if err := os.MkdirAll(filepath.Join(path, "log/0"), 0o700); err != nil {
		t.Fatal(err)
	}
	fsys.Fail = failing("syncdir log/0", durabletest.Before, errDisk, 2)
	w := durable.NewWriter(fsys, "tmp")
	w.Saw("log/0")
	for range 2 {
		if err := w.CreateExclusive(t.Context(), "a/b", []byte("one")); !errors.Is(err, errDisk) {
			t.Fatalf("err = %v", err)
		}
		if _, exists := content(t, filepath.Join(path, "a/b")); exists {
			t.Fatal("the file was created before what it rests on was durable")
		}
	}
	if err := w.CreateExclusive(t.Context(), "a/b", []byte("one")); err != nil {
		t.Fatal(err)
	}
}

func TestCreateExclusive_TakenName_Refused(t *testing.T) {
	path, fsys := folder(t)
	w := durable.NewWriter(fsys, "tmp")
	if err := w.CreateExclusive(t.Context(), "a", []byte("one")); err != nil {
		t.Fatal(err)
	}
	for _, hideFromFirstLook := range []bool{false, true} {
		if hideFromFirstLook {
			fsys.Fail = failing("stat a", durabletest.Before, errDisk, 1)
		}
		if err := w.CreateExclusive(t.Context(), "a", []byte("two")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("hidden %v: err = %v, want fs.ErrExist", hideFromFirstLook, err)
		}
	}
	if got, _ := content(t, filepath.Join(path, "a")); string(got) != "one" {
		t.Errorf("content is %q", got)
	}
	if n := litter(t, filepath.Join(path, "tmp")); n != 0 {
		t.Errorf("%d temporary files left", n)
	}
}

// Every operation of the protocol fails in turn, before it was done and after,
// with each way of naming the file. Whatever happens, the name has all of its
// bytes or is not there; and a file that was reported created is durable.
func TestCreateExclusive_EveryOperationFailsInTurn_NeverHalfAFile(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 64)
	const name = "data/ab/abc"
	// Failures that are no failure of the protocol: what is not removed is
	// litter, and the look before and the lock only save work.
	harmless := map[string]bool{"stat": true, "unlink": true, "close": true, "lock": true, "readdir": true}

	for _, noLinks := range []bool{false, true} {
		for _, when := range []durabletest.When{durabletest.Before, durabletest.After} {
			for target := 0; ; target++ {
				path, fsys := folder(t)
				w := durable.NewWriter(fsys, "tmp")
				fsys.Reset()
				var failed string
				fsys.Fail = func(n int, op durabletest.Op) (durabletest.When, error) {
					if n == target {
						failed = op.Kind
						return when, errDisk
					}
					if noLinks && op.Kind == "link" {
						return durabletest.Before, syscall.EPERM
					}
					return 0, nil
				}
				err := w.CreateExclusive(t.Context(), name, data)
				if failed == "" {
					break
				}
				at := fmt.Sprintf("no links %v, when %d, operation %d (%s), err %v", noLinks, when, target, failed, err)

				got, exists := content(t, filepath.Join(path, name))
				if exists && !bytes.Equal(got, data) {
					t.Fatalf("%s: the name has %d of %d bytes", at, len(got), len(data))
				}
				if err == nil {
					ops := fsys.Ops()
					named := max(fsys.Index("link tmp/put-* "+name), fsys.Index("renamex tmp/put-* "+name))
					synced := len(ops) - 1
					for synced >= 0 && ops[synced] != "syncdir data/ab" {
						synced--
					}
					if !exists || synced < named {
						t.Fatalf("%s: reported as created, exists %v, named at %d, synced at %d", at, exists, named, synced)
					}
				}
				// One failure of the last fsync is made good by the second,
				// a link that was done is found by reading.
				mended := harmless[failed] || failed == "syncdir" && exists || (failed == "link" || failed == "renamex") && exists
				if mended != (err == nil) {
					t.Fatalf("%s: mended %v", at, mended)
				}
				if err != nil && exists {
					t.Fatalf("%s: failed, and yet created the file", at)
				}

				// The same Writer goes on as if nothing had happened.
				fsys.Fail = nil
				if err := w.CreateExclusive(t.Context(), name, data); exists != errors.Is(err, fs.ErrExist) || !exists && err != nil {
					t.Fatalf("%s: the next attempt: %v", at, err)
				}
			}
		}
	}
}

func TestCreateExclusive_FileSyncFails_AbandonedWithoutASecondSync(t *testing.T) {
	path, fsys := folder(t)
	fsys.Fail = failing("sync tmp/put-*", durabletest.Before, errDisk, 1)
	w := durable.NewWriter(fsys, "tmp")
	if err := w.CreateExclusive(t.Context(), "a", []byte("one")); !errors.Is(err, errDisk) {
		t.Fatalf("err = %v", err)
	}
	if n := fsys.Count("sync tmp/put-*"); n != 1 {
		t.Errorf("%d syncs", n)
	}
	if fsys.Count("link tmp/put-* a") != 0 || litter(t, filepath.Join(path, "tmp")) != 0 {
		t.Error("the file was not abandoned")
	}
}

func TestCreateExclusive_FolderSyncKeepsFailing_SyncErrorAndFileInPlace(t *testing.T) {
	path, fsys := folder(t)
	fsys.Fail = failing("syncdir a", durabletest.Before, errDisk, -1)
	w := durable.NewWriter(fsys, "tmp")
	err := w.CreateExclusive(t.Context(), "a/b", []byte("one"))
	se, ok := errors.AsType[*durable.SyncError](err)
	if !ok || se.Name != "a/b" || !errors.Is(err, errDisk) {
		t.Fatalf("err = %v", err)
	}
	if n := fsys.Count("syncdir a"); n != 2 {
		t.Errorf("%d syncs of the folder, want 2", n)
	}
	if got, _ := content(t, filepath.Join(path, "a/b")); string(got) != "one" {
		t.Errorf("content is %q", got)
	}
}

func TestCreateExclusive_FolderSyncFailsAndNameHoldsSomethingElse_NotSyncedAgain(t *testing.T) {
	path, fsys := folder(t)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.String() != "syncdir a" {
			return 0, nil
		}
		if err := os.Remove(filepath.Join(path, "a/b")); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(path, "a/b"), []byte("two"), 0o600); err != nil {
			t.Error(err)
		}
		return durabletest.Before, errDisk
	}
	w := durable.NewWriter(fsys, "tmp")
	err := w.CreateExclusive(t.Context(), "a/b", []byte("one"))
	if _, ok := errors.AsType[*durable.SyncError](err); !ok {
		t.Fatalf("err = %v", err)
	}
	if n := fsys.Count("syncdir a"); n != 1 {
		t.Errorf("%d syncs of the folder, want 1", n)
	}
}

func TestCreateExclusive_LinkAndLookFail_Unclear(t *testing.T) {
	_, fsys := folder(t)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "link" || op.Kind == "open" {
			return durabletest.After, errDisk
		}
		return 0, nil
	}
	w := durable.NewWriter(fsys, "tmp")
	err := w.CreateExclusive(t.Context(), "a", []byte("one"))
	if ue, ok := errors.AsType[*durable.UnclearError](err); !ok || ue.Name != "a" {
		t.Fatalf("err = %v", err)
	}
}

// The link may still come, since its source could not be taken away. A second attempt, which might end with an error that says
// nothing of it, is not made.
func TestCreateExclusive_LinkFailsAndNothingIsThereYet_Unclear(t *testing.T) {
	_, fsys := folder(t)
	ctx, cancel := context.WithCancel(t.Context())
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "link" || op.Kind == "unlink" {
			cancel()
			return durabletest.Before, errDisk
		}
		return 0, nil
	}
	w := durable.NewWriter(fsys, "tmp")
	err := w.CreateExclusive(ctx, "a", []byte("one"))
	if ue, ok := errors.AsType[*durable.UnclearError](err); !ok || ue.Name != "a" {
		t.Fatalf("err = %v", err)
	}
	if n := fsys.Count("link tmp/put-* a"); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

// Whoever finds the own bytes under the name of an unclear create takes it for done: by
// then it must be durable.
func TestFound_AfterAnUnclearCreate_SyncsTheFolderOnce(t *testing.T) {
	_, fsys := folder(t)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "link" || op.Kind == "open" {
			return durabletest.After, errDisk
		}
		return 0, nil
	}
	w := durable.NewWriter(fsys, "tmp")
	for _, name := range []string{"d/a", "d/b"} {
		if err := w.CreateExclusive(t.Context(), name, []byte("one")); !errors.As(err, new(*durable.UnclearError)) {
			t.Fatalf("err = %v", err)
		}
	}
	fsys.Reset()
	fsys.Fail = failing("syncdir d", durabletest.Before, errDisk, 1)
	if err := w.Found("d/a"); !errors.As(err, new(*durable.SyncError)) || !errors.Is(err, errDisk) {
		t.Errorf("a failed sync was ignored: %v", err)
	}
	for range 2 {
		if err := errors.Join(w.Found("d/a"), w.Found("d/other")); err != nil {
			t.Error(err)
		}
	}
	if n := fsys.Count("syncdir d"); n != 2 {
		t.Errorf("%d syncs, want the one that failed and one more", n)
	}
	if err := w.Found("d/b"); err != nil || fsys.Count("syncdir d") != 3 {
		t.Errorf("the other file: %v after %d syncs", err, fsys.Count("syncdir d"))
	}
}

func TestCreateExclusive_NoLinksNoExclusiveRename_SaysSo(t *testing.T) {
	path, fsys := folder(t)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		switch op.Kind {
		case "link":
			return durabletest.Before, syscall.EMLINK
		case "renamex":
			return durabletest.Before, errors.ErrUnsupported
		}
		return 0, nil
	}
	w := durable.NewWriter(fsys, "tmp")
	if err := w.CreateExclusive(t.Context(), "a", []byte("one")); !errors.Is(err, durable.ErrNoExclusive) {
		t.Fatalf("err = %v", err)
	}
	if _, exists := content(t, filepath.Join(path, "a")); exists {
		t.Error("the file was created")
	}
}

func TestCreateExclusive_FoldersCannotBeSynced_NotDurableButDone(t *testing.T) {
	_, fsys := folder(t)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "syncdir" {
			return durabletest.Before, errors.ErrUnsupported
		}
		return 0, nil
	}
	w := durable.NewWriter(fsys, "tmp")
	if w.Durable() {
		t.Error("Durable() is true")
	}
	if err := w.CreateExclusive(t.Context(), "a/b", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteReplace(t.Context(), fsys, "c", []byte("two")); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(fsys, "x/y", 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestCreateExclusive_FoldersRemovedUnderIt_MadeAgain(t *testing.T) {
	path, fsys := folder(t)
	w := durable.NewWriter(fsys, "tmp")
	for i, dir := range []string{"none", "data", "tmp"} {
		if err := os.RemoveAll(filepath.Join(path, dir)); err != nil {
			t.Fatal(err)
		}
		if err := w.CreateExclusive(t.Context(), fmt.Sprintf("data/ab/%d", i), []byte("one")); err != nil {
			t.Fatalf("without %s: %v", dir, err)
		}
	}
}

func TestCreateExclusive_FileInTheWayOfAFolder_Refused(t *testing.T) {
	_, fsys := folder(t)
	w := durable.NewWriter(fsys, "tmp")
	if err := w.CreateExclusive(t.Context(), "config", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := w.CreateExclusive(t.Context(), "config/x", []byte("two")); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Fatalf("err = %v", err)
	}
}

func TestCreateExclusive_Canceled_NothingCreatedNothingLeft(t *testing.T) {
	for _, form := range []string{"write tmp/put-*", "sync tmp/put-*"} {
		path, fsys := folder(t)
		ctx, cancel := context.WithCancel(t.Context())
		fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
			if op.String() == form {
				cancel()
			}
			return 0, nil
		}
		w := durable.NewWriter(fsys, "tmp")
		err := w.CreateExclusive(ctx, "a", make([]byte, 10<<20))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: err = %v", form, err)
		}
		if _, exists := content(t, filepath.Join(path, "a")); exists || litter(t, filepath.Join(path, "tmp")) != 0 {
			t.Errorf("%s: something was left", form)
		}
		if form == "write tmp/put-*" && fsys.Count(form) != 1 {
			t.Errorf("went on writing after it was canceled")
		}
	}
}

func TestCreateExclusive_ManyWritersOneName_OneWins(t *testing.T) {
	for _, noLinks := range []bool{false, true} {
		path, fsys := folder(t)
		if noLinks {
			fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
				if op.Kind == "link" {
					return durabletest.Before, syscall.EPERM
				}
				return 0, nil
			}
		}
		writers := []*durable.Writer{durable.NewWriter(fsys, "tmp"), durable.NewWriter(fsys, "tmp")}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []string
		for i := range 32 {
			wg.Go(func() {
				data := fmt.Sprintf("writer %d", i)
				err := writers[i%2].CreateExclusive(t.Context(), "a/b/c", []byte(data))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, data)
				} else if !errors.Is(err, fs.ErrExist) {
					t.Errorf("writer %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		got, _ := content(t, filepath.Join(path, "a/b/c"))
		if len(won) != 1 || won[0] != string(got) {
			t.Errorf("no links %v: winners %q, content %q", noLinks, won, got)
		}
		if n := litter(t, filepath.Join(path, "tmp")); n != 0 {
			t.Errorf("%d temporary files left", n)
		}
	}
}
