package gc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

var scalePacks = flag.Int("gc.packs", 400, "packs of 16 blobs of a megabyte each in the test of scale, which prints the memory that planning takes")

const (
	scaleBlobs = 16 // in a pack
	scaleSize  = 1 << 20
)

// listedStore has packs that nobody stored.
type listedStore struct {
	backends.Store
	infos []backends.Info // sorted
}

func (s *listedStore) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	if prefix != object.DataPrefix {
		return s.Store.List(ctx, prefix, after)
	}
	return func(yield func(backends.Info, error) bool) {
		for _, info := range s.infos {
			if info.Name > after && !yield(info, nil) {
				return
			}
		}
	}
}

// scaleID is the id of a blob that is in no pack.
func scaleID(n int) object.BlobID {
	return object.BlobID(object.Sum(binary.LittleEndian.AppendUint64([]byte("blob"), uint64(n))))
}

// TestRun_ManyLargePacks_PlanIsRightInBoundedMemory plans for packs that are only listed. Of every tenth pack nothing is
// needed, of every tenth a half.
func TestRun_ManyLargePacks_PlanIsRightInBoundedMemory(t *testing.T) {
	inner, err := local.Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	r := testrepo.Init(t, inner)
	origin := scaleSnapshot(t, r)
	store := &listedStore{Store: inner, infos: scaleEntries(t, r, origin)}
	client := testrepo.Open(t, store)

	stop, peak := sampleMemory()
	before := anon()
	start := time.Now()
	res := run(t, client, gc.Options{DryRun: true, MaxUnused: -1})
	stop()
	t.Logf("%d packs, %d blobs: planned in %v, at most %d MiB RssAnon more than the %d MiB before",
		*scalePacks, *scalePacks*scaleBlobs, time.Since(start).Round(time.Millisecond), (*peak-before)>>20, before>>20)

	dead, half := 2, 0 // of the first snapshot there are a pack of data and one of folders
	for n := range *scalePacks {
		dead += b2i(n%10 == 3)
		half += b2i(n%10 == 7)
	}
	if res.PacksRepacked != half || res.PacksDropped != dead+half || res.BytesRepacked != int64(half)*scaleBlobs/2*(scaleSize+seal.Overhead) {
		t.Errorf("%d packs repacked, want %d; %d dropped, want %d; %d bytes", res.PacksRepacked, half, res.PacksDropped, dead+half, res.BytesRepacked)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// scaleSnapshot commits a snapshot of a file that has most of the blobs, and returns an origin.
func scaleSnapshot(t *testing.T, r *repo.Repository) *seal.Origin {
	first := testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10))
	_, dirs := newPacks(t, r, first)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := tree.NewContentWriter(func(_ context.Context, page []byte) (object.BlobID, error) {
		saved, err := s.SaveNow(object.TreeBlob, page)
		return saved.ID, err
	})
	file := tree.Node{Name: "f", Type: tree.File}
	for n := range *scalePacks * scaleBlobs {
		if p := n / scaleBlobs % 10; p == 3 || p == 7 && n%2 == 0 {
			continue
		}
		if err := w.Add(t.Context(), tree.Extent{Kind: tree.Data, ID: scaleID(n), Length: scaleSize}); err != nil {
			t.Fatal(err)
		}
		file.Size += scaleSize
	}
	if err := w.Finish(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	root := testrepo.Save(t, s, object.TreeBlob, page(t, file))[0]
	if _, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Paths: [][]byte{[]byte("/")}, Root: root[:]}}); err != nil {
		t.Fatal(err)
	}
	forget(t, r, first)
	return dirs[0].Origins[0]
}

// scaleEntries commits the packs, some thousands in an entry, and returns how a store would list them.
func scaleEntries(t *testing.T, r *repo.Repository, origin *seal.Origin) (infos []backends.Info) {
	like := slices.Collect(snapshotsOf(r))[0]
	for n := 0; n < *scalePacks; {
		var sid object.SessionID
		binary.BigEndian.PutUint64(sid[:], uint64(n)+1)
		var add, listed []log.PackRef
		var seg index.Segment
		for len(seg.Blobs)+scaleBlobs <= index.MaxBlobs && n < *scalePacks {
			ref := object.Ref{Class: object.DataPack, Session: sid, Hash: object.Sum([]byte(strconv.Itoa(n)))}
			dir := &pack.Directory{Origins: []*seal.Origin{origin}}
			offset := uint32(seal.HeaderSize)
			for k := range scaleBlobs {
				dir.Segments = append(dir.Segments, pack.Segment{
					Ordinal: uint64(n*scaleBlobs + k), Offset: offset, Stored: scaleSize + seal.Overhead, Plain: scaleSize,
					IDs: []object.BlobID{scaleID(n*scaleBlobs + k)}, Lengths: []uint32{scaleSize},
				})
				offset += scaleSize + seal.Overhead
			}
			size := int64(offset) + 2048
			if err := seg.AddPack(ref, size, dir); err != nil {
				t.Fatal(err)
			}
			add = append(add, log.PackRef{Ref: ref, Size: size})
			infos = append(infos, backends.Info{Name: ref.Name(), Size: size, ModTime: time.Now()})
			n++
		}
		listed, err := r.PutIndex(t.Context(), sid, &seg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
			return &log.Entry{Kind: log.KindSnapshot, Session: sid, Manifest: like.Manifest, Add: add, Index: listed}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(infos, func(a, b backends.Info) int { return strings.Compare(a.Name, b.Name) })
	return infos
}

// snapshotsOf are the live snapshots.
func snapshotsOf(r *repo.Repository) iter.Seq[*log.Snapshot] {
	return func(yield func(*log.Snapshot) bool) {
		for _, s := range r.State().Snapshots {
			if s.Live() && !yield(s) {
				return
			}
		}
	}
}

// anon is this process's RssAnon, 0 where it is not known.
func anon() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte("RssAnon:"))
	var kb int64
	_, _ = fmt.Sscan(string(rest), &kb)
	return kb << 10
}

// sampleMemory looks at RssAnon until stop is called; then peak is the largest.
func sampleMemory() (stop func(), peak *int64) {
	peak = new(int64)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			*peak = max(*peak, anon())
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	return func() { close(done); wg.Wait() }, peak
}
