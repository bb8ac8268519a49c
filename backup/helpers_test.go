package backup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0))) // so that files are read ahead, on any machine
	testsys.VerifyMain(m)
}

// newRepo makes a repository whose store counts its calls.
func newRepo(t testing.TB) (*repo.Repository, *fault.Store) {
	t.Helper()
	_, mem := testrepo.New(t)
	store := fault.New(mem)
	return testrepo.Open(t, store), store
}

// recorder keeps what Events are told.
type recorder struct {
	mu     sync.Mutex
	errors map[string]error
	items  map[string]Item
}

func (r *recorder) events() Events {
	r.errors, r.items = map[string]error{}, map[string]Item{}
	return Events{
		Progress: new(Progress),
		Error: func(path string, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.errors[path] = err
		},
		Item: func(i Item) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if _, twice := r.items[i.Path]; twice {
				i.Path += " (twice)"
			}
			r.items[i.Path] = i
		},
	}
}

// mustRun backs up without expecting an error of any kind.
func mustRun(t testing.TB, r *repo.Repository, o Options) *Result {
	t.Helper()
	var rec recorder
	res, err := Run(t.Context(), r, o, rec.events())
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.errors) > 0 || res.Summary.Errors > 0 {
		t.Fatalf("errors: %v", rec.errors)
	}
	return res
}

// saved is an entry as it comes out of a snapshot.
type saved struct {
	*tree.Node
	data []byte
}

// readBack returns everything in a snapshot by path, content included.
func readBack(t testing.TB, r *repo.Repository, s *repo.Snapshot) map[string]saved {
	t.Helper()
	out := map[string]saved{}
	id, err := s.RootID()
	if err != nil {
		t.Fatal(err)
	}
	readFolder(t, r, id, "/", out)
	return out
}

func readFolder(t testing.TB, r *repo.Repository, id object.BlobID, path string, out map[string]saved) {
	t.Helper()
	for n, err := range tree.ReadDir(t.Context(), id, r.LoadTree) {
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		p := filepath.Join(path, n.Name)
		out[p] = saved{n, readContent(t, r, n)}
		if n.Type == tree.Folder && !n.Subtree.IsZero() {
			readFolder(t, r, n.Subtree, p, out)
		}
	}
}

func readContent(t testing.TB, r *repo.Repository, n *tree.Node) []byte {
	t.Helper()
	if n.Type != tree.File || n.Error != "" {
		return nil
	}
	var data []byte
	for e, err := range tree.ReadContent(t.Context(), n, r.LoadTree) {
		if err != nil {
			t.Fatalf("%s: %v", n.Name, err)
		}
		if e.Kind != tree.Data {
			data = append(data, make([]byte, e.Length)...)
			continue
		}
		b, err := r.LoadBlob(t.Context(), object.DataBlob, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, b...)
	}
	return data
}

// makeTree writes files by their relative paths; a path that ends in a slash is a folder.
func makeTree(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for path, data := range files {
		full := filepath.Join(root, path)
		dir := filepath.Dir(full)
		if strings.HasSuffix(path, "/") {
			dir = full
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir != full {
			writeFile(t, full, []byte(data))
		}
	}
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// memoryDir returns a folder that is quickly filled with many entries, and removed with the test.
func memoryDir(t testing.TB) string { return testsys.MemoryDir(t) }

// settleTimes waits until what was written is old enough to be trusted.
func settleTimes() { time.Sleep(tick*time.Nanosecond + 20*time.Millisecond) }

// wantTree compares the files below root in a snapshot with those of the disk.
func wantTree(t testing.TB, r *repo.Repository, s *repo.Snapshot, root string) {
	t.Helper()
	got := readBack(t, r, s)
	var want, have []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		want = append(want, path)
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if n, ok := got[path]; ok && !bytes.Equal(n.data, data) {
				t.Errorf("%q: other content", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range got {
		if path == root || strings.HasPrefix(path, root+"/") {
			have = append(have, path)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		t.Errorf("snapshot has %q\nthe disk %q", have, want)
	}
}

// puts returns the names put since the last Reset, without checkpoints, which any commit may be followed by.
func puts(store *fault.Store) (names []string) {
	for _, c := range store.Calls() {
		if c.Op == fault.Put && !strings.HasPrefix(c.Name, object.CheckpointsPrefix) {
			names = append(names, c.Name)
		}
	}
	return names
}

func runWith(ctx context.Context, r *repo.Repository, o Options, h hooks) (*Result, *recorder, error) {
	rec := new(recorder)
	res, err := run(ctx, r, o, rec.events(), h)
	return res, rec, err
}

var _ backends.Store = (*fault.Store)(nil)

// sized is the first number, and with the race detector, which takes ten times as long for each byte, the second.
func sized(usual, short int) int {
	if testing.Short() {
		return short
	}
	return usual
}

func manyFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("d%02d/e%d/f%05d", i%37, i%3, i)] = fmt.Sprintf("content of %d", i)
	}
	return files
}
