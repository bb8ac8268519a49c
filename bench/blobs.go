package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// The benchmark of many blobs: what opening, an unchanged backup and a prune need when the index is large.
//
// The repository is a real one, made through a session, but for what its files hold: each blob is 64 random bytes,
// so that millions of them take hundreds of megabytes. Files of 10 such blobs are on the disk, sparse, and were
// backed up; then each file's content in the snapshot is replaced by 10 blobs of its own. A backup after that finds
// all files unchanged, and relies on every blob. Besides them there are a tenth as many blobs that only
// snapshots need which are forgotten, in segments of their own or at the ends of those of others.
const (
	blobBytes  = 64
	fileBlobs  = 10
	folderSize = 1000    // files
	partBlobs  = 1 << 20 // in one session
	burstBlobs = 300_000 // after so many there are a tenth as many that will be garbage
)

// benchBlobs measures kura alone, and prints what came out.
func benchBlobs(ctx context.Context, o *options) (err error) {
	work, err := os.MkdirTemp(o.work, "kura-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b := &blobBench{o: o, work: work, data: filepath.Join(work, "data"), repo: filepath.Join(work, "repo")}
	if b.kura, err = filepath.Abs(o.programs["kura"]); err != nil {
		return err
	}
	note("%d files of %d blobs each", b.files(), fileBlobs)
	if err := b.makeFiles(); err != nil {
		return err
	}
	for _, f := range describeMachine(work) {
		fmt.Printf("%s: %s\n", f.name, f.value)
	}
	fmt.Printf("%-42s %10s %10s %10s\n", "step", "wall", "CPU", "RssAnon")
	for _, s := range []blobStep{
		{name: "init", args: []string{"init"}},
		{name: "first backup, of sparse files", args: []string{"backup", b.data}},
		{name: "", do: b.generate},
		{name: "snapshots, cold cache", args: []string{"snapshots"}, cold: true},
		{name: "unchanged backup, cold cache", args: []string{"backup", b.data}, cold: true},
		{name: "unchanged backup", args: []string{"backup", b.data}},
		{name: "", do: b.sameRoot},
		{name: "forget", args: []string{"forget", "--host", generatedHost, "--unsafe-allow-remove-all"}},
		{name: "prune --dry-run", args: []string{"prune", "--dry-run"}},
		{name: "prune, cold cache", args: []string{"prune"}, cold: true},
		{name: "unchanged backup after it", args: []string{"backup", b.data}},
		{name: "prune with nothing to do", args: []string{"prune"}},
		{name: "", do: b.sameRoot},
		{name: "check", args: []string{"check", "--read-data"}},
	} {
		if err := b.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// blobStep is a run of kura, or something else that is not measured.
type blobStep struct {
	name string
	args []string
	cold bool // whether the cache is removed before
	do   func(context.Context) error
}

type blobBench struct {
	o                      *options
	kura, work, data, repo string
	root                   []byte // of the snapshot that was generated
}

const generatedHost = "generated"

func (b *blobBench) files() int { return b.o.blobs / fileBlobs }

func (b *blobBench) step(ctx context.Context, s blobStep) error {
	if s.do != nil {
		return s.do(ctx)
	}
	cache := filepath.Join(b.work, "cache")
	if s.cold {
		if err := os.RemoveAll(cache); err != nil {
			return err
		}
	}
	u, err := measure(ctx, call{
		program: b.kura, args: append([]string{"-r", b.repo, "--cache-dir", cache}, s.args...), dir: b.work,
		env:    []string{"KURA_PASSWORD=" + password, "HOME=" + b.work, "PATH=" + os.Getenv("PATH")},
		stderr: filepath.Join(b.work, "stderr"),
	})
	if err != nil {
		return err
	}
	fmt.Printf("%-42s %9.1fs %9.1fs %6d MiB\n", s.name, u.wall.Seconds(), u.cpu.Seconds(), u.anon>>20)
	return nil
}

// makeFiles makes the files, as sparse ones.
func (b *blobBench) makeFiles() error {
	for i := range b.files() {
		folder := filepath.Join(b.data, fmt.Sprintf("%06d", i/folderSize))
		if i%folderSize == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		path := filepath.Join(folder, fmt.Sprintf("%04d", i%folderSize))
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(fileBlobs*blobBytes), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (b *blobBench) open(ctx context.Context) (*repo.Repository, func() error, error) {
	store, err := local.Open(b.repo)
	if err != nil {
		return nil, nil, err
	}
	r, err := repo.Open(ctx, store, repo.OpenOptions{Credential: seal.Passphrase([]byte(password))})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return r, func() error { return errors.Join(r.Close(), store.Close()) }, nil
}

// generate makes the snapshot in which each file has blobs of its own.
func (b *blobBench) generate(ctx context.Context) (err error) {
	start := time.Now()
	r, done, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	first, err := newest(ctx, r)
	if err != nil {
		return err
	}
	g := &blobMaker{r: r, like: first, rng: rand.NewChaCha8([32]byte{byte(b.o.seed)})}
	if b.root, err = g.run(ctx); err != nil {
		return err
	}
	note("%d blobs made in %v, in %d packs", g.made, time.Since(start).Round(time.Second), len(r.State().Packs))
	return nil
}

// sameRoot fails unless the newest snapshot is as the one that was generated.
func (b *blobBench) sameRoot(ctx context.Context) (err error) {
	r, done, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := newest(ctx, r)
	if err == nil && !slices.Equal(s.Root, b.root) {
		err = errors.New("the backup did not find everything unchanged: its numbers say nothing")
	}
	return err
}

func newest(ctx context.Context, r *repo.Repository) (*repo.Snapshot, error) {
	s, _, err := r.FindSnapshot(ctx, "latest", repo.SnapshotFilter{})
	return s, err
}

// blobMaker copies a snapshot, with other content.
type blobMaker struct {
	r    *repo.Repository
	like *repo.Snapshot
	rng  *rand.ChaCha8

	s      *repo.Session
	made   int                 // blobs, of all sessions
	part   int                 // of this one
	burst  int                 // since the last that will be garbage
	dead   *tree.ContentWriter // of these in this session
	deads  int64
	copied []tree.Node // folders that are done in this session
}

func (g *blobMaker) run(ctx context.Context) (root []byte, err error) {
	if err := g.begin(ctx); err != nil {
		return nil, err
	}
	node, err := g.like.RootNode()
	if err != nil {
		return nil, err
	}
	id, err := g.folder(ctx, node.Subtree)
	if err != nil {
		return nil, err
	}
	if err := g.commitPart(ctx); err != nil {
		return nil, err
	}
	if err := g.begin(ctx); err != nil {
		return nil, err
	}
	m := g.like.Manifest
	m.Root, m.Time, m.End = id[:], m.Time+int64(time.Second), m.End+int64(time.Second)
	if !g.s.Rely(id) {
		return nil, errors.New("the topmost folder is not stored")
	}
	_, err = g.s.Commit(repo.CommitOptions{Manifest: &m})
	return m.Root, err
}

func (g *blobMaker) save(_ context.Context, page []byte) (object.BlobID, error) {
	saved, err := g.s.SaveNow(object.TreeBlob, page)
	return saved.ID, err
}

func (g *blobMaker) begin(ctx context.Context) (err error) {
	if err := g.r.Refresh(ctx); err != nil {
		return err
	}
	g.s, err = g.r.NewSession(ctx, repo.SessionOptions{Compression: repo.Compression{Off: true}, Host: generatedHost})
	g.part, g.deads, g.copied = 0, 0, nil
	g.dead = tree.NewContentWriter(g.save)
	return err
}

// folder copies a folder.
func (g *blobMaker) folder(ctx context.Context, id object.BlobID) (object.BlobID, error) {
	w := tree.NewDirWriter(g.save)
	for n, err := range tree.ReadDir(ctx, id, g.r.LoadTree) {
		if err != nil {
			return id, err
		}
		node := *n
		switch {
		case node.Type == tree.Folder && !node.Subtree.IsZero():
			if node.Subtree, err = g.folder(ctx, node.Subtree); err != nil {
				return id, err
			}
			g.copied = append(g.copied, node)
			if g.part >= partBlobs {
				if err := g.commitPart(ctx); err != nil {
					return id, err
				}
				if err := g.begin(ctx); err != nil {
					return id, err
				}
			}
		case node.Type == tree.File && node.Size == fileBlobs*blobBytes:
			node.Content, node.Pages = tree.Content{}, nil
			for range fileBlobs {
				e, err := g.blob()
				if err != nil {
					return id, err
				}
				node.Content.Append(e)
			}
			if err := g.garbage(ctx); err != nil {
				return id, err
			}
		}
		if err := w.Add(ctx, &node); err != nil {
			return id, err
		}
	}
	return w.Finish(ctx)
}

// blob stores a new blob.
func (g *blobMaker) blob() (tree.Extent, error) {
	var b [blobBytes]byte
	_, _ = g.rng.Read(b[:]) // never fails
	saved, err := g.s.SaveNow(object.DataBlob, b[:])
	g.made++
	g.part++
	g.burst++
	return tree.Extent{Kind: tree.Data, ID: saved.ID, Length: blobBytes}, err
}

// garbage stores blobs that will be garbage, now and then.
func (g *blobMaker) garbage(ctx context.Context) error {
	if g.burst < burstBlobs {
		return nil
	}
	for range burstBlobs / 10 {
		e, err := g.blob()
		if err != nil {
			return err
		}
		if err := g.dead.Add(ctx, e); err != nil {
			return err
		}
		g.deads += blobBytes
	}
	g.burst = 0
	return nil
}

// commitPart commits a snapshot of what is done in this session, and of what will be garbage. It is forgotten
// later.
func (g *blobMaker) commitPart(ctx context.Context) error {
	dead := tree.Node{Name: "\xff", Type: tree.File, Mode: 0o644, Size: g.deads}
	if err := g.dead.Finish(ctx, &dead); err != nil {
		return err
	}
	root, err := tree.WriteDir(ctx, append(g.copied, dead), g.save)
	if err != nil {
		return err
	}
	m := repo.Manifest{Time: g.like.Time, End: g.like.Time, Host: generatedHost, Paths: [][]byte{[]byte("/generated")}, Root: root[:]}
	_, err = g.s.Commit(repo.CommitOptions{Manifest: &m})
	return err
}
