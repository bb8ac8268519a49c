package model

// check says what is wrong with a state, or "". The first three are what the
// protocol is for. With strict the lemmas are checked that its reasoning uses.
func (s *state) check(strict bool) string {
	var held packSet
	for i := range s.packs {
		switch p := &s.packs[i]; {
		case p.flags&live == 0:
		case p.flags&exists == 0:
			return "a live pack is not in the store"
		default:
			held |= 1 << i
		}
	}
	for i := range s.segs {
		if f := s.segs[i].flags; f&live != 0 && f&exists == 0 {
			return "a valid index segment is not in the store"
		}
	}
	if want := s.wantsOf(s.snapshots(snapLive) | s.snapshots(snapForgotten)); want != 0 {
		v := s.see(0)
		if !v.covers(held, want, sound) {
			return "a snapshot cannot be restored: a blob does not count in the live packs of the index"
		}
	}
	if strict {
		return s.lemmas()
	}
	return ""
}

// lemmas are statements of docs/protocol.md that its rules lean on.
func (s *state) lemmas() string {
	listed := s.listed()
	for i := range s.packs {
		p := &s.packs[i]
		if p.flags == 0 {
			continue
		}
		if p.flags&live != 0 && listBits(i, p.copies)&^listed != 0 {
			return "a live pack is not listed completely"
		}
		full := p.flags&live != 0 || s.ever&(1<<i) == 0 && s.sess[p.sess].status == sessOpen
		if full != s.addable(i) {
			return "the short set of dropped packs answers otherwise than the full one"
		}
	}
	return ""
}

// clean lets one collector run with nobody else writing, and says what it
// leaves behind; done is false when the world has no room for it.
func (g *generator) clean(s *state) (why string, done bool) {
	n := *s
	sid, ok := n.newSession()
	if !ok {
		return "", false
	}
	forgotten := n.snapshots(snapForgotten)
	e := entry{kind: collectEntry, sid: sid, gone: forgotten, revoke: n.openSessions()}
	if g.c.rules.revokeOwn {
		e.revoke &^= 1 << sid
	}
	alive := n.livePacks()
	needed := n.wantsOf(n.snapshots(snapLive))
	v := n.see(0)
	keep := alive
	for m := alive; m != 0; m &= m - 1 {
		if v.covers(keep&^(m&-m), needed, sound) {
			keep &^= m & -m
		}
	}
	e.drop = alive &^ keep
	for i := range n.segs {
		if k := &n.segs[i]; k.flags&live != 0 && k.list&spread(keep) == 0 {
			e.replace |= 1 << i
		}
	}
	if n.void(&e) == "" {
		n.land(&e)
	}
	for i := range n.packs {
		if n.packs[i].flags&used != 0 && !n.addable(i) {
			n.packs[i].flags &^= exists
		}
	}
	for i := range n.segs {
		if n.segGarbage(i) {
			n.segs[i].flags &^= exists
		}
	}
	if why := n.check(g.strict); why != "" {
		return "after a collection alone: " + why, true
	}
	for i := range n.packs {
		if f := n.packs[i].flags; f&exists != 0 && (f&live == 0 || v.covers(keep&^(1<<i), needed, sound)) {
			return "a collection alone leaves a pack that nothing needs", true
		}
	}
	for i := range n.segs {
		if f := n.segs[i].flags; f&exists != 0 && f&live == 0 {
			return "a collection alone leaves an index segment that is not valid", true
		}
	}
	return "", true
}
