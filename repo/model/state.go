package model

import "math/bits"

// Bounds of the world. A search that runs into one of them says so.
const (
	maxSessions   = 8
	maxPacks      = 8
	maxSegs       = 8
	maxWriters    = 3
	maxCollectors = 2
	maxFlights    = 2
	blobs         = 3
)

// Sets of packs, sessions and index segments are bit masks by slot; sets of
// blobs by blob number.
type (
	packSet = uint8
	sessSet = uint8
	segSet  = uint8
	blobSet = uint8
)

// copies says how a pack holds each blob: two bits per blob, plain and delta.
// Blobs 0 and 1 are each other's bases, with depth 1; blob 2 has base 1, and
// depth 2, so that there are circles and there are chains.
type copies = uint8

var (
	baseOf  = [blobs]int{1, 0, 1}
	depthOf = [blobs]int{1, 1, 2}
)

// anyDepth is more than the depth of any copy.
const anyDepth = 9

func plain(b int) copies { return 1 << (2 * b) }
func delta(b int) copies { return 2 << (2 * b) }

// Session states.
const (
	sessFree = iota
	sessOpen
	sessClosed
	sessRevoked
)

// Snapshot states, of the snapshot that a session committed.
const (
	snapNone = iota
	snapLive
	snapForgotten
	snapGone
)

type session struct {
	status uint8
	snap   uint8
	wants  blobSet
}

// Flags of packs and index segments.
const (
	used    = 1 << iota // the slot is taken
	exists              // in the store
	flying              // a put that has not landed yet
	again               // a put that landed, and will land once more
	live                // live pack, valid index segment
	dropped             // in the state's set of dropped packs
)

type pack struct {
	sess   uint8
	copies copies
	flags  uint8
}

// segment is an index segment; list has a bit for each (pack, blob).
type segment struct {
	sess  uint8
	flags uint8
	list  uint32
}

// Kinds of entries.
const (
	noEntry = iota
	snapshotEntry
	collectEntry
)

// entry is a log entry, or the one an actor is about to make.
type entry struct {
	kind    uint8
	sid     uint8
	wants   blobSet
	add     packSet
	segs    segSet
	sup     sessSet
	drop    packSet
	revoke  sessSet
	gone    sessSet
	replace segSet
}

// Where an actor stands.
const (
	idle    = iota
	upload  // has blobs to store
	listing // has index segments to store
	ready   // may commit
	unsure  // waits for its log put
	between // after a partial snapshot
)

type writer struct {
	pc    uint8
	runs  uint8
	stale bool
	saves blobSet // what its runs save
	goal  blobSet // of the run
	prev  uint8   // session of the partial snapshot, plus one
	todo  copies
	rely  packSet // the relied-on set, adopted and own packs included
	trust blobSet // taken as stored without a check, when partialRely is removed
	blind packSet // adopted against the fold, when adoptFull is removed
	e     entry
}

type collector struct {
	pc    uint8
	runs  uint8
	stale bool
	todo  copies
	known sessSet // snapshots marked, when markAll is removed
	list  uint32  // what the new index segment says of packs kept
	e     entry
}

type budget struct {
	crashes, unclear, slow, twice, forgets, unforgets uint8
}

type state struct {
	sess    [maxSessions]session
	packs   [maxPacks]pack
	segs    [maxSegs]segment
	w       [maxWriters]writer
	c       [maxCollectors]collector
	flights [maxFlights]entry // log puts in flight, all for the next number
	left    budget

	// ever is every pack that was dropped, whatever became of its session.
	// No rule looks at it; the invariants compare it with the dropped flags.
	ever packSet
}

// newState is the empty repository of a configuration.
func newState(c *config) state {
	var s state
	for i, saves := range c.saves {
		s.w[i].runs, s.w[i].saves = uint8(c.writerRuns), saves
	}
	for i := range c.collectors {
		s.c[i].runs = uint8(c.collects)
	}
	s.left = budget{
		crashes: uint8(c.crashes), unclear: uint8(c.unclear), slow: uint8(c.slow),
		twice: uint8(c.twice), forgets: uint8(c.forgets), unforgets: uint8(c.unforgets),
	}
	return s
}

// livePacks is the state's set of live packs.
func (s *state) livePacks() packSet {
	var m packSet
	for i := range s.packs {
		if s.packs[i].flags&live != 0 {
			m |= 1 << i
		}
	}
	return m
}

// addable is the definition of docs/protocol.md.
func (s *state) addable(p int) bool {
	k := &s.packs[p]
	return k.flags&live != 0 || k.flags&dropped == 0 && s.sess[k.sess].status == sessOpen
}

// listed is what the valid index segments list, by (pack, blob).
func (s *state) listed() uint32 {
	var m uint32
	for i := range s.segs {
		if s.segs[i].flags&live != 0 {
			m |= s.segs[i].list
		}
	}
	return m
}

// listBits turns copies of pack p into bits of an index segment's list.
func listBits(p int, c copies) uint32 {
	var m uint32
	for b := range blobs {
		if c&(plain(b)|delta(b)) != 0 {
			m |= 1 << (p*blobs + b)
		}
	}
	return m
}

// spread turns a set of packs into all their bits of a list.
func spread(m packSet) uint32 {
	var l uint32
	for ; m != 0; m &= m - 1 {
		l |= (1<<blobs - 1) << (bits.TrailingZeros8(m) * blobs)
	}
	return l
}

// snapshots returns the sessions whose snapshots have the given state.
func (s *state) snapshots(snap uint8) sessSet {
	var m sessSet
	for i := range s.sess {
		if s.sess[i].status != sessFree && s.sess[i].snap == snap {
			m |= 1 << i
		}
	}
	return m
}

// wantsOf is the union of what the given snapshots hold.
func (s *state) wantsOf(m sessSet) blobSet {
	var w blobSet
	for ; m != 0; m &= m - 1 {
		w |= s.sess[bits.TrailingZeros8(m)].wants
	}
	return w
}

// openSessions are those a collector could revoke.
func (s *state) openSessions() sessSet {
	var m sessSet
	for i := range s.sess {
		if s.sess[i].status == sessOpen {
			m |= 1 << i
		}
	}
	return m
}

// newSession takes a free slot; ok is false when the world is full.
func (s *state) newSession() (sid uint8, ok bool) {
	for i := range s.sess {
		if s.sess[i].status == sessFree {
			s.sess[i].status = sessOpen
			return uint8(i), true
		}
	}
	return 0, false
}

// newPack takes a slot for a pack whose put was sent.
func (s *state) newPack(sid uint8, c copies, how uint8) (p int, ok bool) {
	for i := range s.packs {
		if s.packs[i].flags == 0 {
			s.packs[i] = pack{sess: sid, copies: c, flags: used | how}
			s.ever &^= 1 << i
			return i, true
		}
	}
	return 0, false
}

// newSeg takes a slot for an index segment whose put was sent.
func (s *state) newSeg(sid uint8, list uint32, how uint8) (i int, ok bool) {
	for i := range s.segs {
		if s.segs[i].flags == 0 {
			s.segs[i] = segment{sess: sid, list: list, flags: used | how}
			return i, true
		}
	}
	return 0, false
}

// tidy frees the slots of what can never matter again: packs and index segments
// that are neither stored, nor on their way, nor live, nor in anybody's plans,
// then sessions without any trace.
func (s *state) tidy() {
	var packs packSet
	var segs segSet
	var sess sessSet
	note := func(e *entry) {
		if e.kind == noEntry {
			return
		}
		packs |= e.add | e.drop
		segs |= e.segs | e.replace
		sess |= e.sup | e.revoke | e.gone | 1<<e.sid
	}
	for i := range s.w {
		w := &s.w[i]
		note(&w.e)
		packs |= w.rely | w.blind
		if w.prev != 0 {
			sess |= 1 << (w.prev - 1)
		}
	}
	for i := range s.c {
		note(&s.c[i].e)
		sess |= s.c[i].known
	}
	for i := range s.flights {
		note(&s.flights[i])
	}
	for i := range s.packs {
		p := &s.packs[i]
		if p.flags == 0 {
			continue
		}
		if p.flags&(exists|flying|again|live) == 0 && packs&(1<<i) == 0 {
			*p = pack{}
			s.ever &^= 1 << i
			for j := range s.segs {
				s.segs[j].list &^= spread(1 << i)
			}
			for j := range s.c {
				s.c[j].list &^= spread(1 << i)
			}
			continue
		}
		sess |= 1 << p.sess
	}
	for i := range s.segs {
		g := &s.segs[i]
		if g.flags == 0 {
			continue
		}
		if g.flags&(exists|flying|again|live) == 0 && segs&(1<<i) == 0 {
			*g = segment{}
			continue
		}
		sess |= 1 << g.sess
	}
	for i := range s.sess {
		k := &s.sess[i]
		if k.status != sessFree && k.snap != snapLive && k.snap != snapForgotten && sess&(1<<i) == 0 {
			*k = session{}
		}
	}
}
