package delta

// The least lengths of copies, by what they cost. An operation takes 2 to 6 bytes behind zstd, as much as 5 to 15 bytes of text that
// are inserted; one that leads away from where the target goes on costs another to come back.
const (
	onDiagonal = 12 // goes on where it would without the bytes inserted
	nearby     = 20 // goes on within near bytes of the end of the last copy
	within     = 32 // within far bytes
	elsewhere  = 40

	near = 1 << 6
	far  = 1 << 13
)

const (
	// absorbed is the greatest length of copies that give way to one that has their bytes, too.
	absorbed = 128
	// aligned is the least length of a copy that says how base and target lie to each other.
	aligned = 256
	// After every slowdown bytes without a match the step from one place to the next that is looked up grows by two.
	slowdown = 256
	maxStep  = 15
	// slack is more than can be inserted before a match is met that takes it back.
	slack = maxStep * minStride * 4
	// leastOp is the least length of an operation in the stream, and keptOps how many of them an Encoder keeps room for.
	leastOp = 3
	keptOps = 1 << 16
)

// Match says how a base and a target lie to each other.
type Match struct {
	Copied       int // bytes of the target that are copied from the base
	Target, Base int // in both, the end of the last copy of at least 256 bytes; zero if there is none
}

// span is one copy: n bytes at base that are the target's at target.
type span struct{ target, base, n int }

// Encoder finds what targets have in common with bases. It keeps its tables, some 6 MiB at most, from call to call, and nothing of what it was
// given. The zero value is ready. It is not safe for concurrent use.
type Encoder struct {
	around   around
	index    index // of all of the base, if whole
	whole    bool
	base     []byte
	target   []byte
	copies   []span
	lit, at  int // the ends of the last copy in target and base
	inserted int // bytes before lit that are in no copy
	columns  [3][]byte
}

// Encode appends to dst a stream that makes target of base, which may be several blobs joined. It returns dst unchanged and false if the stream
// would be longer than limit, which it notices early where little of the target is in the base.
func (e *Encoder) Encode(dst, base, target []byte, limit int) (out []byte, m Match, ok bool) {
	e.base, e.target = base, target
	defer e.release()
	if !e.searchAround(limit) && !e.searchWhole(limit) {
		return dst, Match{}, false
	}
	return e.appendStream(dst, limit)
}

// searchAround searches where copying goes on, and reports false where too much is not found there.
func (e *Encoder) searchAround(limit int) bool {
	e.around.begin(e.base)
	e.whole = false
	return e.search(limit)
}

// searchWhole searches all of the base.
func (e *Encoder) searchWhole(limit int) bool {
	e.index.build(e.base)
	e.whole = true
	return e.related(limit) && e.search(limit)
}

// release lets go of what belongs to the caller, and of what was larger than usual.
func (e *Encoder) release() {
	e.target, e.base, e.index.base, e.around.base = nil, nil, nil, nil
	if cap(e.copies) > keptOps {
		e.copies, e.columns = nil, [3][]byte{}
	}
}

// search fills copies. It reports false if the stream would be longer than limit, or if too little was found nearby.
func (e *Encoder) search(limit int) bool {
	e.copies = e.copies[:0]
	e.lit, e.at, e.inserted = 0, 0, 0
	for pos := 0; pos+window <= len(e.target); {
		if s, ok := e.match(pos); ok {
			e.add(s)
			pos = e.lit
		} else {
			pos += min(1+(pos-e.lit)/slowdown*2, maxStep)
		}
		cost := e.inserted + pos - e.lit + len(e.copies)*leastOp
		if cost > limit+slack || !e.whole && cost > newMost+pos/newShare {
			return false
		}
	}
	return true
}

// match returns a copy that has the byte at pos, and begins at or behind the last one's end.
func (e *Encoder) match(pos int) (span, bool) {
	from := e.at + pos - e.lit
	if from+8 <= len(e.base) && load(e.target, pos) == load(e.base, from) {
		s := e.grown(span{pos, from, 8 + common(e.target[pos+8:], e.base[from+8:])})
		if s.n >= onDiagonal {
			return s, true
		}
	}
	from, n := e.find(pos)
	if n == 0 {
		return span{}, false
	}
	s := e.grown(span{pos, from, n})
	return s, s.n >= e.least(s)
}

// find returns the best match of the target at pos that is known, and its length from there on.
func (e *Encoder) find(pos int) (from, n int) {
	if e.whole {
		return e.index.find(e.target, pos, e.lit)
	}
	e.around.cover(e.at)
	return e.around.find(e.target, pos)
}

// grown returns s with the bytes before it that fit and are not yet copied.
func (e *Encoder) grown(s span) span {
	n := commonBack(e.target[e.lit:s.target], e.base[:s.base])
	return span{s.target - n, s.base - n, s.n + n}
}

// least returns how long s has to be.
func (e *Encoder) least(s span) int {
	d := s.base - e.at
	switch {
	case d == s.target-e.lit:
		return onDiagonal
	case -near <= d && d <= near:
		return nearby
	case -far <= d && d <= far:
		return within
	}
	return elsewhere
}

// add appends s to the copies. Short copies before it that could as well be a part of it, because they were found before anything that
// is only in the right place, become one.
func (e *Encoder) add(s span) {
	for s.target == e.lit && len(e.copies) > 0 {
		p := e.copies[len(e.copies)-1]
		if p.n > absorbed || p.n > s.base || string(e.base[p.base:p.base+p.n]) != string(e.base[s.base-p.n:s.base]) {
			break
		}
		e.copies = e.copies[:len(e.copies)-1]
		e.lit = 0
		if len(e.copies) > 0 {
			q := e.copies[len(e.copies)-1]
			e.lit = q.target + q.n
		}
		e.inserted -= p.target - e.lit
		s = e.grown(span{s.target - p.n, s.base - p.n, s.n + p.n})
	}
	e.inserted += s.target - e.lit
	e.copies = append(e.copies, s)
	e.lit, e.at = s.target+s.n, s.base+s.n
}

// related looks at 64 places of the target, whether they are in the base, and reports false if so few are that the stream can hardly be
// within limit.
func (e *Encoder) related(limit int) bool {
	const places = 64
	apart := (len(e.target)/places - 1) | 1 // odd, to look at all parts of records
	if apart < 8*e.index.stride {
		return true
	}
	hits := 0
	for p := range places {
		if e.common(p * apart) {
			hits++
		}
	}
	// Of a target of which half is in the base, fewer than 11 places are as good as never.
	need := places - int(int64(limit)*places/int64(len(e.target)))
	lack := need - 8 - hits
	return hits > 0 && (lack <= 0 || lack*lack <= 16*hits)
}

// common reports whether what is behind start is in the base: at the same place, or where the index knows, which is asked as often as it takes
// to meet any match of some length.
func (e *Encoder) common(start int) bool {
	t, b := e.target, e.base
	if end := start + within; end <= len(b) && string(t[start:end]) == string(b[start:end]) {
		return true
	}
	for pos := start + within; pos < start+within+2*e.index.stride; pos++ {
		if from, n := e.index.find(t, pos, start); n > 0 && n+commonBack(t[start:pos], b[:from]) >= within {
			return true
		}
	}
	return false
}
