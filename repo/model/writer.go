package model

import "math/bits"

// writer adds the steps of writer i.
func (g *generator) writer(s *state, i int) {
	w := &s.w[i]
	switch w.pc {
	case idle:
		g.beginRun(s, i)
		return
	case between:
		g.continueRun(s, i)
	case upload:
		g.uploadPacks(s, i)
	case listing:
		g.uploadList(s, i)
	case ready:
		g.commitRun(s, i)
	case unsure:
		g.settleRun(s, i)
	}
	if s.left.crashes > 0 {
		n := g.push(writerCrash, i, s)
		n.left.crashes--
		n.w[i].stop()
	}
	if !g.c.rules.deleteOwn {
		n := g.push(removedRule, i, s)
		n.deleteOwn(w.e.sid)
		n.w[i].stop()
	}
}

// stop ends a run, or the process: what it had in the store stays there.
func (w *writer) stop() { *w = writer{runs: w.runs, saves: w.saves} }

// deleteOwn deletes the packs of a session that are not live.
func (s *state) deleteOwn(sid uint8) {
	for i := range s.packs {
		if p := &s.packs[i]; p.flags&used != 0 && p.sess == sid && p.flags&live == 0 {
			p.flags &^= exists
		}
	}
}

func (g *generator) beginRun(s *state, i int) {
	if s.w[i].runs == 0 {
		return
	}
	for goal := blobSet(1); goal < 1<<blobs; goal++ {
		if goal&^s.w[i].saves != 0 || goal != s.w[i].saves && !g.c.subsets {
			continue
		}
		n := *s
		w := &n.w[i]
		w.runs--
		w.goal = goal
		g.openRun(&n, i, writerBegin, goal)
		if g.c.partial && goal&(goal-1) != 0 {
			g.openRun(&n, i, writerBegin, goal&-goal)
		}
	}
}

// continueRun goes on after a partial snapshot, in a new session.
func (g *generator) continueRun(s *state, i int) {
	n := *s
	if !g.c.rules.freshPartial {
		n.w[i].e = entry{kind: snapshotEntry, sid: n.w[i].prev - 1, wants: n.w[i].goal}
		g.resolve(&n, i, writerContinue)
		return
	}
	g.openRun(&n, i, writerContinue, n.w[i].goal)
}

// openRun takes a fresh session and resolves.
func (g *generator) openRun(s *state, i int, a action, wants blobSet) {
	n := *s
	sid, ok := n.newSession()
	if !ok {
		g.full++
		return
	}
	n.w[i].e = entry{kind: snapshotEntry, sid: sid, wants: wants}
	g.resolve(&n, i, a)
}

// choice is one way to have a blob.
type choice struct {
	rely packSet
	up   copies
	with copies // only if one of these is uploaded too
}

// resolve adds a step for each way to have all blobs of the writer's entry.
func (g *generator) resolve(s *state, i int, a action) {
	w := &s.w[i]
	alive := s.livePacks()
	more, blind := g.offered(s, w.e.sid)
	v := s.see(more)
	var bufs [blobs][40]choice
	var ways [blobs][]choice
	for b := range blobs {
		ways[b] = g.ways(bufs[b][:0], w, &v, alive, more, b)
	}
	for _, x := range ways[0] {
		for _, y := range ways[1] {
			for _, z := range ways[2] {
				up := x.up | y.up | z.up
				if x.with != 0 && up&x.with == 0 || y.with != 0 && up&y.with == 0 || z.with != 0 && up&z.with == 0 {
					continue
				}
				n := g.push(a, i, s)
				k := &n.w[i]
				k.stale = false
				k.rely = x.rely | y.rely | z.rely
				k.todo = up
				k.blind = k.rely & blind
				k.e = entry{kind: snapshotEntry, sid: w.e.sid, wants: w.e.wants, add: k.rely &^ alive}
				n.supersede(k)
				g.pass(n, k)
			}
		}
	}
}

// offered is the set of listed packs that the writer would add, its own
// included; blind are those among them that are not addable.
func (g *generator) offered(s *state, sid uint8) (more, blind packSet) {
	r := &g.c.rules
	for p := range s.packs {
		k := &s.packs[p]
		if k.flags&live != 0 {
			continue
		}
		if k.flags&used != 0 && k.sess == sid {
			own := s.addable(p) || !r.writerRevoked && k.flags&dropped == 0
			if own && k.flags&(exists|flying) != 0 {
				more |= 1 << p
			}
			continue
		}
		if !g.c.adopt || k.flags&exists == 0 {
			continue
		}
		if !r.adoptFull && !s.addable(p) {
			blind |= 1 << p
			more |= 1 << p
			continue
		}
		if r.adoptDropped && k.flags&dropped != 0 || r.adoptSession && s.sess[k.sess].status != sessOpen {
			continue
		}
		more |= 1 << p
	}
	return more, blind
}

// ways lists the ways to have blob b.
func (g *generator) ways(to []choice, w *writer, v *view, alive, more packSet, b int) []choice {
	r := &g.c.rules
	if w.e.wants&(1<<b) == 0 || w.trust&(1<<b) != 0 {
		return append(to, choice{})
	}
	var buf [40]packSet
	for _, m := range v.grounds(buf[:0], alive, b, anyDepth, r.writers()) {
		to = append(to, choice{rely: m})
	}
	if len(to) > 0 && !g.c.dup {
		return to
	}
	for _, m := range v.grounds(buf[:0], alive|more, b, anyDepth, r.writers()) {
		if m&^alive != 0 {
			to = append(to, choice{rely: m})
		}
	}
	to = append(to, choice{up: plain(b)})
	if !g.c.delta {
		return to
	}
	for _, m := range v.grounds(buf[:0], alive|more, baseOf[b], depthOf[b], r.writers()) {
		if !r.deltaRely {
			m = 0
		}
		to = append(to, choice{rely: m, up: delta(b)})
	}
	if w.e.wants&(1<<baseOf[b]) != 0 {
		to = append(to, choice{up: delta(b), with: sound.bases(b)})
	}
	return to
}

// supersede names the run's earlier snapshot if it is live.
func (s *state) supersede(w *writer) {
	w.e.sup = 0
	if w.prev != 0 && s.sess[w.prev-1].snap == snapLive && w.prev-1 != w.e.sid {
		w.e.sup = 1 << (w.prev - 1)
	}
}

// pass moves a writer to the next thing it has to do.
func (g *generator) pass(s *state, w *writer) {
	switch {
	case w.todo != 0:
		w.pc = upload
	case w.e.segs == 0 && g.listOf(s, w) != 0:
		w.pc = listing
	default:
		w.pc = ready
	}
}

// listOf is what the writer's index segment has to say.
func (g *generator) listOf(s *state, w *writer) uint32 {
	var list uint32
	for m := w.e.add; m != 0; m &= m - 1 {
		p := bits.TrailingZeros8(m)
		if g.c.rules.indexAdopted || s.packs[p].sess == w.e.sid {
			list |= listBits(p, s.packs[p].copies)
		}
	}
	return list
}

func (g *generator) uploadPacks(s *state, i int) {
	todo := s.w[i].todo
	parts := []copies{todo}
	if g.c.split {
		for b := range blobs {
			if c := todo & (plain(b) | delta(b)); c != 0 && c != todo {
				parts = append(parts, c)
			}
		}
	}
	for _, part := range parts {
		for _, how := range []uint8{exists, flying} {
			if how == flying && s.left.slow == 0 {
				continue
			}
			n := g.push(writerUpload, i, s)
			w := &n.w[i]
			p, ok := n.newPack(w.e.sid, part, how)
			if !ok {
				g.pop()
				return
			}
			if how == flying {
				n.left.slow--
			}
			w.todo &^= part
			w.rely |= 1 << p
			w.e.add |= 1 << p
			g.pass(n, w)
		}
	}
}

func (g *generator) uploadList(s *state, i int) {
	for _, how := range []uint8{exists, flying} {
		if how == flying && s.left.slow == 0 {
			continue
		}
		n := g.push(writerList, i, s)
		w := &n.w[i]
		seg, ok := n.newSeg(w.e.sid, g.listOf(n, w), how)
		if !ok {
			g.pop()
			return
		}
		if how == flying {
			n.left.slow--
		}
		w.e.segs = 1 << seg
		w.pc = ready
	}
}

// commitRun puts the writer's entry.
func (g *generator) commitRun(s *state, i int) {
	w := &s.w[i]
	if !g.confirmed(s, &w.e) {
		return
	}
	if w.stale {
		g.retryRun(s, i)
		if !g.c.rules.logKept {
			// The entry that took the number was deleted: the put succeeds,
			// at a number below the checkpoint that everybody starts from.
			g.ackRun(g.push(removedRule, i, s), i)
		}
		return
	}
	n := g.push(writerCommit, i, s)
	g.land(n, w.e)
	g.ackRun(n, i)
	if s.left.unclear > 0 {
		n := g.push(writerUnclear, i, s)
		n.left.unclear--
		n.w[i].pc = unsure
		if !n.send(&w.e) {
			g.pop()
		}
	}
}

// settleRun finds out what became of an unclear put.
func (g *generator) settleRun(s *state, i int) {
	w := &s.w[i]
	if f := s.flight(w.e.sid); f != nil {
		n := g.push(writerAgain, i, s)
		*n.flight(w.e.sid) = entry{}
		g.land(n, w.e)
		g.ackRun(n, i)
		if !g.c.rules.sameBytes && w.goal != w.e.wants {
			// The run went on meanwhile, and puts its whole snapshot instead.
			n := *s
			n.w[i].e.wants = w.goal
			g.resolve(&n, i, removedRule)
		}
		return
	}
	g.retryRun(s, i)
}

// retryRun is what a writer does when its number was taken: look for its own
// entry, fold to the tail, check everything.
func (g *generator) retryRun(s *state, i int) {
	r := &g.c.rules
	w := &s.w[i]
	status := s.sess[w.e.sid].status
	if status == sessClosed && r.ownFirst {
		n := g.push(writerFound, i, s)
		g.ackRun(n, i)
		return
	}
	if status == sessRevoked && r.writerRevoked {
		if !r.freshID {
			n := *s
			g.resolve(&n, i, removedRule)
			return
		}
		g.push(writerStreamFails, i, s).w[i].stop()
		g.openRun(s, i, writerFresh, w.e.wants)
		return
	}
	if !g.holds(s, w) {
		g.push(writerStreamFails, i, s).w[i].stop()
		n := *s
		g.resolve(&n, i, writerResolve)
		return
	}
	n := g.push(writerRetry, i, s)
	k := &n.w[i]
	k.stale = false
	k.pc = ready
	n.supersede(k)
}

// holds reports whether all packs the writer relies on are live or addable.
func (g *generator) holds(s *state, w *writer) bool {
	r := &g.c.rules
	for m := w.rely; m != 0; m &= m - 1 {
		p := bits.TrailingZeros8(m)
		k := &s.packs[p]
		switch {
		case s.addable(p):
		case k.sess == w.e.sid:
			if r.ownCheck && (r.writerRevoked || k.flags&dropped != 0) {
				return false
			}
		case w.e.add&(1<<p) != 0:
			seen := r.adoptDropped && k.flags&dropped != 0 || r.adoptSession && s.sess[k.sess].status != sessOpen
			if r.adoptCheck && seen && w.blind&(1<<p) == 0 {
				return false
			}
		case r.relyCheck:
			return false
		}
	}
	return true
}

// ackRun is what a writer does when it believes its entry to be in the log.
func (g *generator) ackRun(s *state, i int) {
	w := &s.w[i]
	k := &s.sess[w.e.sid]
	if k.status != sessClosed || k.snap == snapNone || k.wants != w.e.wants {
		g.fail("a writer was told that its snapshot is committed, but the state has no such snapshot")
	}
	if w.e.wants == w.goal {
		w.stop()
		return
	}
	g.also[writerPartial]++
	n := writer{runs: w.runs, saves: w.saves, pc: between, goal: w.goal, prev: w.e.sid + 1}
	if !g.c.rules.partialRely {
		n.trust = w.e.wants
	}
	*w = n
}
