package gc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
)

// keepGroups brings the groups of packs up to date, after the entry and before anything is deleted. A pack
// that goes is taken out of its group while it can still be read: the XOR of the group and the pack is
// that of the others. Groups with few members are merged, which takes only their sums. Live packs that are
// in no group are read and put into one. A repository without any groups gets some only with
// Options.Packing.Groups.
//
// Groups decide nothing, so any order is safe. New ones are stored before the old are deleted, which are
// deleted before the packs are: a run that dies in between leaves too many groups, and the next one
// deletes those whose packs are all in others.
func (c *collector) keepGroups(ctx context.Context) error {
	groups, err := c.r.Groups(ctx)
	c.countGroups(groups)
	if err != nil || len(groups) == 0 && !c.opts.Packing.Groups {
		return err
	}
	// Whoever shrunk one of these groups knew of the entry that dropped its packs. So must this run, or it would
	// keep the group that the other is about to delete, and delete the one that the other has put.
	if err := c.r.Refresh(ctx); err != nil {
		return err
	}
	c.ev.phase("keeping groups of packs")
	st := c.r.State()
	k := &groupKeeper{c: c, covered: map[object.Ref]struct{}{}}
	left := func(g repo.GroupObject) (n int) {
		for _, m := range g.Members {
			if !st.Garbage(m.Ref) {
				n++
			}
		}
		return n
	}
	// What has most left first, and if two have as much, the one that is shrunk already: what another run has
	// merged or shrunk makes the rest superfluous. All runs have the same order, so that no two of them delete each
	// other's groups.
	slices.SortFunc(groups, func(a, b repo.GroupObject) int {
		return cmp.Or(cmp.Compare(left(b), left(a)), cmp.Compare(len(a.Members), len(b.Members)), a.Ref.Compare(b.Ref))
	})
	for _, g := range groups {
		if err := k.sort(ctx, g); err != nil {
			return err
		}
	}
	if err := k.merge(ctx); err != nil {
		return err
	}
	if err := k.regroup(ctx); err != nil {
		return err
	}
	return k.deleteOld(ctx)
}

// countGroups notes what groups there are. What is put and deleted afterwards is counted as it is.
func (c *collector) countGroups(groups []repo.GroupObject) {
	c.res.Groups, c.res.GroupBytes = len(groups), 0
	for _, g := range groups {
		c.res.GroupBytes += g.Size
	}
}

// smallGroup is how many members a group may have and still be merged with another.
const smallGroup = parity.MaxMembers / 2

type groupKeeper struct {
	c       *collector
	covered map[object.Ref]struct{} // packs in a group that stays
	small   []repo.GroupObject      // groups of live packs to be merged
	loose   []parity.Member         // packs, perhaps of open sessions, whose group could not be kept
	old     []repo.GroupObject      // to delete
}

// sort decides what becomes of a group.
func (k *groupKeeper) sort(ctx context.Context, g repo.GroupObject) error {
	st := k.c.r.State()
	var stay, leave []parity.Member
	news, live := false, true
	for _, m := range g.Members {
		if st.Garbage(m.Ref) {
			leave = append(leave, m)
			continue
		}
		stay = append(stay, m)
		live = live && st.Live(m.Ref)
		if _, ok := k.covered[m.Ref]; !ok {
			news = true
		}
	}
	switch {
	case !news: // nothing is left of it, or all of it is in other groups
		k.old = append(k.old, g)
		return nil
	case len(leave) == 0:
		k.cover(g, live)
		return nil
	}
	k.old = append(k.old, g)
	if len(leave) <= len(stay) {
		shrunk, err := k.shrink(ctx, g, leave)
		if err == nil {
			k.cover(shrunk, live)
			return nil
		}
		if !errors.As(err, new(*repo.DamageError)) {
			return err
		}
	}
	k.loose = append(k.loose, stay...)
	return nil
}

// cover notes that a group stays, unless it is merged with others.
func (k *groupKeeper) cover(g repo.GroupObject, live bool) {
	overlaps := false
	for _, m := range g.Members {
		if _, ok := k.covered[m.Ref]; ok {
			overlaps = true
		}
		k.covered[m.Ref] = struct{}{}
	}
	if live && !overlaps && len(g.Members) <= smallGroup {
		k.small = append(k.small, g)
	}
}

// shrink stores the group without some of its members.
func (k *groupKeeper) shrink(ctx context.Context, g repo.GroupObject, without []parity.Member) (repo.GroupObject, error) {
	group, err := k.c.r.LoadGroup(ctx, g.Ref)
	if err != nil {
		return repo.GroupObject{}, err
	}
	for _, m := range without {
		obj, _, err := k.c.r.LoadPack(ctx, m.Ref, m.Size, nil)
		if err != nil {
			return repo.GroupObject{}, err
		}
		if err := group.Remove(m.Ref, obj); err != nil {
			return repo.GroupObject{}, err
		}
	}
	return k.put(ctx, group)
}

func (k *groupKeeper) put(ctx context.Context, group *parity.Group) (repo.GroupObject, error) {
	// The session is closed: groups are not what its id decides about.
	g, err := k.c.r.PutGroup(ctx, k.c.sid, group)
	if err == nil {
		k.c.res.GroupsAdded++
		k.c.res.Groups++
		k.c.res.GroupBytes += g.Size
		k.c.res.BytesAdded += g.Size
	}
	return g, err
}

// merge joins small groups as long as there are two that fit.
func (k *groupKeeper) merge(ctx context.Context) error {
	for len(k.small) > 1 {
		take, n := 1, len(k.small[0].Members)
		for take < len(k.small) && n+len(k.small[take].Members) <= parity.MaxMembers {
			n += len(k.small[take].Members)
			take++
		}
		batch := k.small[:take]
		k.small = k.small[take:]
		if take == 1 {
			continue
		}
		if err := k.join(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// join stores several groups as one. One that is damaged is left out, and its packs are grouped anew.
func (k *groupKeeper) join(ctx context.Context, batch []repo.GroupObject) error {
	all := new(parity.Group)
	var joined []repo.GroupObject
	for _, g := range batch {
		group, err := k.c.r.LoadGroup(ctx, g.Ref)
		switch {
		case errors.As(err, new(*repo.DamageError)):
			k.loose = append(k.loose, g.Members...)
			k.old = append(k.old, g)
			continue
		case err != nil:
			return err
		}
		if err := all.Merge(group); err != nil {
			return err
		}
		joined = append(joined, g)
	}
	if len(joined) < 2 {
		return nil
	}
	_, err := k.put(ctx, all)
	k.old = append(k.old, joined...)
	return err
}

// regroup makes groups of live packs that are in none. A pack that can not be read is left out: check tells.
func (k *groupKeeper) regroup(ctx context.Context) error {
	want := k.loose
	for ref, p := range k.c.r.State().Packs {
		if _, ok := k.covered[ref]; !ok {
			want = append(want, parity.Member{Ref: ref, Size: p.Size})
		}
	}
	slices.SortFunc(want, func(a, b parity.Member) int { return a.Ref.Compare(b.Ref) })
	want = slices.CompactFunc(want, func(a, b parity.Member) bool { return a.Ref == b.Ref })
	group := new(parity.Group)
	var buf []byte
	for _, m := range want {
		obj, _, err := k.c.r.LoadPack(ctx, m.Ref, m.Size, buf)
		if errors.As(err, new(*repo.DamageError)) {
			continue
		}
		if err != nil {
			return err
		}
		buf = obj
		if err := group.Add(m.Ref, obj); err != nil {
			return err
		}
		if len(group.Members) == parity.MaxMembers {
			if _, err := k.put(ctx, group); err != nil {
				return err
			}
			group = &parity.Group{Sum: group.Sum[:0]}
		}
	}
	if len(group.Members) == 0 {
		return nil
	}
	_, err := k.put(ctx, group)
	return err
}

// deleteOld deletes groups. One that is locked lies there until its lock has ended, as packs do.
func (k *groupKeeper) deleteOld(ctx context.Context) error {
	for _, g := range k.old {
		err := k.c.r.Store().Delete(ctx, g.Ref.Name())
		switch {
		case errors.Is(err, backends.ErrLocked):
			k.c.res.Locked.add(g.Size, err)
			continue
		case errors.Is(err, backends.ErrDenied):
			return &DeniedError{Name: g.Ref.Name(), Err: err}
		case err != nil && !errors.Is(err, backends.ErrNotExist):
			return err
		}
		k.c.res.GroupsDeleted++
		k.c.res.Groups--
		k.c.res.GroupBytes -= g.Size
	}
	return nil
}
