package reader_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/reader"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

var update = flag.Bool("update", false, "make the golden repository anew")

const (
	golden     = "testdata/golden"
	passphrase = "golden pässphrase"
	bigXattr   = "user.big" // of more than 4096 bytes, as not every file system keeps it
)

var epoch = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// TestGolden_Repository_RestoresToListings: the committed repository, written once
// by the real packages, restores to the committed listings: with both kinds of
// keys, by the index and by the packs' directories.
func TestGolden_Repository_RestoresToListings(t *testing.T) {
	roomy(t)
	if *update {
		makeGolden(t)
	}
	key := string(read(t, golden, "key"))
	for _, c := range []struct {
		name, key   string
		ignoreIndex bool
	}{{"key file", key, false}, {"passphrase, without the index", passphrase, true}} {
		t.Run(c.name, func(t *testing.T) {
			r, err := reader.Open(filepath.Join(golden, "repo"), c.key, c.ignoreIndex)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Void) != 0 {
				t.Errorf("void entries: %v", r.Void)
			}
			compare(t, "snapshots.txt", describe(r))
			for _, s := range r.Snapshots() {
				compare(t, fmt.Sprintf("snapshot-%d.txt", s.N), listing(t, restored(t, r, s), false))
			}
		})
	}
}

// TestGolden_Damage_IsNoticed: any object with a flipped bit is either not needed,
// being a copy or a checkpoint, or leads to an error; nothing wrong is restored.
func TestGolden_Damage_IsNoticed(t *testing.T) {
	roomy(t)
	key := string(read(t, golden, "key"))
	objects := 0
	err := filepath.WalkDir(filepath.Join(golden, "repo"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(golden, "repo"))); err != nil {
			return err
		}
		name, err := filepath.Rel(filepath.Join(golden, "repo"), path)
		if err != nil {
			return err
		}
		b := read(t, dir, name)
		class, _, _ := strings.Cut(name, "/")
		at := len(b) * 2 / 3
		if class == "log" {
			at = 150 // not in the parity of the last entry, which nothing but mending looks at
		}
		b[at] ^= 0x10
		write(t, dir, name, b)
		_, openErr := reader.Open(dir, key, false)
		_, packsErr := reader.Open(dir, key, true)
		for _, c := range []struct {
			err    error
			needed bool
		}{
			{openErr, class == "log" || class == "index"},
			{packsErr, class == "log" || class == "data" || class == "tree"},
		} {
			if c.needed && !errors.Is(c.err, reader.ErrDamaged) || !c.needed && class != "keys" && c.err != nil {
				t.Errorf("%s: %v", name, c.err)
			}
		}
		objects++
		return nil
	})
	if err != nil || objects < 10 {
		t.Fatal(objects, err)
	}
}

func TestOpen_WrongKey_Fails(t *testing.T) {
	for _, key := range []string{"another", "", "kura-key-1:" + strings.Repeat("A", 43)} {
		if _, err := reader.Open(filepath.Join(golden, "repo"), key, false); !errors.Is(err, reader.ErrDamaged) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// TestFresh_Repository_RestoresAlike: what the real packages back up today is
// restored alike by the real restore and by the reader.
func TestFresh_Repository_RestoresAlike(t *testing.T) {
	roomy(t)
	ctx, src, dir := t.Context(), t.TempDir(), t.TempDir()
	r, secret := initRepository(t, dir)
	for generation := range 2 {
		makeTree(t, src, generation)
		snap := backUp(t, r, src, generation)

		want := listing(t, src, true)
		theirs := filepath.Join(t.TempDir(), "theirs")
		if res, err := restore.Run(ctx, r, snap, restore.Options{Target: theirs}, restore.Events{}); err != nil || res.Errors+res.Damaged > 0 {
			t.Fatal(res, err)
		}
		if diff := cmp.Diff(want, listing(t, filepath.Join(theirs, src), true)); diff != "" {
			t.Errorf("restore differs from the source (-source +restored):\n%s", diff)
		}
		rd, err := reader.Open(dir, string(seal.EncodeKeyFile(secret)), generation == 1)
		if err != nil {
			t.Fatal(err)
		}
		all := rd.Snapshots()
		ours := restored(t, rd, all[len(all)-1])
		if diff := cmp.Diff(want, listing(t, ours, true)); diff != "" {
			t.Errorf("reader differs from the source (-source +restored):\n%s", diff)
		}
	}
}

// TestDecode_InodeAbove63Bits_IsRead: file systems in user space make up such numbers.
func TestDecode_InodeAbove63Bits_IsRead(t *testing.T) {
	node := tree.Node{Name: "file", Type: tree.File, Inode: math.MaxUint64, Links: 2}
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{node}})
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Decode(page); err != nil {
		t.Error(err)
	}
}

// makeGolden makes a repository of five snapshots: the first is gone, the second
// forgotten, the third was forgotten and came back.
func makeGolden(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(golden); err != nil {
		t.Fatal(err)
	}
	ctx, src, dir := t.Context(), t.TempDir(), filepath.Join(golden, "repo")
	r, secret := initRepository(t, dir)
	write(t, golden, "key", seal.EncodeKeyFile(secret))

	var ids []object.SessionID
	for generation := range 3 {
		makeTree(t, src, generation)
		ids = append(ids, backUp(t, r, src, generation).ID)
	}
	change := func(f func() ([]object.SessionID, error)) {
		if done, err := f(); err != nil || len(done) == 0 {
			t.Fatal(done, err)
		}
	}
	change(func() ([]object.SessionID, error) { return r.Forget(ctx, ids[:1]) })
	res, err := gc.Run(ctx, r, gc.Options{MaxUnused: -1, Host: "golden"}, gc.Events{})
	if err != nil || len(res.Gone) != 1 || res.PacksDropped == 0 || res.PacksRepacked == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	rotate(t, r, dir)
	change(func() ([]object.SessionID, error) { return r.Forget(ctx, ids[1:3]) })
	change(func() ([]object.SessionID, error) { return r.Unforget(ctx, ids[2:]) })
	makeTree(t, src, 3)
	backUp(t, r, src, 3)
	if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
}

// rotate adds two writers' keys, removes one, and begins a second epoch.
func rotate(t *testing.T, r *repo.Repository, dir string) {
	t.Helper()
	var ids []string
	for n := range byte(2) {
		id, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Writer, Name: "writer", Credential: seal.KeyFile([32]byte{n})})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := r.RemoveSlot(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	// What a rotation leaves that can not delete: both the old slots and the new ones.
	left, err := filepath.Glob(filepath.Join(dir, "keys/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	old := map[string][]byte{}
	for _, path := range left {
		old[path] = read(t, path)
	}
	if res, err := r.RotateKeys(t.Context()); err != nil || res.Left != nil || len(res.Renewed) != 2 {
		t.Fatal(res, err)
	}
	for path, obj := range old {
		if err := os.WriteFile(path, obj, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// initRepository makes a repository with a slot for passphrase and one for the
// key file that it returns.
func initRepository(t *testing.T, dir string) (*repo.Repository, [32]byte) {
	t.Helper()
	store, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	cost := seal.Cost{Time: 1, Memory: 64, Threads: 1}
	r, err := repo.Init(t.Context(), store, repo.InitOptions{Credential: seal.Passphrase([]byte(passphrase)), Cost: cost, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	secret := seal.NewKeyFileSecret()
	slot, err := seal.SealSlot(r.Keys(), seal.KeyFile(secret), seal.Cost{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keys/00112233445566f7", "keys/00112233445566f7.copy"} {
		if err := store.Put(t.Context(), name, slot); err != nil {
			t.Fatal(err)
		}
	}
	return r, secret
}

func backUp(t *testing.T, r *repo.Repository, src string, generation int) *repo.Snapshot {
	t.Helper()
	res, err := backup.Run(t.Context(), r, backup.Options{
		Paths: []string{src}, Host: "golden", Time: epoch.Add(time.Duration(generation) * time.Hour), Program: "golden",
		Packing: repo.Packing{Parity: -(generation % 2)}, // packs of both kinds
	}, backup.Events{Error: func(path string, err error) { t.Errorf("%s: %v", path, err) }})
	if err != nil {
		t.Fatal(err)
	}
	wantDelta(t, r, generation)
	return res.Snapshot
}

// makeTree makes the source's state of a generation.
func makeTree(t *testing.T, dir string, generation int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	path := func(name string) string { return filepath.Join(dir, name) }

	write(t, dir, "text", fmt.Appendf(nil, "the text of generation %d\n", generation))
	write(t, dir, "empty", nil)
	write(t, dir, "name that is \xff\xfe not UTF-8", []byte("fine\n"))
	write(t, dir, "linked", []byte("one file of three names\n"))
	must(os.Mkdir(path("folder"), 0o755))
	must(os.Mkdir(path("empty folder"), 0o755))
	must(os.Link(path("linked"), path("another name")))
	must(os.Link(path("linked"), path("folder/and another")))
	must(os.Symlink("folder/does not exist \xf0", path("symlink")))
	must(unix.Mkfifo(path("fifo"), 0o640))
	must(os.Link(path("symlink"), path("folder/the symlink")))
	must(os.Link(path("fifo"), path("folder/the fifo")))

	// Two chunks at least, since none is above 8 MiB, of a text that compresses to nothing.
	page := blake3.Sum256(fmt.Appendf(nil, "%d", generation/2))
	write(t, dir, "long", bytes.Repeat(page[:], 9<<20/len(page)))

	write(t, dir, "grown", grown(generation))

	// Of more than 4096 extents, so that its content has pages of its own.
	holes, err := os.Create(path("many holes"))
	must(err)
	for i := range 2100 {
		_, err := holes.WriteAt(bytes.Repeat(page[:], 128), int64(i)*(17*4096))
		must(err)
	}
	must(holes.Truncate(2100*17*4096 + 1<<20))
	must(holes.Close())
	write(t, dir, "folder/zeros", append(make([]byte, 1<<20), "and a tail"...))

	// Of a number of entries that makes several leaves.
	cuts := 0
	for i := range 330 {
		name := fmt.Sprintf("many/entry-%03d", i)
		write(t, dir, name, nil)
		if h := blake3.Sum256([]byte(filepath.Base(name))); h[0] == 0 {
			cuts++
		}
	}
	if cuts == 0 {
		t.Fatal("the names make no inner page")
	}
	write(t, dir, fmt.Sprintf("many/new-%d", generation), []byte("new"))

	must(unix.Lsetxattr(path("text"), "user.small", []byte("a \x00 value"), 0))
	must(unix.Lsetxattr(path("folder"), "user.empty", nil, 0))
	if err := unix.Lsetxattr(path("text"), bigXattr, bytes.Repeat([]byte("0123456789"), 600), 0); *update {
		must(err)
	}
	modes := map[string]uint32{"text": 0o4711, "empty": 0, "linked": 0o444, "folder": 0o1777, "fifo": 0o640, "empty folder": 0o500}
	if os.Geteuid() != 0 {
		modes["empty"] = 0o400 // or it could not be read
	}
	for name, mode := range modes {
		must(unix.Chmod(path(name), mode))
	}
	if os.Geteuid() == 0 {
		must(os.Lchown(path("symlink"), 1234, 5678))
		must(os.Lchown(path("many/entry-007"), 4000000000, 1))
	}
	i := int64(0)
	must(filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		i++
		sec := epoch.Unix() + 1000*i
		if strings.HasSuffix(path, "/empty") {
			sec = -1234567 // before 1970
		}
		times := []unix.Timespec{{Sec: sec, Nsec: i}, {Sec: sec, Nsec: i}}
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW))
	}))
}

// grown is a content of which each generation is stored as a delta of the one before.
func grown(generation int) []byte {
	b := testrepo.Random(1, 80<<10)
	for g := 1; g <= generation; g++ {
		copy(b[7000*g:], testrepo.Random(uint64(1+g), 300))
	}
	return append(b, testrepo.Random(9, 100*generation)...)
}

// wantDelta wants the newest generation of what has grown to be stored as a delta.
func wantDelta(t *testing.T, r *repo.Repository, generation int) {
	t.Helper()
	if d := testrepo.Depths(t, r, grown(generation)); len(d) != 1 || d[0] != generation {
		t.Errorf("generation %d is stored with depths %v", generation, d)
	}
}

// listing describes a tree, a line for each entry: type, mode, owner, mtime, which name it is linked to, size and BLAKE3 of
// the content, attributes.
func listing(t *testing.T, dir string, owners bool) string {
	t.Helper()
	var out strings.Builder
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%q %s %04o", name, d.Type(), st.Mode&0o7777)
		if owners && os.Geteuid() == 0 {
			fmt.Fprintf(&out, " %d:%d", st.Uid, st.Gid)
		}
		fmt.Fprintf(&out, " %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		if !d.IsDir() && st.Nlink > 1 && first[st.Ino] != "" {
			fmt.Fprintf(&out, " linked to %q", first[st.Ino])
		} else {
			first[st.Ino] = name
		}
		switch {
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			fmt.Fprintf(&out, " -> %q", target)
			return errors.Join(err, end(&out))
		case d.Type().IsRegular():
			if st.Size > 0 { // an empty one may be one that nobody may read
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				h := blake3.New()
				n, err := io.Copy(h, f)
				if err := errors.Join(err, f.Close()); err != nil {
					return err
				}
				fmt.Fprintf(&out, " %d %x", n, h.Sum(nil))
			}
			if st.Size > 64<<20 && st.Blocks*512 > st.Size/4 {
				fmt.Fprintf(&out, " not sparse: %d", st.Blocks*512)
			}
		}
		if d.IsDir() || d.Type().IsRegular() {
			for _, attr := range []string{"user.small", "user.empty", bigXattr} {
				v := make([]byte, 65536)
				if n, err := unix.Lgetxattr(path, attr, v); err == nil {
					fmt.Fprintf(&out, " %s=%d:%x", attr, n, blake3.Sum256(v[:n]))
				}
			}
		}
		return end(&out)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func end(out *strings.Builder) error { return out.WriteByte('\n') }

func describe(r *reader.Repository) string {
	var out strings.Builder
	for _, s := range r.Snapshots() {
		fmt.Fprintf(&out, "%d %s forgotten=%t partial=%t %s %s\n", s.N, s.ID, s.Forgotten, s.Partial,
			time.Unix(0, int64(s.Time)).UTC().Format(time.RFC3339), s.Host)
	}
	return out.String()
}

// restored restores a snapshot and returns the copy of its source's folder.
func restored(t *testing.T, r *reader.Repository, s *reader.Snapshot) string {
	t.Helper()
	dst := t.TempDir()
	skipped, err := r.Restore(s, dst)
	if err != nil {
		t.Fatal(err)
	}
	if hasBig := holdsBigXattrs(t, dst); len(skipped) > 0 && hasBig {
		t.Errorf("not restored: %q", skipped)
	}
	return filepath.Join(dst, s.Paths[0])
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		write(t, golden, name, []byte(got))
	}
	want := string(read(t, golden, name))
	if !holdsBigXattrs(t, t.TempDir()) {
		lines := strings.SplitAfter(want, "\n")
		for i, l := range lines {
			if before, _, ok := strings.Cut(l, " "+bigXattr); ok {
				lines[i] = before + "\n"
			}
		}
		want = strings.Join(lines, "")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// roomy puts the test's folders where extended attributes may be large, if there
// is such a place.
func roomy(t *testing.T) {
	const shm = "/dev/shm"
	if d, err := os.MkdirTemp(shm, "kura-reader-"); err == nil {
		if os.Remove(d) == nil && os.Getenv("TMPDIR") == "" {
			t.Setenv("TMPDIR", shm)
		}
	}
}

func holdsBigXattrs(t *testing.T, dir string) bool {
	t.Helper()
	path := filepath.Join(dir, ".xattr")
	write(t, dir, ".xattr", nil)
	err := unix.Lsetxattr(path, bigXattr, make([]byte, 6000), 0)
	return errors.Join(err, os.Remove(path)) == nil
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
