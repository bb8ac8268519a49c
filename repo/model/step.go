package model

// action is a kind of step.
type action uint8

const (
	writerBegin action = iota
	writerUpload
	writerList
	writerCommit
	writerUnclear
	writerAgain
	writerFound
	writerRetry
	writerResolve
	writerFresh
	writerStreamFails
	writerAdopt
	writerPartial
	writerContinue
	writerSupersede
	writerCrash
	collectorBegin
	collectorUpload
	collectorList
	collectorCommit
	collectorDrop
	collectorCarry
	collectorReplace
	collectorRevoke
	collectorHold
	collectorUnclear
	collectorAgain
	collectorFound
	collectorRetry
	collectorKeep
	collectorAbandon
	collectorCrash
	packLands
	segLands
	landsTwice
	entryLands
	deletePack
	deleteSeg
	forget
	unforget
	removedRule
	actions
)

var actionNames = [actions]string{
	"writer begins", "writer uploads", "writer lists", "writer commits", "writer unclear", "writer puts again",
	"writer finds own entry", "writer retries", "writer resolves again", "writer takes fresh id", "writer's stream fails",
	"writer adopts", "writer commits partial", "writer continues", "writer supersedes", "writer crashes",
	"collector begins", "collector uploads", "collector lists", "collector commits", "collector drops", "collector carries",
	"collector replaces", "collector revokes", "collector holds", "collector unclear", "collector puts again",
	"collector finds own entry", "collector recomputes", "collector keeps its entry", "collector abandons", "collector crashes",
	"pack lands", "index segment lands", "put lands twice", "entry lands late", "pack deleted", "index segment deleted",
	"forget", "unforget", "a removed rule's harm",
}

func (a action) String() string { return actionNames[a] }

// succ is a step and where it leads.
type succ struct {
	act action
	who uint8
	bad string // what the step itself violated
	s   state
}

// generator lists the steps of a state. It is not safe for concurrent use.
type generator struct {
	c      *config
	strict bool
	out    []succ
	full   uint64          // steps left out because the world is too small
	also   [actions]uint64 // what was decided inside other steps
}

func newGenerator(c *config) *generator {
	return &generator{c: c, strict: c.strict()}
}

// push adds a step that leads to a copy of s, and returns that copy, which is
// valid until the next push.
func (g *generator) push(a action, who int, s *state) *state {
	g.out = append(g.out, succ{act: a, who: uint8(who), s: *s})
	return &g.out[len(g.out)-1].s
}

// pop takes the last step back, because the world is too small for it.
func (g *generator) pop() {
	g.out = g.out[:len(g.out)-1]
	g.full++
}

// fail marks the last step as a violation.
func (g *generator) fail(why string) { g.out[len(g.out)-1].bad = why }

// groups is the number of sources of steps.
func (g *generator) groups() int { return len(g.c.saves) + g.c.collectors + 4 }

// group adds the steps of source i.
func (g *generator) group(s *state, i int) {
	if i < len(g.c.saves) {
		g.writer(s, i)
		return
	}
	if i -= len(g.c.saves); i < g.c.collectors {
		g.collector(s, i)
		return
	}
	switch i - g.c.collectors {
	case 0:
		g.objectsLand(s)
	case 1:
		g.entriesLand(s)
	case 2:
		g.deletes(s)
	default:
		g.users(s)
	}
}

// steps lists all steps of s. The result is valid until the next call.
func (g *generator) steps(s *state) []succ {
	g.out = g.out[:0]
	for i := range g.groups() {
		g.group(s, i)
	}
	return g.out
}

// land lets the entry land in the state of the last step.
func (g *generator) land(s *state, e entry) {
	if g.strict {
		if why := s.void(&e); why != "" {
			g.fail("a client put a void entry: " + why)
		}
	}
	g.count(s, &e)
	s.land(&e)
}

// count notes what an entry does that no step of its own stands for.
func (g *generator) count(s *state, e *entry) {
	note := func(yes bool, a action) {
		if yes {
			g.also[a]++
		}
	}
	if e.kind == collectEntry {
		note(e.drop != 0, collectorDrop)
		note(e.add != 0, collectorCarry)
		note(e.replace != 0, collectorReplace)
		note(e.revoke != 0, collectorRevoke)
		note(s.snapshots(snapForgotten)&^e.gone != 0, collectorHold)
		return
	}
	for p := range s.packs {
		note(e.add&(1<<p) != 0 && s.packs[p].sess != e.sid, writerAdopt)
	}
	note(e.sup != 0, writerSupersede)
}

// confirmed reports whether all puts of what the entry adds were confirmed. That
// the object is still there nobody asks: it was deleted only if it is garbage.
func (g *generator) confirmed(s *state, e *entry) bool {
	for i := range s.packs {
		p := &s.packs[i]
		if g.c.rules.putsConfirmed && e.add&(1<<i) != 0 && p.sess == e.sid && p.flags&flying != 0 {
			return false
		}
	}
	for i := range s.segs {
		if g.c.rules.segsConfirmed && e.segs&(1<<i) != 0 && s.segs[i].flags&flying != 0 {
			return false
		}
	}
	return true
}

// flight finds the log put of a session that is in flight.
func (s *state) flight(sid uint8) *entry {
	for i := range s.flights {
		if f := &s.flights[i]; f.kind != noEntry && f.sid == sid {
			return f
		}
	}
	return nil
}
