package chunk

import (
	"io"
	"sync"
	"sync/atomic"
)

const (
	// pieceSize is how much is read and searched at once: little, so that it is searched from the CPU's cache, and
	// in it there is one boundary at most.
	pieceSize = 256 << 10
	// slabSize is how much of the stream a slab takes. What of a chunk was in the slab before is copied in front of it.
	slabSize = 4 << 20
	slabs    = 2
	headRoom = MaxSize + (RunBlocks+2)*BlockSize // a chunk in hand, all but one block of a run, part of a block
	// holeRoom is as much of a hole as may turn out to be data, with parts of blocks at both ends.
	holeRoom = (RunBlocks + 2) * BlockSize
)

// Ahead reads a stream ahead and looks for places where it may be cut, each in goroutines of its own, for one
// [Cutter] at a time. It holds up to 25 MiB, of which only what chunks and pieces really take is touched. It is not safe
// for concurrent use.
type Ahead struct {
	rabin       *rabin
	searchers   int
	piece, slab int
	slabs       [slabs][]byte // made when they are first needed

	items chan *item    // in the order of the stream
	work  chan *item    // those that are to be searched
	free  chan []byte   // slabs that are not in use
	stop  chan struct{} // closed when no more is wanted
	busy  sync.WaitGroup
	// The next chunk ends no sooner than behind the byte at settled, and probably not before the one at likely: that
	// follows from the places that were found, if each is where a chunk ends.
	settled, likely atomic.Int64
	failed          bool // a read has failed, and may be under way all the same; it is asked for when nothing is busy
}

// item is the next of a stream: bytes, a hole, or its end.
type item struct {
	slab     []byte
	at, n    int   // where its bytes are in slab; a hole has room for those that may be data, cleared
	hole     int64 // its length
	pos      int64 // in the stream
	err      error
	searched searched
	ready    chan struct{} // closed when it was searched
}

// searched is a range of the stream in which there is no place for a cut, but for the one behind its last byte if
// found is set.
type searched struct {
	from, to int64
	found    bool
}

// NewAhead returns an Ahead for a repository's polynomial, which searches in so many goroutines, at least one.
func NewAhead(polynomial uint64, searchers int) (*Ahead, error) {
	s, err := newSplitter(polynomial)
	if err != nil {
		return nil, err
	}
	return &Ahead{rabin: s.rabin, searchers: max(searchers, 1), piece: pieceSize, slab: slabSize}, nil
}

// start begins with a stream.
func (a *Ahead) start(r io.Reader) {
	a.items = make(chan *item, slabs*slabSize/pieceSize)
	a.work = make(chan *item, a.searchers)
	a.free = make(chan []byte, slabs)
	a.stop = make(chan struct{})
	a.settled.Store(MinSize - 1)
	a.likely.Store(0)
	a.failed = false
	for i := range a.slabs {
		if a.slabs[i] == nil {
			a.slabs[i] = make([]byte, headRoom+a.slab)
		}
		a.free <- a.slabs[i]
	}
	a.busy.Go(func() { a.read(r) })
	for range a.searchers {
		a.busy.Go(a.search)
	}
}

// end ends what was started and waits for it.
func (a *Ahead) end() {
	close(a.stop)
	a.busy.Wait()
	if a.failed {
		a.slabs = [slabs][]byte{} // a read that was given up may still be under way, and write into one
	}
}

// next returns the next item, once it was searched.
func (a *Ahead) next() *item {
	it := <-a.items
	if it.ready != nil {
		<-it.ready
	}
	return it
}

// release gives a slab back.
func (a *Ahead) release(slab []byte) { a.free <- slab }

func (a *Ahead) search() {
	for it := range a.work {
		it.search(a.rabin, max(a.settled.Load(), a.likely.Load()))
		close(it.ready)
		if it.searched.found {
			a.expect(it.searched.to - 1 + MinSize)
		}
	}
}

// expect makes offset the likely one, unless a later one is.
func (a *Ahead) expect(offset int64) {
	for {
		old := a.likely.Load()
		if old >= offset || a.likely.CompareAndSwap(old, offset) {
			return
		}
	}
}

// search looks for the first cut from an offset on. What is behind it is hardly ever of use: that chunk would be too
// short.
func (it *item) search(r *rabin, from int64) {
	s := &it.searched
	data := it.slab[it.at-windowSize : it.at+it.n]
	start := it.pos - windowSize // of data
	s.to = it.pos + int64(it.n)
	s.from = min(max(it.pos, from), s.to)
	if i := r.find(data, int(s.from-start), len(data)); i >= 0 {
		s.to, s.found = start+int64(i)+1, true
	}
}

// known are the ranges that were searched of what is in a window, ascending.
type known []searched

// add adds a range behind the others, and forgets those before an offset.
func (k *known) add(s searched, before int64) {
	n := 0
	for n < len(*k) && (*k)[n].to <= before {
		n++
	}
	*k = append((*k)[:copy(*k, (*k)[n:])], s)
}

// find is rabin.find for data that lies at an offset of the stream: what was searched before is not searched again.
func (k known) find(r *rabin, data []byte, offset int64, from, to int) int {
	for i := range k {
		s := &k[i]
		if s.to <= offset+int64(from) {
			continue
		}
		if s.from >= offset+int64(to) {
			break
		}
		if gap := int(s.from - offset); gap > from {
			if cut := r.find(data, from, gap); cut >= 0 {
				return cut
			}
		}
		if s.found {
			if cut := int(s.to - 1 - offset); cut < to {
				return cut
			}
			return -1
		}
		if from = int(s.to - offset); from >= to {
			return -1
		}
	}
	return r.find(data, from, to)
}
