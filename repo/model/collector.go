package model

import "math/bits"

// collector adds the steps of collector j.
func (g *generator) collector(s *state, j int) {
	c := &s.c[j]
	switch c.pc {
	case idle:
		if c.runs == 0 {
			return
		}
		n := *s
		sid, ok := n.newSession()
		if !ok {
			g.full++
			return
		}
		n.c[j].runs--
		n.c[j].e = entry{kind: collectEntry, sid: sid}
		g.plan(&n, j, collectorBegin)
		return
	case upload:
		g.uploadCarried(s, j)
	case listing:
		g.uploadMerged(s, j)
	case ready:
		g.commitCollection(s, j)
	case unsure:
		g.settleCollection(s, j)
	}
	if s.left.crashes > 0 {
		n := g.push(collectorCrash, j, s)
		n.left.crashes--
		n.c[j].stop()
	}
	if !g.c.rules.deleteOwn {
		n := g.push(removedRule, j, s)
		n.deleteOwn(c.e.sid)
		n.c[j].stop()
	}
}

func (c *collector) stop() { *c = collector{runs: c.runs} }

// choices are the parts of a collection that can be chosen apart.
type choices struct {
	gone   sessSet
	needed blobSet
}

// plan adds a step for each collection that the rules allow in this fold.
func (g *generator) plan(s *state, j int, a action) {
	r := &g.c.rules
	c := &s.c[j]
	forgotten := s.snapshots(snapForgotten)
	alive := s.snapshots(snapLive)
	gones := []sessSet{forgotten}
	if a == collectorRetry && !r.goneNow {
		// Gone is what was forgotten when the run began.
		gones[0] = c.e.gone & forgotten
		alive &^= c.e.gone
		forgotten = gones[0]
	}
	if g.c.hold && forgotten != 0 {
		gones = append(gones, 0)
	}
	for _, gone := range gones {
		needed := s.wantsOf(alive)
		if r.keepForgotten {
			needed |= s.wantsOf(forgotten &^ gone)
		}
		if !r.keepNeeded {
			needed = 0
		}
		g.planPacks(s, j, a, choices{gone, needed})
	}
}

// planPacks chooses what to keep and what to carry.
func (g *generator) planPacks(s *state, j int, a action, ch choices) {
	r := &g.c.rules
	sid := s.c[j].e.sid
	alive := s.livePacks()
	var own packSet
	virtual := -1
	for p := range s.packs {
		k := &s.packs[p]
		if k.flags == 0 {
			virtual = p
		} else if k.sess == sid && k.flags&live == 0 && k.flags&(exists|flying) != 0 && (s.addable(p) || !r.collectorRevoked) {
			own |= 1 << p
		}
	}
	v := s.see(own)
	g.planCarry(s, j, a, ch, &v, alive, own, 0, -1)
	if alive != 0 {
		// Keep every pack: a run that only revokes, or merges index segments.
		g.planRest(s, j, a, ch, &v, alive, 0, 0)
	}
	if !g.c.carry || alive == 0 {
		return
	}
	if virtual < 0 {
		g.full++
		return
	}
	useful := ch.needed
	for range blobs {
		for b, base := range baseOf {
			if g.c.delta && useful&(1<<b) != 0 {
				useful |= 1 << base
			}
		}
	}
	var have copies
	for p := range v {
		if alive&(1<<p) != 0 {
			have |= v[p]
		}
	}
	for b := range blobs {
		if useful&(1<<b) == 0 {
			have &^= plain(b) | delta(b)
		}
	}
	for x := have; x != 0; x = (x - 1) & have {
		if x&(x>>1)&0b010101 != 0 {
			continue // a blob in both forms
		}
		w := v
		w[virtual] = x
		g.planCarry(s, j, a, ch, &w, alive, own, x, virtual)
	}
}

// planCarry enumerates the sets of packs that cover what is needed. With lazy
// they may hold more than that; otherwise each pack in them must be needed.
func (g *generator) planCarry(s *state, j int, a action, ch choices, v *view, alive, own packSet, x copies, virtual int) {
	r := &g.c.rules
	all := alive | own
	var must packSet
	if virtual >= 0 {
		must = 1 << virtual
	}
	for keep := all; ; keep = (keep - 1) & all {
		if m := keep | must; v.covers(m, ch.needed, r.collectors()) && (g.c.lazy && must == 0 || g.minimal(v, m, ch.needed)) {
			g.planRest(s, j, a, ch, v, keep&alive, keep&own, x)
		}
		if keep == 0 {
			return
		}
	}
}

func (g *generator) minimal(v *view, m packSet, needed blobSet) bool {
	for k := m; k != 0; k &= k - 1 {
		if v.covers(m&^(k&-k), needed, g.c.rules.collectors()) {
			return false
		}
	}
	return true
}

// planRest chooses whom to revoke and which index segments to replace.
func (g *generator) planRest(s *state, j int, a action, ch choices, v *view, keep, add packSet, carry copies) {
	r := &g.c.rules
	old := s.c[j]
	var valid segSet
	for i := range s.segs {
		if s.segs[i].flags&live != 0 {
			valid |= 1 << i
		}
	}
	open := s.openSessions() &^ (1 << old.e.sid)
	for _, revoke := range [...]sessSet{0, open} {
		if revoke != 0 && !r.revokeOwn {
			revoke |= 1 << old.e.sid
		}
		for _, replace := range [...]segSet{0, valid} {
			e := entry{kind: collectEntry, sid: old.e.sid, add: add, drop: s.livePacks() &^ keep, revoke: revoke, gone: ch.gone, replace: replace}
			if e.drop|e.add|e.revoke|e.gone|e.replace|carry != 0 {
				g.pushPlan(s, j, a, ch, v, keep, carry, e)
			}
			if valid == 0 || !g.c.merge {
				break
			}
		}
		if open == 0 || !g.c.revoke {
			break
		}
	}
}

func (g *generator) pushPlan(s *state, j int, a action, ch choices, v *view, keep packSet, carry copies, e entry) {
	var list uint32
	for m := keep; m != 0 && e.replace != 0; m &= m - 1 {
		p := bits.TrailingZeros8(m)
		seen := v[p]
		if !g.c.rules.indexComplete {
			for b := range blobs {
				if ch.needed&(1<<b) == 0 {
					seen &^= plain(b) | delta(b)
				}
			}
		}
		list |= listBits(p, seen)
	}
	old := &s.c[j]
	same := old.e
	same.segs = 0
	if a == collectorRetry && carry == 0 && old.todo == 0 && same == e && old.list == list {
		n := g.push(collectorKeep, j, s)
		n.c[j].stale = false
		n.c[j].pc = ready
		return
	}
	n := g.push(a, j, s)
	c := &n.c[j]
	c.stale = false
	c.todo = carry
	c.list = list
	if !g.c.rules.markAll {
		c.known = n.snapshots(snapLive) | n.snapshots(snapForgotten)
	}
	c.e = e
	g.passCollector(n, c)
}

// passCollector moves a collector to the next thing it has to do.
func (g *generator) passCollector(s *state, c *collector) {
	switch {
	case c.todo != 0:
		c.pc = upload
	case s.mergedList(c) != 0:
		c.pc = listing
	default:
		c.pc = ready
	}
}

// mergedList is what the collector's index segment has to say.
func (s *state) mergedList(c *collector) uint32 {
	list := c.list
	for m := c.e.add; m != 0; m &= m - 1 {
		p := bits.TrailingZeros8(m)
		list |= listBits(p, s.packs[p].copies)
	}
	return list
}

func (g *generator) uploadCarried(s *state, j int) {
	for _, how := range []uint8{exists, flying} {
		if how == flying && s.left.slow == 0 {
			continue
		}
		n := g.push(collectorUpload, j, s)
		c := &n.c[j]
		p, ok := n.newPack(c.e.sid, c.todo, how)
		if !ok {
			g.pop()
			return
		}
		if how == flying {
			n.left.slow--
		}
		c.todo = 0
		c.e.add |= 1 << p
		g.passCollector(n, c)
	}
}

func (g *generator) uploadMerged(s *state, j int) {
	for _, how := range []uint8{exists, flying} {
		if how == flying && s.left.slow == 0 {
			continue
		}
		n := g.push(collectorList, j, s)
		c := &n.c[j]
		seg, ok := n.newSeg(c.e.sid, n.mergedList(c), how)
		if !ok {
			g.pop()
			return
		}
		if how == flying {
			n.left.slow--
		}
		c.e.segs = 1 << seg
		c.pc = ready
	}
}

// commitCollection puts the collector's entry.
func (g *generator) commitCollection(s *state, j int) {
	c := &s.c[j]
	g.deleteEarly(s, j)
	if !g.confirmed(s, &c.e) {
		return
	}
	if c.stale {
		g.retryCollection(s, j)
		return
	}
	n := g.push(collectorCommit, j, s)
	g.land(n, c.e)
	n.c[j].stop()
	if s.left.unclear > 0 {
		n := g.push(collectorUnclear, j, s)
		n.left.unclear--
		n.c[j].pc = unsure
		if !n.send(&c.e) {
			g.pop()
		}
	}
}

// deleteEarly is a collector that deletes before its entry is in the log.
func (g *generator) deleteEarly(s *state, j int) {
	c := &s.c[j]
	if !g.c.rules.deleteAfterEntry {
		for m := c.e.drop; m != 0; m &= m - 1 {
			g.push(removedRule, j, s).packs[bits.TrailingZeros8(m)].flags &^= exists
		}
	}
	if !g.c.rules.indexDeleteAfter {
		for m := c.e.replace; m != 0; m &= m - 1 {
			g.push(removedRule, j, s).segs[bits.TrailingZeros8(m)].flags &^= exists
		}
	}
}

// settleCollection finds out what became of an unclear put.
func (g *generator) settleCollection(s *state, j int) {
	c := &s.c[j]
	if f := s.flight(c.e.sid); f != nil {
		n := g.push(collectorAgain, j, s)
		*n.flight(c.e.sid) = entry{}
		g.land(n, c.e)
		n.c[j].stop()
		return
	}
	g.retryCollection(s, j)
}

// retryCollection is what a collector does when its number was taken.
func (g *generator) retryCollection(s *state, j int) {
	r := &g.c.rules
	c := &s.c[j]
	switch status := s.sess[c.e.sid].status; {
	case status == sessClosed:
		g.push(collectorFound, j, s).c[j].stop()
		return
	case status == sessRevoked && r.collectorRevoked:
		g.push(collectorAbandon, j, s).c[j].stop()
		return
	}
	if !r.recompute || !r.markAll && g.newSnapshotsSafe(s, c) {
		k := &g.push(collectorRetry, j, s).c[j]
		k.stale, k.pc = false, ready
		return
	}
	if !r.indexRetry && c.e.replace != 0 {
		// The packs are chosen again, the merged segment is not.
		g.retryOldIndex(s, j)
		return
	}
	n := *s
	before := len(g.out)
	g.plan(&n, j, collectorRetry)
	if len(g.out) == before {
		// Nothing is left to collect.
		g.push(collectorAbandon, j, s).c[j].stop()
	}
}

// newSnapshotsSafe is the draft that marks only snapshots it has not yet seen.
func (g *generator) newSnapshotsSafe(s *state, c *collector) bool {
	fresh := s.wantsOf(s.snapshots(snapLive) &^ c.known)
	v := s.see(0)
	return v.covers(s.livePacks()&^c.e.drop|c.e.add, fresh, sound)
}

// retryOldIndex replaces what is valid now by a segment merged before.
func (g *generator) retryOldIndex(s *state, j int) {
	n := g.push(collectorRetry, j, s)
	c := &n.c[j]
	c.stale, c.pc = false, ready
	c.e.drop, c.e.gone, c.e.revoke, c.e.replace = 0, 0, 0, 0
	for i := range n.segs {
		if n.segs[i].flags&live != 0 {
			c.e.replace |= 1 << i
		}
	}
}
