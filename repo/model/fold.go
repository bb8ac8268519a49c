package model

import "math/bits"

// void says why docs/protocol.md would call the entry void, or "".
func (s *state) void(e *entry) string {
	switch {
	case s.sess[e.sid].status != sessOpen:
		return "its session is closed or revoked"
	case e.revoke&(1<<e.sid) != 0:
		return "it revokes its own session"
	case e.add&e.drop != 0:
		return "it adds and drops one pack"
	case e.drop&^s.livePacks() != 0:
		return "it drops a pack that is not live"
	case e.revoke&^s.openSessions() != 0:
		return "it revokes a session that is not open"
	case e.gone&^s.snapshots(snapForgotten) != 0:
		return "it calls a snapshot gone that is not forgotten"
	case e.sup&^s.snapshots(snapLive) != 0:
		return "it supersedes a snapshot that is not live"
	}
	for m := e.add; m != 0; m &= m - 1 {
		if !s.addable(bits.TrailingZeros8(m)) {
			return "it adds a pack that is not addable"
		}
	}
	for m := e.segs; m != 0; m &= m - 1 {
		if s.segs[bits.TrailingZeros8(m)].sess != e.sid {
			return "it adds an index segment of another session"
		}
	}
	for m := e.replace; m != 0; m &= m - 1 {
		if s.segs[bits.TrailingZeros8(m)].flags&live == 0 {
			return "it replaces an index segment that is not valid"
		}
	}
	return ""
}

// land appends an entry to the log and folds it. It does not look whether the
// entry is void: with every rule in force none ever is (the search checks
// that), and with a rule removed the harm itself is what is looked for.
func (s *state) land(e *entry) {
	for m := e.revoke; m != 0; m &= m - 1 {
		if k := &s.sess[bits.TrailingZeros8(m)]; k.status == sessOpen {
			k.status = sessRevoked
		}
	}
	for m := e.drop; m != 0; m &= m - 1 {
		i := bits.TrailingZeros8(m)
		if p := &s.packs[i]; p.flags&live != 0 {
			p.flags = p.flags&^live | dropped
			s.ever |= 1 << i
		}
	}
	for m := e.add; m != 0; m &= m - 1 {
		s.packs[bits.TrailingZeros8(m)].flags |= live
	}
	for m := e.replace; m != 0; m &= m - 1 {
		s.segs[bits.TrailingZeros8(m)].flags &^= live
	}
	for m := e.segs; m != 0; m &= m - 1 {
		s.segs[bits.TrailingZeros8(m)].flags |= live
	}
	for m := e.gone; m != 0; m &= m - 1 {
		if k := &s.sess[bits.TrailingZeros8(m)]; k.snap == snapForgotten {
			k.snap = snapGone
		}
	}
	for m := e.sup; m != 0; m &= m - 1 {
		if k := &s.sess[bits.TrailingZeros8(m)]; k.snap == snapLive {
			k.snap = snapForgotten
		}
	}
	k := &s.sess[e.sid]
	k.status = sessClosed
	if e.kind == snapshotEntry {
		k.snap, k.wants = snapLive, e.wants
	}
	s.purge()
	s.tailMoved()
}

// purge forgets that packs were dropped once their session is over.
func (s *state) purge() {
	for i := range s.packs {
		p := &s.packs[i]
		if p.flags&dropped != 0 && s.sess[p.sess].status != sessOpen {
			p.flags &^= dropped
		}
	}
}

// tailMoved makes every actor's fold old, and every log put in flight void: its
// number is taken.
func (s *state) tailMoved() {
	for i := range s.w {
		if w := &s.w[i]; w.pc != idle && w.pc != between {
			w.stale = true
		}
	}
	for i := range s.c {
		if c := &s.c[i]; c.pc != idle {
			c.stale = true
		}
	}
	s.flights = [maxFlights]entry{}
}

// send puts an entry in flight; ok is false when the world is full.
func (s *state) send(e *entry) bool {
	for i := range s.flights {
		if s.flights[i].kind == noEntry {
			s.flights[i] = *e
			return true
		}
	}
	return false
}
