package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/longlock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Parity across packs. A group's object has the XOR of up to 16 packs, and brings back any one of them.
// Groups are advisory: no entry names them, nothing is decided by them, and one that is lost costs
// only what it would have brought back.

// GroupObject is a group of packs as a listing and the object's beginning show it.
type GroupObject struct {
	Ref     object.Ref
	Size    int64
	Members []parity.Member
}

// maxGroupHead is more than header and members of any group take.
const maxGroupHead = seal.HeaderSize + 4096

// maxGroup is more than any group takes: its sum is as long as its longest member.
const maxGroup = maxGroupHead + pack.MaxPackSize + seal.Overhead

// Groups lists the groups of the repository, in the order of their names. One that is damaged so that its
// members can not be told is left out.
func (r *Repository) Groups(ctx context.Context) ([]GroupObject, error) {
	for try := 1; ; try++ {
		out, gone, err := r.listGroups(ctx)
		if err != nil || !gone || try == groupTries {
			return out, err
		}
	}
}

// groupTries is how often groups are listed while a collector is at them.
const groupTries = 4

// listGroups is Groups, once. gone says that a group was deleted meanwhile: the one in its place may not have been
// listed.
func (r *Repository) listGroups(ctx context.Context) (out []GroupObject, gone bool, _ error) {
	for info, err := range r.store.List(ctx, object.ParityPrefix, "") {
		if err != nil {
			return nil, false, err
		}
		ref, err := object.ParseRef(info.Name)
		if err != nil {
			continue
		}
		if info.Size > maxGroup {
			continue
		}
		head, err := r.store.Get(ctx, info.Name, 0, min(info.Size, maxGroupHead), nil)
		if errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrRange) {
			gone = true
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if members, _, err := groupMembers(head); err == nil {
			out = append(out, GroupObject{ref, info.Size, members})
		}
	}
	return out, gone, nil
}

// groupMembers reads the members from the beginning of a group's object, and says where the sum begins.
func groupMembers(head []byte) ([]parity.Member, int, error) {
	h, err := seal.ParseHeader(head)
	if err != nil {
		return nil, 0, err
	}
	end := seal.HeaderSize + int(h.ClearLength)
	if h.Class != object.Parity || end > len(head) {
		return nil, 0, errors.New("not the beginning of a group's object")
	}
	members, err := parity.DecodeMembers(head[seal.HeaderSize:end])
	return members, end, err
}

// LoadGroup reads a group and verifies it against the hash in its name. One that is missing or is not
// what was written is a DamageError.
func (r *Repository) LoadGroup(ctx context.Context, ref object.Ref) (*parity.Group, error) {
	obj, err := r.FetchRange(ctx, ref, 0, -1, nil)
	if err != nil {
		return nil, err
	}
	if object.Sum(obj) != ref.Hash {
		return nil, &DamageError{Object: ref.Name(), Err: ErrHash}
	}
	members, at, err := groupMembers(obj)
	if err == nil && len(obj) < at+seal.Overhead {
		err = errors.New("too short")
	}
	if err != nil {
		return nil, &DamageError{Object: ref.Name(), Err: err}
	}
	g := &parity.Group{Members: members, Sum: obj[at : len(obj)-seal.Overhead]}
	if err := g.Check(); err != nil {
		return nil, &DamageError{Object: ref.Name(), Err: err}
	}
	return g, nil
}

// PutGroup stores a group under the name of the session. It is durable when PutGroup returns.
func (r *Repository) PutGroup(ctx context.Context, sid object.SessionID, g *parity.Group) (GroupObject, error) {
	if err := g.Check(); err != nil {
		return GroupObject{}, err
	}
	clear, err := parity.EncodeMembers(g.Members)
	if err != nil {
		return GroupObject{}, err
	}
	env, err := r.Keys().NewEnvelope(object.Parity, clear, seal.BindRepo(r.Keys().RepoID()))
	if err != nil {
		return GroupObject{}, err
	}
	obj := slices.Concat(env.Header(), g.Sum)
	obj = env.SealPart(obj, 0, nil)
	ref := object.Ref{Class: object.Parity, Session: sid, Hash: object.Sum(obj)}
	return GroupObject{ref, int64(len(obj)), slices.Clone(g.Members)}, putObject(ctx, r.store, ref.Name(), obj)
}

// groupIndex knows which groups a pack is in, as of one state of the log. It is safe for concurrent use.
type groupIndex struct {
	mu     longlock.Mutex
	state  *log.State
	byPack map[object.Ref][]object.Ref
}

// forget makes the next look-up list the groups again, which a collector may have replaced without any entry.
func (x *groupIndex) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state, x.byPack = nil, nil
}

// of returns the groups that a pack is in.
func (x *groupIndex) of(ctx context.Context, r *Repository, ref object.Ref) ([]object.Ref, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if st := r.State(); x.state != st {
		groups, err := r.Groups(ctx)
		if err != nil {
			return nil, err
		}
		x.state, x.byPack = st, map[object.Ref][]object.Ref{}
		for _, g := range groups {
			for _, m := range g.Members {
				x.byPack[m.Ref] = append(x.byPack[m.Ref], g.Ref)
			}
		}
	}
	return x.byPack[ref], nil
}

// errNoGroup says that a pack can not be rebuilt from others.
var errNoGroup = errors.New("no group of packs has it")

// rebuild makes a pack from the other members of a group that it is in. The members are read one by one,
// and each may itself be mended by its own parity, but not by another group.
func (r *Repository) rebuild(ctx context.Context, ref object.Ref) ([]byte, error) {
	obj, err := r.rebuildOnce(ctx, ref)
	if errors.Is(err, backends.ErrNotExist) {
		// The group itself may be what is missing: a collector puts a new one before it deletes the old.
		r.groups.forget()
		obj, err = r.rebuildOnce(ctx, ref)
	}
	return obj, err
}

func (r *Repository) rebuildOnce(ctx context.Context, ref object.Ref) ([]byte, error) {
	groups, err := r.groups.of(ctx, r, ref)
	if err != nil {
		return nil, err
	}
	failed := errNoGroup
	for _, name := range groups {
		g, err := r.LoadGroup(ctx, name)
		if err == nil {
			var buf []byte
			var obj []byte
			obj, err = g.Rebuild(ref, func(m parity.Member) ([]byte, error) {
				var err error
				buf, _, err = r.loadMended(ctx, m.Ref, m.Size, buf)
				return buf, err
			})
			if err == nil {
				return obj, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !isDamage(err) {
			return nil, err
		}
		failed = fmt.Errorf("by group %v: %w", name, err)
	}
	return nil, failed
}

// isDamage reports whether err says that stored data is not what was written, and not that the store
// failed.
func isDamage(err error) bool {
	return errors.As(err, new(*DamageError)) || errors.Is(err, parity.ErrBeyond) || errors.Is(err, parity.ErrMember) || errors.Is(err, parity.ErrInvalid)
}

// grouper makes groups of the packs that a session stores. It is safe for concurrent use.
type grouper struct {
	r   *Repository
	sid object.SessionID

	mu   sync.Mutex
	open parity.Group // of packs of both classes: then a small session has one group and not two
}

// add adds a pack that is stored. A full group is stored before add returns: what is in flight stays
// bounded.
func (g *grouper) add(ctx context.Context, ref object.Ref, obj []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.open.Add(ref, obj); err != nil {
		return err
	}
	if len(g.open.Members) < parity.MaxMembers {
		return nil
	}
	return g.put(ctx)
}

// put stores the open group, whose memory the next one uses.
func (g *grouper) put(ctx context.Context) error {
	if _, err := g.r.PutGroup(ctx, g.sid, &g.open); err != nil {
		return err
	}
	g.open.Members, g.open.Sum = nil, g.open.Sum[:0]
	return nil
}

// close stores the open group.
func (g *grouper) close(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.open.Members) == 0 {
		return nil
	}
	return g.put(ctx)
}
