package remote

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// gate decides what the far side may do. Everything that is not allowed in here is refused.
type gate struct {
	repo    *repo.Repository
	purpose Purpose

	putting  sync.Mutex // held while an entry of the log is looked at and put
	decoding sync.Mutex // held while any other object is decoded, which can take far more memory than its bytes

	mu        sync.Mutex
	segments  map[object.Ref]struct{}          // of the index, that were put and are right
	partials  map[object.SessionID]object.Hash // those whose entries got as far as a put, with the sums of their manifests
	entries   int                              // that were put
	snapshots []object.SessionID
}

func denied(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDenied, fmt.Sprintf(format, args...))
}

// get says whether an object may be read.
func (g *gate) get(name string) error {
	switch {
	case name == object.ConfigName, name == object.ConfigCopyName,
		strings.HasPrefix(name, object.LogPrefix), strings.HasPrefix(name, object.CheckpointsPrefix):
		return nil
	}
	if _, _, err := object.ParseSignName(name); err == nil && g.purpose.writes() {
		return nil
	}
	ref, err := object.ParseRef(name)
	if err != nil {
		return denied("reading %s", name)
	}
	switch {
	case g.purpose == Restore && (ref.Class.IsPack() || ref.Class == object.Parity):
		return nil
	case g.purpose == Update && ref.Class == object.TreePack:
		return nil
	case g.purpose.writes() && g.repo.State().Open(ref.Session): // to adopt it, or to see what became of a put
		return nil
	}
	return denied("reading %s", name)
}

// list says whether names may be listed.
func (g *gate) list(prefix string) error {
	allowed := []string{object.LogPrefix, object.CheckpointsPrefix}
	if g.purpose.writes() {
		allowed = append(allowed, object.SessionsPrefix, object.DataPrefix, object.TreePrefix)
	} else {
		allowed = append(allowed, object.ParityPrefix)
	}
	if slices.ContainsFunc(allowed, func(p string) bool { return strings.HasPrefix(prefix, p) }) {
		return nil
	}
	return denied("listing %q", prefix)
}

// delete says whether an object may be deleted. A writer deletes nothing.
func (g *gate) delete(_ context.Context, name string) error { return denied("deleting %s", name) }

// put puts an object that a session makes: under a name that has the hash of its bytes, or that of a session, or as
// the next entry of the log.
func (g *gate) put(ctx context.Context, name string, data []byte) error {
	if !g.purpose.writes() {
		return denied("writing %s", name)
	}
	if n, err := object.ParseNumbered(object.LogPrefix, name); err == nil {
		return g.putEntry(ctx, n, data)
	}
	if sid, _, err := object.ParseSignName(name); err == nil {
		if !g.repo.State().Open(sid) || len(data) > maxSign {
			return denied("writing %s", name)
		}
		return g.repo.Store().Put(ctx, name, data)
	}
	ref, err := object.ParseRef(name)
	switch {
	case err != nil, ref.Class == object.Record:
		return denied("writing %s", name)
	case !g.repo.State().Open(ref.Session):
		return denied("writing %s: its session has ended", name)
	case object.Sum(data) != ref.Hash:
		return denied("writing %s: these are not its bytes", name)
	case ref.Class == object.Index:
		return g.putSegment(ctx, ref, data)
	}
	return g.repo.Store().Put(ctx, name, data)
}

// putSegment puts a segment of the index. One that can not be read would stop everybody.
func (g *gate) putSegment(ctx context.Context, ref object.Ref, data []byte) error {
	if err := g.checkSegment(data); err != nil {
		return denied("writing %s: %v", ref.Name(), err)
	}
	err := g.repo.Store().Put(ctx, ref.Name(), data)
	if err == nil || errors.Is(err, backends.ErrExist) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.segments == nil {
			g.segments = map[object.Ref]struct{}{}
		}
		g.segments[ref] = struct{}{}
	}
	return err
}

func (g *gate) checkSegment(data []byte) error {
	g.decoding.Lock()
	defer g.decoding.Unlock()
	body, _, _ := parity.Body(data)
	_, err := index.Decode(g.repo.Keys(), body)
	return err
}

// haveSegments says whether the segments that an entry names are there.
func (g *gate) haveSegments(ctx context.Context, named []log.PackRef) error {
	for _, p := range named {
		g.mu.Lock()
		_, put := g.segments[p.Ref]
		g.mu.Unlock()
		if put {
			continue
		}
		if _, err := g.repo.LoadIndexSegment(ctx, p.Ref); err != nil { // the answer to its put may have been lost
			return denied("an entry with %v: %v", p.Ref, err)
		}
	}
	return nil
}

// maxSign is more than a sign of life takes.
const maxSign = 4 << 10

// putEntry adds an entry to the log: one that adds a snapshot, was signed here, follows the last one, and counts.
func (g *gate) putEntry(ctx context.Context, n uint64, data []byte) error {
	g.putting.Lock()
	defer g.putting.Unlock()
	_, own := g.repo.Keys().Signer()
	var entry *log.Entry
	err := g.repo.Log().Add(ctx, n, data, func(rec *log.Record) error {
		if rec.Signer != own || rec.Entry.Kind != log.KindSnapshot {
			return denied("%v entry %d, signed by %x", rec.Entry.Kind, n, rec.Signer)
		}
		if err := g.haveSegments(ctx, rec.Entry.Index); err != nil {
			return err
		}
		if err := g.supersedes(rec.Entry); err != nil {
			return err
		}
		entry = rec.Entry
		return nil
	})
	if errors.Is(err, log.ErrRefused) {
		return denied("%v", err)
	}
	if entry != nil && !errors.Is(err, backends.ErrExist) { // also where nobody knows whether it is there
		g.mu.Lock()
		defer g.mu.Unlock()
		g.entries++
		if !entry.Partial {
			g.snapshots = append(g.snapshots, entry.Session)
		}
	}
	return err
}

// supersedes says whether an entry takes the place of partial snapshots of this gate alone: what was put for other hosts has the
// same signer, and its run is in the log. If the entry may be put it notes what that is.
func (g *gate) supersedes(e *log.Entry) error {
	st := g.repo.State()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range e.Supersede {
		sum, tried := g.partials[id]
		if s := st.Snapshots[id]; !tried || s == nil || object.Sum(s.Manifest.Ciphertext) != sum { // else somebody else was faster
			return denied("an entry in place of snapshot %s", id.Short())
		}
	}
	if e.Partial {
		if g.partials == nil {
			g.partials = map[object.SessionID]object.Hash{}
		}
		g.partials[e.Session] = object.Sum(e.Manifest.Ciphertext)
	}
	return nil
}

// settle does what a commit of one's own does behind the entry: it remembers how far the log goes, and writes a
// checkpoint where the key can. The far side can do neither. It returns the snapshots that were added.
func (g *gate) settle(ctx context.Context) []object.SessionID {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.entries == 0 || g.repo.Refresh(ctx) != nil {
		return g.snapshots
	}
	_ = g.repo.Log().MaybeCheckpoint(ctx) // without it the next opening takes longer
	st := g.repo.State()
	return slices.DeleteFunc(g.snapshots, func(id object.SessionID) bool { return st.Snapshots[id] == nil })
}

// sign signs an entry that adds a snapshot, as the next one of the log: a signature is good for nothing else, and for nothing
// any more when there is another entry. The error wraps repo.ErrMoved when there is one already.
func (g *gate) sign(ctx context.Context, class object.Class, binding, payload []byte) ([ed25519.SignatureSize]byte, error) {
	var none [ed25519.SignatureSize]byte
	if !g.purpose.writes() || class != object.LogEntry {
		return none, denied("signing what is of class %v", class)
	}
	n, prev, kind, err := g.header(payload)
	if err != nil {
		return none, denied("signing: %v", err)
	}
	if kind != log.KindSnapshot || n < 2 || string(binding) != string(seal.BindLog(g.repo.Keys().RepoID(), n, prev)) {
		return none, denied("signing a %v entry", kind)
	}
	if err := g.repo.Log().Refresh(ctx); err != nil {
		return none, err
	}
	switch st := g.repo.State(); {
	case n <= st.N:
		return none, fmt.Errorf("%w: there is entry %d", repo.ErrMoved, st.N)
	case n != st.N+1 || prev != st.Hash:
		return none, denied("signing entry %d, which does not follow entry %d", n, st.N)
	}
	return g.repo.Keys().Sign(class, binding, payload)
}

// header decodes an entry and returns what it is.
func (g *gate) header(payload []byte) (n uint64, prev object.Hash, kind log.Kind, err error) {
	g.decoding.Lock()
	defer g.decoding.Unlock()
	n, prev, e, err := log.DecodeEntry(payload)
	if err != nil {
		return 0, prev, 0, err
	}
	return n, prev, e.Kind, nil
}

// secret opens the secret of a session, which reads what it has stored.
func (g *gate) secret(kind seal.Kind, epoch uint32, sealed []byte) ([32]byte, error) {
	if !g.purpose.reads(kind) {
		return [32]byte{}, denied("reading what is of kind %v", kind)
	}
	return g.repo.Keys().SessionSecret(kind, epoch, sealed)
}

// check says whether the purpose is one.
func (p Purpose) check() error {
	if p < Backup || p > Update {
		return errors.New("remote: a command needs a purpose")
	}
	return nil
}
