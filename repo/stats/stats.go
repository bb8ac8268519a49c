package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/records"
	"github.com/kura-backup/kura/tree"
)

// Raw is what a repository takes.
type Raw struct {
	Packs  int
	Stored int64  // bytes of the live packs
	Blobs  uint64 // different ones in them
	Plain  uint64 // bytes of these blobs, before compression

	Deltas      uint64 // of these blobs, those that are stored as deltas of others
	DeltaPlain  uint64 // of Plain, that of these
	DeltaStored uint64 // of Stored, what they take

	Groups     int // objects of parity across packs, which come on top of the packs
	GroupBytes int64

	Verified     int64 // of Stored, in packs that were read and found whole since the time asked for
	EverVerified int64 // or ever
}

// Total is the bytes of packs and groups.
func (r *Raw) Total() int64 { return r.Stored + r.GroupBytes }

// Ratio is how many bytes of content one stored byte stands for; 0 without any.
func (r *Raw) Ratio() float64 {
	if r.Total() == 0 {
		return 0
	}
	return float64(r.Plain) / float64(r.Total())
}

// OfRepository counts the live packs and the groups of parity across packs, and what was verified since a time.
func OfRepository(ctx context.Context, r *repo.Repository, since, now time.Time) (*Raw, error) {
	ix, err := r.Index(ctx)
	if err != nil {
		return nil, err
	}
	raw := &Raw{Packs: len(r.State().Packs)}
	for e, err := range ix.All(ctx) {
		if err != nil {
			return nil, err
		}
		raw.Blobs++
		at := &e.Places[0] // the least deep
		raw.Plain += uint64(at.Length)
		if at.Depth > 0 {
			raw.Deltas++
			raw.DeltaPlain += uint64(at.Length)
			raw.DeltaStored += uint64(at.Stored)
		}
	}
	noted, err := records.Load(ctx, r, now)
	if err != nil {
		return nil, err
	}
	raw.Verified, raw.Stored = noted.Verified.Share(r, since)
	raw.EverVerified, _ = noted.Verified.Share(r, time.Unix(0, 0))
	for info, err := range r.Store().List(ctx, object.ParityPrefix, "") {
		if err != nil {
			return nil, err
		}
		raw.Groups++
		raw.GroupBytes += info.Size
	}
	return raw, nil
}

// Restored is what restoring snapshots would write.
type Restored struct {
	Snapshots int
	Files     uint64 // hard links of one file count once
	Entries   uint64 // files, folders and all else
	Bytes     uint64
}

// OfSnapshots counts what restoring each of the snapshots would write, but for those that can not be opened. step is called after each.
func OfSnapshots(ctx context.Context, r *repo.Repository, list []*repo.Snapshot, step func(done, total uint64)) (*Restored, error) {
	c := &counter{r: r, plain: map[object.BlobID]sums{}}
	total := &Restored{}
	for i, s := range list {
		if s.Err != nil {
			continue
		}
		root, err := s.RootID()
		if err != nil {
			return nil, &repo.DamageError{Object: object.LogName(s.Entry.N), Err: err}
		}
		c.linked = map[link]struct{}{}
		n, _, err := c.dir(ctx, root, 0, 0)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", s.ID.Short(), err)
		}
		total.Snapshots++
		total.Files += n.files
		total.Entries += n.entries
		total.Bytes += n.bytes
		step(uint64(i+1), uint64(len(list)))
	}
	return total, nil
}

type sums struct{ files, entries, bytes uint64 }

func (s *sums) add(o sums) {
	s.files += o.files
	s.entries += o.entries
	s.bytes += o.bytes
}

// link is a file that has several names: by its inode and the mount it is on.
type link struct{ mount, inode uint64 }

type counter struct {
	r      *repo.Repository
	plain  map[object.BlobID]sums // folders without hard links in and below them
	linked map[link]struct{}      // of the snapshot that is counted
	mounts uint64
}

// maxNesting bounds how deep folders are followed.
const maxNesting = 10_000

// dir counts a folder on a mount. links reports whether files in it have further names: then it can not be
// counted without looking at it each time.
func (c *counter) dir(ctx context.Context, id object.BlobID, mount uint64, depth int) (total sums, links bool, err error) {
	if known, ok := c.plain[id]; ok {
		return known, false, nil
	}
	if depth > maxNesting {
		return total, false, &repo.DamageError{Blob: id, Err: tree.ErrTooDeep}
	}
	for n, err := range tree.ReadDir(ctx, id, c.r.LoadTree) {
		if err != nil {
			return total, false, err
		}
		total.entries++
		switch {
		case n.Type == tree.File && n.Links > 1:
			links = true
			l := link{mount, n.Inode}
			if _, seen := c.linked[l]; seen {
				continue
			}
			c.linked[l] = struct{}{}
			fallthrough
		case n.Type == tree.File:
			total.add(sums{files: 1, bytes: uint64(n.Size)})
		case n.Type == tree.Folder && !n.Subtree.IsZero():
			on := mount
			if n.Mount {
				c.mounts++
				on = c.mounts
			}
			below, has, err := c.dir(ctx, n.Subtree, on, depth+1)
			if err != nil {
				return total, false, err
			}
			total.add(below)
			links = links || has
		}
	}
	if !links {
		c.plain[id] = total
	}
	return total, links, nil
}
