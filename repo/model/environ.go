package model

// objectsLand adds the landing of packs and index segments whose puts are in
// flight, whoever sent them and whatever became of the sender.
func (g *generator) objectsLand(s *state) {
	for i := range s.packs {
		g.objectLands(s, packLands, i, func(n *state) *uint8 { return &n.packs[i].flags })
	}
	for i := range s.segs {
		g.objectLands(s, segLands, i, func(n *state) *uint8 { return &n.segs[i].flags })
	}
}

func (g *generator) objectLands(s *state, a action, i int, flags func(*state) *uint8) {
	switch f := *flags(s); {
	case f&flying != 0:
		n := g.push(a, i, s)
		*flags(n) = f&^flying | exists
		if s.left.twice > 0 {
			n := g.push(a, i, s)
			n.left.twice--
			*flags(n) = f&^flying | exists | again
		}
	case f&again != 0 && f&exists == 0:
		// The first was deleted: its name is free for the second.
		n := g.push(landsTwice, i, s)
		*flags(n) = f&^again | exists
	}
}

// entriesLand adds the landing of log puts in flight.
func (g *generator) entriesLand(s *state) {
	for i := range s.flights {
		if s.flights[i].kind != noEntry {
			n := g.push(entryLands, i, s)
			g.land(n, s.flights[i])
		}
	}
}

// deletes adds the deletion of every object that is garbage, by anyone.
func (g *generator) deletes(s *state) {
	for i := range s.packs {
		p := &s.packs[i]
		if p.flags&exists == 0 || p.flags&live != 0 {
			continue
		}
		switch {
		case !s.addable(i):
			g.push(deletePack, i, s).packs[i].flags &^= exists
		case !g.c.rules.deleteOrphan:
			g.push(removedRule, i, s).packs[i].flags &^= exists
		}
	}
	for i := range s.segs {
		if s.segGarbage(i) {
			g.push(deleteSeg, i, s).segs[i].flags &^= exists
		}
	}
}

// segGarbage reports whether index segment i is stored and garbage.
func (s *state) segGarbage(i int) bool {
	k := &s.segs[i]
	return k.flags&exists != 0 && k.flags&live == 0 && s.sess[k.sess].status != sessOpen
}

// users adds the entries that are nothing but a wish.
func (g *generator) users(s *state) {
	for i := range s.sess {
		snap := s.sess[i].snap
		if s.sess[i].status == sessFree {
			continue
		}
		if s.left.forgets > 0 && snap == snapLive {
			n := g.push(forget, i, s)
			n.left.forgets--
			n.sess[i].snap = snapForgotten
			n.tailMoved()
		}
		if s.left.unforgets > 0 && (snap == snapForgotten || snap == snapGone && !g.c.rules.unforgetCheck) {
			n := g.push(unforget, i, s)
			n.left.unforgets--
			n.sess[i].snap = snapLive
			n.tailMoved()
		}
	}
}
