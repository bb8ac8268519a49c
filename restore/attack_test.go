package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// Attacks on what is in the target already: planted before, or swapped while the restore is at work.

func TestEscape_LinksPlantedInPlaceOfFiles_AreNeitherReadNorWrittenThrough(t *testing.T) {
	attacks := 0
	for name, plant := range map[string]func(o *outside, path string) error{
		"symlink":   func(o *outside, path string) error { return os.Symlink(o.secret, path) },
		"hard link": func(o *outside, path string) error { return os.Link(o.secret, path) },
	} {
		for _, same := range []bool{true, false} { // as the snapshot has it: only metadata would be set
			for _, names := range []uint64{1, 2} {
				t.Run(fmt.Sprint(name, " same content ", same, " links ", names), func(t *testing.T) {
					o := newOutside(t)
					r, _ := testrepo.New(t)
					text := map[bool]string{true: "secret", false: "planted"}[same]
					evil := textFile("f", text).with(func(n *tree.Node) {
						n.Mode, n.Inode, n.Links, n.MTime = 0o4777, 9, names, tree.MakeTime(1, 1)
						n.XAttrs = []tree.XAttr{{Name: "user.evil", Value: []byte("x")}}
					})
					long := file("long", chunks([]byte(text[:3]), []byte(text[3:]))...).with(func(n *tree.Node) { n.Mode = 0o4777 })
					must(t, plant(o, filepath.Join(o.target, "f")))
					must(t, plant(o, filepath.Join(o.target, "long")))
					snap := commit(t, r, evil, long)
					mustBeFine(t, run(t, r, snap, restore.Options{Target: o.target, DryRun: true}))
					mustBeFine(t, run(t, r, snap, restore.Options{Target: o.target, Verify: true}))
					mustHave(t, filepath.Join(o.target, "f"), []byte(text))
					for _, p := range []string{"f", "long"} {
						if st := stat(t, filepath.Join(o.target, p)); st.Ino == o.before.Ino || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
							t.Errorf("%s is still what was planted", p)
						}
					}
					attacks++
					o.before.Nlink = stat(t, o.secret).Nlink // the attacker's own links are gone
					o.mustBeUntouched(t)
					mustHaveXAttrs(t, o.secret, nil)
				})
			}
		}
	}
	t.Logf("%d planted links, none followed", 2*attacks)
}

func TestEscape_FileThatOthersHaveOpen_IsNotFilledWithWhatTheyMayNotRead(t *testing.T) {
	o := newOutside(t)
	r, _ := testrepo.New(t)
	d := testrepo.Random(1, 200<<10)
	snap := commit(t, r, file("shadow", chunks(d[:100<<10], d[100<<10:])...).with(func(n *tree.Node) { n.Mode = 0o600 }))
	path := filepath.Join(o.target, "shadow")
	must(t, os.WriteFile(path, make([]byte, 200<<10), 0o644)) // which an attacker may open
	must(t, os.Chmod(path, 0o644))
	spy, err := os.Open(path)
	must(t, err)
	defer spy.Close()
	mustBeFine(t, run(t, r, snap, restore.Options{Target: o.target}))
	mustHave(t, path, d)
	seen := make([]byte, 200<<10)
	_, err = spy.ReadAt(seen, 0)
	must(t, err)
	for _, b := range seen {
		if b != 0 {
			t.Fatal("who had the old file open can read the new content")
		}
	}
}

func TestEscape_LinksInWhatIsDeleted_AreDeletedAndNotFollowed(t *testing.T) {
	o := newOutside(t)
	r, _ := testrepo.New(t)
	snap := commit(t, r, dir("d", textFile("keep", "x")), textFile("was folder", "x"))
	in := func(p string) string { return filepath.Join(o.target, p) }
	must(t, os.MkdirAll(in("d/extra/deep"), 0o755))
	must(t, os.MkdirAll(in("was folder/sub"), 0o755))
	for i, p := range []string{"d/dirlink", "d/extra/dirlink", "d/extra/deep/dirlink", "was folder/dirlink", "was folder/sub/dirlink"} {
		must(t, os.Symlink(o.dir, in(p)))
		must(t, os.Symlink(o.secret, in(p+" file")))
		must(t, os.Link(o.secret, in(p+" hard")))
		must(t, os.Symlink("../../../../../../outside", in(p+strconv.Itoa(i))))
	}
	out := run(t, r, snap, restore.Options{Target: o.target, Delete: true})
	mustBeFine(t, out)
	o.mustBeUntouched(t)
	mustMatch(t, in("d"), []entry{textFile("keep", "x")})
	t.Logf("deleted %d entries, 20 of them links out of the target", out.Deleted)
}

// An attacker swaps folders and files of the target for links out of it, as fast as it goes, while restores update
// and delete there.
func TestEscape_RacingSwaps_NothingOutsideIsTouched(t *testing.T) {
	seed := testrand.Seed(t)
	o := newOutside(t)
	must(t, os.MkdirAll(filepath.Join(o.dir, "deep", "deep"), 0o755))
	r, _ := testrepo.New(t)
	var entries []entry
	for i := range 12 {
		d := testrepo.Random(uint64(i), 8<<10)
		entries = append(entries, dir(fmt.Sprintf("d%02d", i), textFile("secret", "planted"), dir("deep", textFile("secret", "planted")), file("long", chunks(d[:4<<10], d[4<<10:])...)))
	}
	snap := commit(t, r, entries...)
	root, err := os.OpenRoot(o.target)
	must(t, err)
	defer root.Close()
	var stop atomic.Bool
	var swaps atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		rnd := rand.New(rand.NewPCG(seed, 1))
		for !stop.Load() {
			// All below the target's root, so that the attacker changes nothing outside through a link of its own.
			d := fmt.Sprintf("d%02d", rnd.IntN(12))
			names := []string{d, d + "/secret", d + "/deep", d + "/long", d + "/extra", d + "/extra/more"}
			p := names[rnd.IntN(len(names))]
			to := []string{o.dir, o.secret}[rnd.IntN(2)]
			aside := fmt.Sprintf("aside%d", swaps.Load())
			if root.Rename(p, aside) == nil && root.Symlink(to, p) == nil {
				swaps.Add(1)
				if rnd.IntN(2) == 0 {
					_ = root.Remove(p)
					_ = root.Rename(aside, p)
				}
			}
			_ = root.MkdirAll(d+"/extra/more", 0o755)
			_ = root.WriteFile(d+"/extra/more/x", nil, 0o600)
		}
	}()
	restores, least := 0, sized(20, 5)
	var failed uint64
	for end := time.Now().Add(time.Minute); restores < least || swaps.Load() < 100 && time.Now().Before(end); restores++ {
		out := run(t, r, snap, restore.Options{Target: o.target, Delete: restores%2 == 1, Overwrite: restore.Overwrite(restores % 4)})
		if out.err != nil && !errors.Is(out.err, syscall.ENOENT) {
			t.Fatal(out.err)
		}
		failed += out.Errors
	}
	stop.Store(true)
	<-done
	if n, err := os.ReadDir(filepath.Join(o.dir, "deep")); err != nil || len(n) != 1 {
		t.Errorf("a folder outside has lost or got something: %v, %v", n, err)
	}
	must(t, os.RemoveAll(filepath.Join(o.dir, "deep")))
	o.mustBeUntouched(t)
	if swaps.Load() == 0 {
		t.Fatal("nothing was swapped, so nothing was shown")
	}
	t.Logf("%d swaps during %d restores, %d entries failed, nothing outside was touched", swaps.Load(), restores, failed)
}

func TestEscape_SetuidOfAnotherOwner_IsNotThatOfTheUser(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	r, _ := testrepo.New(t)
	root := func(n *tree.Node) { n.UID, n.GID, n.Mode = 0, 0, 0o6755 }
	d := testrepo.Random(1, 200<<10)
	entries := []entry{textFile("small", "#!/bin/sh").with(root), file("long", chunks(d[:100<<10], d[100<<10:])...).with(root)}
	snap := commit(t, r, entries...)
	target := filepath.Join(t.TempDir(), "target")
	for i := range 4 { // new, unchanged, changed, and where a setuid file of the user is
		for _, e := range entries {
			path := filepath.Join(target, e.Name)
			if i >= 2 {
				must(t, os.WriteFile(path, []byte("changed"), 0o755))
			}
			if i == 3 {
				must(t, os.Chmod(path, 0o755|os.ModeSetuid|os.ModeSetgid))
			}
		}
		out := run(t, r, snap, restore.Options{Target: target})
		if out.err != nil || len(out.errors) > 0 || len(out.Omitted) == 0 {
			t.Fatalf("error %v, errors %v, result %+v", out.err, out.errors, out.Result)
		}
		for _, e := range entries {
			if st := stat(t, filepath.Join(target, e.Name)); st.Mode&0o6000 != 0 || st.Uid != uid {
				t.Errorf("round %d: %s has mode %#o and owner %d", i, e.Name, st.Mode, st.Uid)
			}
		}
	}
}

func TestEscape_DeviceNodesAndFIFOsInTheWay_AreNeverOpened(t *testing.T) {
	needRoot(t)
	o := newOutside(t)
	r, _ := testrepo.New(t)
	d := testrepo.Random(1, 200<<10)
	entries := []entry{file("zero", chunks(d[:100<<10], d[100<<10:])...), textFile("fifo", "x"), textFile("small", "x")}
	snap := commit(t, r, entries...)
	for _, del := range []bool{false, true} {
		for _, name := range []string{"zero", "fifo", "small", "extra"} {
			_ = os.Remove(filepath.Join(o.target, name))
			kind, dev := uint32(syscall.S_IFCHR), 1<<8|5
			if name == "fifo" {
				kind, dev = syscall.S_IFIFO, 0
			}
			if name != "extra" || del {
				must(t, syscall.Mknod(filepath.Join(o.target, name), kind|0o666, dev))
			}
		}
		mustBeFine(t, run(t, r, snap, restore.Options{Target: o.target, Delete: del, Verify: true}))
		mustMatch(t, o.target, entries)
	}
	o.mustBeUntouched(t)
}

func TestEscape_EightExbibytes_CostNoSpaceAndNoTime(t *testing.T) {
	r, _ := testrepo.New(t)
	entries := []entry{file("huge", hole(math.MaxInt64)), file("tail", part{data: []byte("x")}, hole(math.MaxInt64-1)), textFile("ok", "fine")}
	snap := commit(t, r, entries...)
	target := t.TempDir()
	for _, o := range []restore.Options{{}, {Delete: true}, {Overwrite: restore.OverwriteIfChanged, Sparse: true}} {
		o.Target = target
		out := run(t, r, snap, o)
		if out.err != nil || out.Files+out.Skipped+out.Errors != 3 {
			t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
		}
		mustHave(t, filepath.Join(target, "ok"), []byte("fine"))
		var fs syscall.Stat_t
		for _, name := range []string{"huge", "tail"} {
			if syscall.Lstat(filepath.Join(target, name), &fs) == nil && fs.Blocks > 1000 {
				t.Errorf("%s takes %d blocks", name, fs.Blocks)
			}
		}
	}
}

// bomb is a folder of folders that are all the same page, levels deep: width to the power of levels entries
// from a few pages.
func bomb(t *testing.T, r *repo.Repository, width, levels int) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	page := saveFolder(t, s, []entry{textFile("f", "x")})
	for range levels {
		var all []entry
		for i := range width {
			d := dir(fmt.Sprintf("%06d", i))
			d.page = page
			all = append(all, d)
		}
		page = saveFolder(t, s, all)
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: page[:]}})
	must(t, err)
	return snap
}

func TestEscape_TreeBomb_TakesBoundedMemoryAndCanBeStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory, which the race detector multiplies")
	}
	r, _ := testrepo.New(t)
	snap := bomb(t, r, 20_000, 30) // 10^129 files
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var peak, base runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	items := 0
	_, err := restore.Run(ctx, r, snap, restore.Options{Target: t.TempDir(), DryRun: true}, restore.Events{Item: func(restore.Item) {
		if items++; items == 30_000 {
			runtime.GC()
			runtime.ReadMemStats(&peak)
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || items < 30_000 {
		t.Fatalf("%v after %d items", err, items)
	}
	if grown := int64(peak.HeapAlloc) - int64(base.HeapAlloc); grown > 150<<20 { // some 55 alone; more where tests before it have left work behind
		t.Errorf("takes %d MiB", grown>>20)
	} else {
		t.Logf("%d items of a tree bomb took %d MiB", items, grown>>20)
	}
}

func TestEscape_WideFolders_AreRestoredInTurns(t *testing.T) {
	r, _ := testrepo.New(t)
	wide := testrepo.Random(7, 4000)
	var entries []entry
	wideFolders := sized(5000, 1000)
	for i := range wideFolders { // with attributes that make a folder large in memory
		entries = append(entries, dir(fmt.Sprintf("%05d", i)).with(func(n *tree.Node) {
			n.XAttrs = []tree.XAttr{{Name: "user.a", Value: wide}, {Name: "user.b", Value: wide}}
		}))
	}
	snap := commit(t, r, entries...)
	out := run(t, r, snap, restore.Options{Target: filepath.Join(t.TempDir(), "none"), DryRun: true})
	mustBeFine(t, out)
	if out.Dirs != uint64(wideFolders) {
		t.Errorf("result %+v", out.Result)
	}
}

// A segment that unpacks to more than its directory says, or to gigabytes, is damage and costs the memory that was said.
func TestEscape_ZstdBomb_IsDamage(t *testing.T) {
	r, store := testrepo.New(t)
	claimed := testrepo.Random(3, 100<<10)
	id, sid := r.BlobID(object.DataBlob, claimed), object.SessionID{43}
	bombs := 0
	for _, size := range []int64{1 << 20, 128 << 20} {
		sid[1]++
		obj, ref, dir := forgePack(t, r, sid, zstdBomb(t, size), id, uint32(len(claimed)))
		must(t, store.Put(t.Context(), ref.Name(), obj))
		var seg index.Segment
		must(t, seg.AddPack(ref, int64(len(obj)), dir))
		segments, err := r.PutIndex(t.Context(), sid, &seg)
		must(t, err)
		_, err = r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
			return &log.Entry{Kind: log.KindCollect, Session: sid, Add: []log.PackRef{{Ref: ref, Size: int64(len(obj))}}, Index: segments}, nil
		})
		must(t, err)
		bombs++
	}
	snap := commit(t, r, file("f", part{data: claimed}), textFile("ok", "x"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	target := t.TempDir()
	out := run(t, r, snap, restore.Options{Target: target})
	runtime.ReadMemStats(&after)
	if out.err != nil || out.Damaged != 1 || out.Files != 1 {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	mustNotExist(t, filepath.Join(target, "f"))
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("allocated %d MiB", took>>20)
	}
	t.Logf("%d bombs refused", bombs)
}

// zstdBomb is a frame of so many zeros.
func zstdBomb(t *testing.T, size int64) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	must(t, err)
	_, err = io.CopyN(w, zeroReader{}, size)
	must(t, errors.Join(err, w.Close()))
	return out.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// forgePack makes a pack of one segment that was never decoded: as if it had been carried from another pack.
func forgePack(t *testing.T, r *repo.Repository, sid object.SessionID, stored []byte, id object.BlobID, length uint32) ([]byte, object.Ref, *pack.Directory) {
	secret, err := r.Keys().NewSecret(seal.Data)
	must(t, err)
	origin, key, err := secret.NewOrigin()
	must(t, err)
	ciphertext := key.Seal(nil, 0, stored)
	b, err := pack.NewBuilder(r.Keys(), object.DataPack, sid, nil, pack.Options{}, nil)
	must(t, err)
	must(t, b.Carry(origin, pack.Segment{
		Coding: pack.Zstd, Stored: uint32(len(ciphertext)), Plain: length, IDs: []object.BlobID{id}, Lengths: []uint32{length},
	}, ciphertext))
	obj, ref, dir, err := b.Finish(false)
	must(t, err)
	return obj, ref, dir
}
