package tarfile_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/sourcetest"
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

func read(t testing.TB, archive []byte, prefix string) (*sourcetest.Writer, error) {
	t.Helper()
	src, err := tarfile.New(bytes.NewReader(archive), prefix)
	must(t, err)
	w := sourcetest.NewWriter()
	w.Replaces = src.Replaces()
	if err := src.Write(t.Context(), w); err != nil {
		return w, err
	}
	return w, w.Finish()
}

// gnuTar runs GNU tar.
func gnuTar(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("tar %q: %s", args, exit.Stderr)
	}
	must(t, err)
	return out
}

// makeFiles makes a folder with all that a tar archive can hold.
func makeFiles(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	long := strings.Repeat("long name ", 12)
	must(t, os.MkdirAll(filepath.Join(root, "d", long, long), 0o755))
	write := func(name string, data []byte, mode os.FileMode) {
		p := filepath.Join(root, name)
		must(t, os.WriteFile(p, data, mode))
		must(t, os.Chmod(p, mode))
		at := time.Unix(1_700_000_000, 123_456_789)
		must(t, os.Chtimes(p, at, at))
	}
	write("d/a", []byte("hello"), 0o640)
	write("d/\xff ä\n", []byte("odd name"), 0o600)
	write(filepath.Join("d", long, long, long), []byte("deep"), 0o644)
	write("empty", nil, 0o400)
	write("large", bytes.Repeat([]byte("0123456789abcdef"), 20_000), 0o755)
	must(t, os.Link(filepath.Join(root, "d/a"), filepath.Join(root, "link")))
	must(t, os.Symlink("../"+long+long, filepath.Join(root, "symlink")))
	must(t, os.Link(filepath.Join(root, "symlink"), filepath.Join(root, "symlink again"))) // as cp -al makes them
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o622))
	must(t, os.Link(filepath.Join(root, "fifo"), filepath.Join(root, "d/fifo")))
	f, err := os.Create(filepath.Join(root, "sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("in the middle"), 5<<20)
	must(t, err)
	must(t, f.Truncate(20<<20))
	must(t, f.Close())
	if err := unix.Setxattr(filepath.Join(root, "large"), "user.test", []byte("v\x00\xffalue"), 0); err != nil {
		t.Logf("no extended attributes here: %v", err)
	}
	must(t, os.Chmod(filepath.Join(root, "d"), 0o750|os.ModeSetgid))
	return root
}

func TestSource_ArchiveOfGNUTar_IsWhatWasThere(t *testing.T) {
	root := makeFiles(t)
	for _, format := range []string{"pax", "gnu"} {
		args := []string{"-C", root, "--sparse", "--format", format, "-cf", "-", "."}
		if format == "pax" {
			args = append([]string{"--xattrs", "--xattrs-include=*"}, args...)
		}
		w, err := read(t, gnuTar(t, args...), "/in")
		must(t, err)
		if m := w.Misses(); len(m) > 0 {
			t.Errorf("%s: %v", format, m)
		}
		compare(t, format, w, root)
	}
}

// compare compares what was written with files on disk.
func compare(t *testing.T, format string, w *sourcetest.Writer, root string) {
	t.Helper()
	n := 0
	must(t, filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		must(t, err)
		n++
		name := "/in" + strings.TrimPrefix(p, root)
		e := w.Entry(name)
		if e == nil {
			t.Errorf("%s: %q is missing", format, name)
			return nil
		}
		st := info.Sys().(*syscall.Stat_t)
		at := e.Node.MTime.Time()
		if format == "gnu" {
			info, at = sameSecond{info}, at.Truncate(time.Second)
		}
		if uint32(st.Mode)&0o7777 != e.Node.Mode || st.Uid != e.Node.UID || st.Gid != e.Node.GID || !info.ModTime().Equal(at) && info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s: %q: %+v, %v", format, name, e.Node, info.ModTime())
		}
		switch e.Node.Type {
		case tree.File:
			data, err := os.ReadFile(p)
			must(t, err)
			if !bytes.Equal(data, w.Bytes(name)) {
				t.Errorf("%s: %q has other content", format, name)
			}
		case tree.Symlink:
			if to, err := os.Readlink(p); err != nil || to != e.Node.Target {
				t.Errorf("%s: %q: %q", format, name, e.Node.Target)
			}
		}
		return nil
	}))
	if got := len(w.Paths()); got != n {
		t.Errorf("%s: %d entries, want %d", format, got, n)
	}
	a, link := w.Entry("/in/d/a"), w.Entry("/in/link")
	if a.LinkedTo != "/in/link" && link.LinkedTo != "/in/d/a" {
		t.Errorf("%s: no hard link: %q, %q", format, a.LinkedTo, link.LinkedTo)
	}
	if got := w.Entry("/in/sparse").Content.Written(); got > 1<<20 {
		t.Errorf("%s: %d bytes of a sparse file were written", format, got)
	}
	var value [16]byte
	if k, err := unix.Getxattr(filepath.Join(root, "large"), "user.test", value[:]); err == nil && format == "pax" {
		attrs := w.Entry("/in/large").Node.XAttrs
		if len(attrs) != 1 || attrs[0].Name != "user.test" || !bytes.Equal(attrs[0].Value, value[:k]) {
			t.Errorf("attributes %+v", attrs)
		}
	}
}

// sameSecond is without fractions of a second.
type sameSecond struct{ os.FileInfo }

func (s sameSecond) ModTime() time.Time { return s.FileInfo.ModTime().Truncate(time.Second) }

// TestSource_CutOff_IsAnError: at every block, also between two entries, where most programs see a whole archive.
func TestSource_CutOff_IsAnError(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a", "b", strings.Repeat("c", 150)} {
		must(t, os.WriteFile(filepath.Join(root, name), make([]byte, 3*512), 0o644)) // zeros: like the end mark
	}
	archive := gnuTar(t, "-C", root, "--format", "pax", "-cf", "-", ".")
	_, err := read(t, archive, "")
	must(t, err)
	end := len(bytes.TrimRight(archive, "\x00"))
	end = (end+511)/512*512 + 3*512 // with the content of the last one
	cut := 0
	for n := 0; n <= end; n += 256 {
		if _, err := read(t, archive[:n], ""); !errors.Is(err, tarfile.ErrTruncated) {
			t.Errorf("cut off at %d of %d: %v", n, end, err)
		}
		cut++
	}
	for _, n := range []int{end + 512, end + 1024, len(archive)} {
		if _, err := read(t, archive[:n], ""); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	t.Logf("%d places", cut)

	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(archive)
	must(t, errors.Join(err, z.Close()))
	w, err := read(t, packed.Bytes(), "")
	must(t, err)
	if w.Entry("/a") == nil {
		t.Error("nothing was decompressed")
	}
	for _, n := range []int{packed.Len() - 1, packed.Len() - 8, packed.Len() / 2, 20} {
		if _, err := read(t, packed.Bytes()[:n], ""); !errors.Is(err, tarfile.ErrTruncated) {
			t.Errorf("compressed and cut off at %d: %v", n, err)
		}
	}
}

func TestSource_Damaged_IsAnErrorAndNoPanic(t *testing.T) {
	root := makeFiles(t)
	archive := gnuTar(t, "-C", root, "--format", "pax", "-cf", "-", "d", "link", "symlink", "fifo")
	rng := testrand.New(t)
	failed := 0
	for range 300 {
		bad := bytes.Clone(archive)
		for range 1 + rng.IntN(3) {
			bad[rng.IntN(len(bad))] ^= byte(1 + rng.IntN(255))
		}
		if _, err := read(t, bad, ""); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no damage was noticed")
	}
	for _, input := range []string{"", "no archive at all", strings.Repeat("x", 4096)} {
		if _, err := read(t, []byte(input), ""); err == nil {
			t.Errorf("%.10q was taken", input)
		}
	}
}

// archiveOf makes an archive of headers; files have their names as content.
func archiveOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range headers {
		h := headers[i]
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name) + i)
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write(append([]byte(h.Name), make([]byte, i)...))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func TestSource_NamesThatLeadOut_StayBelowThePrefix(t *testing.T) {
	archive := archiveOf(
		t, tar.Header{Name: "/etc/passwd", Typeflag: tar.TypeReg}, tar.Header{Name: "../../up", Typeflag: tar.TypeReg},
		tar.Header{Name: "a/../../b", Typeflag: tar.TypeReg}, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "x/../c", Typeflag: tar.TypeLink, Linkname: "/../etc/passwd"},
	)
	for prefix, want := range map[string]string{
		"":         "/b /c /etc/passwd /up",
		"/":        "/b /c /etc/passwd /up",
		"in/../to": "/to /to/b /to/c /to/etc/passwd /to/up",
	} {
		w, err := read(t, archive, prefix)
		must(t, err)
		if got := strings.Join(w.Paths(), " "); got != want || len(w.Misses()) > 0 {
			t.Errorf("%q: %s, %v", prefix, got, w.Misses())
		}
	}
}

func TestSource_LastEntryOfAName_Counts(t *testing.T) {
	w, err := read(t, archiveOf(
		t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o600}, tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o640},
		tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "gone"},
	), "")
	must(t, err)
	if w.Entry("/a").Node.Mode != 0o640 || string(w.Bytes("/a")) != "a\x00" {
		t.Errorf("%+v", w.Entry("/a"))
	}
	if m := w.Misses(); len(m) != 1 || m[0].Path != "/b" {
		t.Errorf("%v", m)
	}
}

func TestSource_NamesThatBecomeTheSame_AreReported(t *testing.T) {
	for second, want := range map[string]string{"/conf/a": "", "conf/a": "../conf/a", "./conf/a": "../conf/a", "../../conf/a": "../conf/a", "x/../../conf/a": ""} {
		first := "../conf/a"
		if second == "/conf/a" {
			first = "/conf//a"
		}
		for _, kind := range []byte{tar.TypeReg, tar.TypeSymlink, tar.TypeDir} {
			w, err := read(t, archiveOf(t, tar.Header{Name: first, Typeflag: tar.TypeReg}, tar.Header{Name: second, Typeflag: kind, Linkname: "to"}), "in")
			must(t, err)
			got := ""
			for _, m := range w.Misses() {
				got += m.Err.Error()
			}
			if want == "" && got != "" || !strings.Contains(got, want) || w.Entry("/in/conf/a") == nil {
				t.Errorf("%s and %s: %q", first, second, got)
			}
		}
	}
}

// TestSource_TooLong_IsReportedAndLeftOut: of each entry something stays in memory until the end.
func TestSource_TooLong_IsReportedAndLeftOut(t *testing.T) {
	long := strings.Repeat("x", 5000)
	deep := strings.Repeat("/"+long[:200], 400)
	attrs := map[string]string{}
	for i := range 20 {
		attrs["SCHILY.xattr.user."+string(rune('a'+i))] = long[:4000]
	}
	w, err := read(t, archiveOf(
		t, tar.Header{Name: "target", Typeflag: tar.TypeSymlink, Linkname: long}, tar.Header{Name: deep, Typeflag: tar.TypeReg},
		tar.Header{Name: "attributes", Typeflag: tar.TypeReg, PAXRecords: attrs}, tar.Header{Name: "owner", Typeflag: tar.TypeReg, Uname: long + long + long + long},
		tar.Header{Name: "good", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.large": strings.Repeat("v", 64<<10)}},
		tar.Header{Name: "link", Typeflag: tar.TypeLink, Linkname: "attributes"},
	), "")
	must(t, err)
	if got := strings.Join(w.Paths(), " "); got != "/attributes /good /link" || len(w.Misses()) != 4 || len(w.Entry("/attributes").Node.XAttrs) > 0 || len(w.Entry("/good").Node.XAttrs) != 1 {
		t.Errorf("%s, %d", got, len(w.Misses()))
	}
	for _, m := range w.Misses() {
		if !errors.Is(m.Err, tarfile.ErrTooLong) || len(m.Path) > 2000 || len(m.Err.Error()) > 2000 {
			t.Errorf("%.100s: %.200v", m.Path, m.Err)
		}
	}
}

// TestSource_NothingInIt_IsAnError: a snapshot without a file looked like one of the machine.
func TestSource_NothingInIt_IsAnError(t *testing.T) {
	comment := tar.Header{Name: "a", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "1"}}
	top := tar.Header{Name: "./", Typeflag: tar.TypeDir}
	for name, archive := range map[string][]byte{
		"empty": archiveOf(t), "a comment": archiveOf(t, comment), "the topmost folder": archiveOf(t, top),
		"by tar": gnuTar(t, "-cf", "-", "-T", "/dev/null"),
	} {
		if _, err := read(t, archive, ""); !errors.Is(err, tarfile.ErrEmpty) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := read(t, archiveOf(t, top), "in") // that folder is something
	must(t, err)
}

func TestSource_WhatIsNotUnderstood_IsRefused(t *testing.T) {
	for name, h := range map[string]tar.Header{
		"another type":    {Name: "a", Typeflag: 'M'},
		"a global header": {Name: "a", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"mtime": "1"}},
	} {
		if _, err := read(t, archiveOf(t, h), ""); !errors.Is(err, tarfile.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := read(t, archiveOf(
		t, tar.Header{Name: "a", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "1"}}, tar.Header{Name: "a", Typeflag: tar.TypeReg},
	), "")
	must(t, err)
	_, err = read(t, append(archiveOf(t, tar.Header{Name: "a", Typeflag: tar.TypeReg}), archiveOf(t, tar.Header{Name: "b", Typeflag: tar.TypeReg})...), "")
	if !errors.Is(err, tarfile.ErrMore) {
		t.Errorf("two archives: %v", err)
	}
	if _, err := read(t, []byte("\xfd7zXZ\x00........"), ""); !errors.Is(err, tarfile.ErrUnknown) || !strings.Contains(err.Error(), "xz -dc") {
		t.Errorf("xz: %v", err)
	}
	if _, err := tarfile.New(nil, "a\x00b"); !errors.Is(err, source.ErrPath) {
		t.Errorf("a bad prefix: %v", err)
	}
}
