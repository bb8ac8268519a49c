package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/restore/archive"
	"github.com/kura-backup/kura/source/tarfile"
	"github.com/kura-backup/kura/tree"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gnuTar runs GNU tar with something on its standard input.
func gnuTar(t testing.TB, in io.Reader, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tar", args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("tar %q: %v\n%s", args, err, &said)
	}
	return out.Bytes()
}

// xattrs make tar keep all extended attributes.
var xattrs = []string{"--xattrs", "--xattrs-include=*"}

func importTar(t testing.TB, r *repo.Repository, data []byte, prefix string) *repo.Snapshot {
	t.Helper()
	src, err := tarfile.New(bytes.NewReader(data), prefix)
	must(t, err)
	res, err := backup.Run(t.Context(), r, backup.Options{Host: "h", Source: src}, backup.Events{
		Error: func(path string, err error) { t.Errorf("%s: %v", path, err) },
	})
	must(t, err)
	return res.Snapshot
}

// TestTar_ThereAndBack_IsTheSame: what GNU tar packs, kura imports and dumps, and GNU tar extracts is what it was.
func TestTar_ThereAndBack_IsTheSame(t *testing.T) {
	root := testsys.MemoryDir(t)
	lacking := testsys.Gallery(t, root)
	t.Logf("not here: %v", lacking)
	removeHuge(t, root)
	t.Cleanup(func() { testsys.Unlock(t, root) })
	r, _ := testrepo.New(t)
	args := append([]string{"-C", root, "--sparse", "--format", "pax", "-cf", "-"}, xattrs...)
	snap := importTar(t, r, gnuTar(t, nil, append(args, ".")...), "/in/here")

	var out bytes.Buffer
	res, err := archive.Write(t.Context(), r, snap, "/in/here", &out, archive.Tar, archive.Events{
		Error: func(path string, err error) { t.Errorf("%s: %v", path, err) },
	})
	must(t, err)
	target := testsys.MemoryDir(t)
	t.Cleanup(func() { testsys.Unlock(t, target) })
	gnuTar(t, &out, append([]string{"-C", target, "-xpf", "-", "--numeric-owner"}, xattrs...)...)
	n := treecmp.MustEqual(t, root, target, treecmp.Options{Below: true, Skip: []treecmp.Kind{treecmp.Flags}})
	t.Logf("%d entries compared, %+v", n, res)

	restored := filepath.Join(testsys.MemoryDir(t), "restored")
	t.Cleanup(func() { testsys.Unlock(t, restored) })
	done, err := restore.Run(t.Context(), r, snap, restore.Options{Target: restored, Path: "/in/here"}, restore.Events{
		Error: func(path string, err error) { t.Errorf("%s: %v", path, err) },
	})
	must(t, err)
	treecmp.MustEqual(t, root, restored, treecmp.Options{Below: true, Skip: []treecmp.Kind{treecmp.Flags}})
	if done.Errors+done.Damaged > 0 {
		t.Errorf("%+v", done)
	}

	again := importTar(t, r, gnuTar(t, nil, append(args, ".")...), "/in/here")
	if !bytes.Equal(again.Root, snap.Root) {
		t.Error("the same archive made another folder")
	}
}

// removeHuge removes what archives can not have: files with holes that nobody can write out, and very long paths.
func removeHuge(t *testing.T, root string) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(root, "deep"))) // paths that are too long for GNU tar
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 1<<32 {
			err = os.Remove(p)
		}
		return err
	}))
}

func TestWrite_PartsOfASnapshot_HaveNamesFromThere(t *testing.T) {
	root := testsys.MemoryDir(t)
	must(t, os.MkdirAll(filepath.Join(root, "etc/sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "etc/sub/f"), []byte("content"), 0o4755))
	must(t, os.Chmod(filepath.Join(root, "etc/sub/f"), 0o755|os.ModeSetuid))
	must(t, os.Symlink("f", filepath.Join(root, "etc/sub/to")))
	must(t, os.Link(filepath.Join(root, "etc/sub/f"), filepath.Join(root, "etc/again")))
	r, _ := testrepo.New(t)
	snap := importTar(t, r, gnuTar(t, nil, "-C", root, "-cf", "-", "etc"), "")
	names := func(path string) string {
		var out bytes.Buffer
		_, err := archive.Write(t.Context(), r, snap, path, &out, archive.Tar, archive.Events{})
		must(t, err)
		return strings.Join(strings.Fields(string(gnuTar(t, &out, "-tf", "-"))), " ")
	}
	for path, want := range map[string]string{
		"/": "etc/ etc/again etc/sub/ etc/sub/f etc/sub/to", "/etc": "again sub/ sub/f sub/to", "/etc/sub/f": "f", "/etc/sub/to": "to",
	} {
		if got := names(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	if _, err := archive.Write(t.Context(), r, snap, "/gone", io.Discard, archive.Tar, archive.Events{}); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("%v", err)
	}

	var out bytes.Buffer
	res, err := archive.Write(t.Context(), r, snap, "/etc", &out, archive.Zip, archive.Events{})
	must(t, err)
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	must(t, err)
	modes := map[string]fs.FileMode{}
	for _, f := range z.File {
		modes[f.Name] = f.Mode()
		if c, err := f.Open(); err == nil {
			data, err := io.ReadAll(c)
			must(t, err)
			if want := map[string]string{"sub/": "", "sub/to": "f"}; f.Mode().IsRegular() && string(data) != "content" || want[f.Name] != "" && want[f.Name] != string(data) {
				t.Errorf("%s: %q", f.Name, data)
			}
		}
	}
	setuid := 0o755 | fs.ModeSetuid
	if modes["sub/f"] != setuid || modes["again"] != setuid || modes["sub/to"]&fs.ModeSymlink == 0 || modes["sub/"] != 0o755|fs.ModeDir || len(modes) != 4 || res.Entries != 4 {
		t.Errorf("%v, %+v", modes, res)
	}
}

func TestZip_NoPlaceFor_IsReported(t *testing.T) {
	root := testsys.MemoryDir(t)
	gnu := exec.CommandContext(t.Context(), "mkfifo", filepath.Join(root, "fifo"))
	must(t, gnu.Run())
	must(t, os.WriteFile(filepath.Join(root, "\xff"), []byte("x"), 0o600))
	r, _ := testrepo.New(t)
	snap := importTar(t, r, gnuTar(t, nil, "-C", root, "-cf", "-", "."), "")
	var failed []string
	var out bytes.Buffer
	res, err := archive.Write(t.Context(), r, snap, "", &out, archive.Zip, archive.Events{Error: func(path string, err error) {
		if !errors.Is(err, archive.ErrNoPlace) {
			t.Errorf("%s: %v", path, err)
		}
		failed = append(failed, path)
	}})
	must(t, err)
	if len(failed) != 1 || failed[0] != "fifo" || res.Omitted != 1 || res.Entries != 1 {
		t.Errorf("%q, %+v", failed, res)
	}
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	must(t, err)
	if z.File[0].Name != "\xff" || !z.File[0].NonUTF8 {
		t.Errorf("%q", z.File[0].Name)
	}
}

// commit makes a snapshot of nodes.
func commit(t *testing.T, r *repo.Repository, nodes ...tree.Node) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	root, err := tree.WriteDir(t.Context(), nodes, func(_ context.Context, page []byte) (object.BlobID, error) {
		saved, err := s.SaveNow(object.TreeBlob, page)
		return saved.ID, err
	})
	must(t, err)
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: root[:]}})
	must(t, err)
	return snap
}

var fiveZeros = tree.Content{Lengths: []int64{5}, Kinds: []tree.ExtentKind{tree.Zeros}}

// oddAttributes are what tar has no place for, a name that ends the key of its record and too much in all, around one that it has.
func oddAttributes() []tree.XAttr {
	out := []tree.XAttr{{Name: "user.a=b", Value: []byte("x")}, {Name: "user.good", Value: []byte("y\x00")}}
	for i := range 300 {
		out = append(out, tree.XAttr{Name: fmt.Sprintf("user.many%03d", i), Value: make([]byte, tree.MaxInlineXAttr)})
	}
	return out
}

// TestTar_NoPlaceForAnAttribute_ContentIsThereUnderAllNames: also under the names that follow the first.
func TestTar_NoPlaceForAnAttribute_ContentIsThereUnderAllNames(t *testing.T) {
	r, _ := testrepo.New(t)
	odd := tree.Node{Type: tree.File, Mode: 0o600, Inode: 7, Links: 3, Size: 5, Content: fiveZeros, XAttrs: oddAttributes()}
	var nodes []tree.Node
	for _, name := range []string{"a", "b", "c"} {
		odd.Name = name
		nodes = append(nodes, odd)
	}
	snap := commit(t, r, nodes...)
	var out bytes.Buffer
	failed := map[string]error{}
	res, err := archive.Write(t.Context(), r, snap, "", &out, archive.Tar, archive.Events{Error: func(path string, err error) { failed[path] = err }})
	must(t, err)
	if err := failed["a"]; len(failed) != 1 || !errors.Is(err, archive.ErrNoPlace) || !strings.Contains(err.Error(), "user.a=b") || res.Entries != 3 || res.Omitted != 1 {
		t.Errorf("%v, %+v", failed, res)
	}
	back := tar.NewReader(&out)
	for _, name := range []string{"a", "b", "c"} {
		h, err := back.Next()
		must(t, err)
		isFirst := h.Size == 5 && h.Typeflag == tar.TypeReg && h.PAXRecords["SCHILY.xattr.user.good"] == "y\x00" && len(h.PAXRecords) > 200
		isLink := h.Typeflag == tar.TypeLink && h.Linkname == "a"
		if h.Name != name || isFirst != (name == "a") || isLink == isFirst {
			t.Errorf("%s: %c, %d bytes, %d attributes", h.Name, h.Typeflag, h.Size, len(h.PAXRecords))
		}
	}
}

// TestTar_NoPlaceForAFile_ItsOtherNamesAreNoLinksToIt: a link to what is not in the archive is nothing.
func TestTar_NoPlaceForAFile_ItsOtherNamesAreNoLinksToIt(t *testing.T) {
	r, _ := testrepo.New(t)
	nodes := []tree.Node{
		{Name: "a", Type: tree.File, Inode: 7, Links: 2, User: "no\x00name"}, // pax has no such text
		{Name: "b", Type: tree.File, Inode: 7, Links: 2, Size: 5, Content: fiveZeros},
	}
	var out bytes.Buffer
	res, err := archive.Write(t.Context(), r, commit(t, r, nodes...), "", &out, archive.Tar, archive.Events{})
	must(t, err)
	if got := string(gnuTar(t, &out, "-xOf", "-")); got != "\x00\x00\x00\x00\x00" || res.Entries != 1 || res.Omitted != 1 {
		t.Errorf("%q, %+v", got, res)
	}
}

func TestTar_NoPlaceFor_IsReported(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, tree.Node{Name: "odd", Type: tree.FIFO, User: "no\x00name"}, tree.Node{Name: "socket", Type: tree.Socket}, tree.Node{Name: "z", Type: tree.FIFO})
	var out bytes.Buffer
	var failed []string
	res, err := archive.Write(t.Context(), r, snap, "", &out, archive.Tar, archive.Events{Error: func(path string, _ error) {
		failed = append(failed, path)
	}})
	must(t, err)
	if got := strings.TrimSpace(string(gnuTar(t, &out, "-tf", "-"))); got != "z" || strings.Join(failed, " ") != "odd socket" || res.Omitted != 2 {
		t.Errorf("%q, %q, %+v", got, failed, res)
	}
}

func TestWrite_Damage_EndsWithoutAnEndMark(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, testrepo.Random(1, 3<<20), testrepo.Random(2, 3<<20))
	for _, name := range testrepo.Names(t, store, object.DataPrefix) {
		must(t, store.Delete(t.Context(), name))
	}
	fresh := testrepo.Open(t, store)
	var out bytes.Buffer
	_, err := archive.Write(t.Context(), fresh, snap, "/", &out, archive.Tar, archive.Events{})
	damage := (*repo.DamageError)(nil)
	if !errors.As(err, &damage) {
		t.Errorf("%v", err)
	}
	if err := readAll(t.Context(), r, out.Bytes()); !errors.Is(err, tarfile.ErrTruncated) {
		t.Errorf("what was written reads as an archive: %v", err)
	}
	if _, err := archive.Write(t.Context(), r, snap, "/", io.Discard, 3, archive.Events{}); !errors.Is(err, archive.ErrFormat) {
		t.Errorf("format 3: %v", err)
	}
}

func readAll(ctx context.Context, r *repo.Repository, data []byte) error {
	src, err := tarfile.New(bytes.NewReader(data), "")
	if err == nil {
		_, err = backup.Run(ctx, r, backup.Options{Host: "h", Source: src}, backup.Events{})
	}
	return err
}

// TestWrite_FolderThatIsNotWhole_IsReported: also where it is the one that was asked for.
func TestWrite_FolderThatIsNotWhole_IsReported(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := nested(t, r, tree.Node{Name: "f", Type: tree.File, Size: 5, Content: fiveZeros}, tree.Node{Name: "d", Type: tree.Folder, Error: "entries are lost"})
	for _, format := range []archive.Format{archive.Tar, archive.Zip} {
		for path, name := range map[string]string{"/": "d", "/d": "d"} {
			var out bytes.Buffer
			failed := map[string]error{}
			res, err := archive.Write(t.Context(), r, snap, path, &out, format, archive.Events{Error: func(path string, err error) { failed[path] = err }})
			must(t, err)
			if res.Errors != 1 || res.Bytes != 5 || failed[name] == nil || !strings.Contains(failed[name].Error(), "entries are lost") {
				t.Errorf("format %d, %s: %+v, %v", format, path, res, failed)
			}
		}
	}
}

// TestZip_PathThatIsTooLong_IsReported: and costs no other entry.
func TestZip_PathThatIsTooLong_IsReported(t *testing.T) {
	r, _ := testrepo.New(t)
	deep := make([]tree.Node, 260)
	for i := range deep {
		deep[i] = tree.Node{Name: strings.Repeat("n", 255), Type: tree.Folder}
	}
	snap := nested(t, r, tree.Node{Name: "z", Type: tree.File, Size: 5, Content: fiveZeros}, append([]tree.Node{{Name: "top", Type: tree.Folder}}, deep...)...)
	var out bytes.Buffer
	res, err := archive.Write(t.Context(), r, snap, "/top", &out, archive.Zip, archive.Events{Error: func(_ string, err error) {
		if !errors.Is(err, archive.ErrNoPlace) {
			t.Error(err)
		}
	}})
	must(t, err)
	// 256 names would have 65,536 bytes with the slashes behind them.
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	must(t, err)
	if len(z.File) != 255 || len(z.File[254].Name) != 255*256 || res.Entries != 255 || res.Omitted != 6 {
		t.Errorf("%d entries, %+v", len(z.File), res)
	}
}

// nested makes a snapshot of a node in folders, each in the one before.
func nested(t *testing.T, r *repo.Repository, inner tree.Node, folders ...tree.Node) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	root := object.BlobID{}
	for i := len(folders); i >= 0; i-- {
		root, err = tree.WriteDir(t.Context(), []tree.Node{inner}, func(_ context.Context, page []byte) (object.BlobID, error) {
			saved, err := s.SaveNow(object.TreeBlob, page)
			return saved.ID, err
		})
		must(t, err)
		if i > 0 {
			inner = folders[i-1]
			inner.Subtree = root
		}
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: root[:]}})
	must(t, err)
	return snap
}
