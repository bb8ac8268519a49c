package gc

import (
	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// slice is a part of the plan that is carried out by one entry.
type slice struct {
	drop    map[object.Ref]struct{} // live packs
	repack  []*candidate            // those of drop of which something is carried
	added   []*ownPack              // where that went
	carried map[spot]spot           // the segments in added: from, to
	bytes   int64                   // of these
	damaged []object.Ref            // packs that could not be read
	list    lister                  // of added: it is stored as it grows

	replaced *replacement    // of the last try to commit
	outcome  outcome         // likewise
	garbage  []backends.Info // likewise: what its entry makes garbage
}

// outcome is what an entry means for the result.
type outcome struct {
	packsBefore, packsAfter int
	bytesBefore, bytesAfter int64
	dropped, repacked       int
	unused                  int64 // bytes of packs that were to be repacked and stay
	put                     int64 // bytes of packs and index segments
	added                   int
	gone, revoked           []object.SessionID
	replaced, listed        int // index segments
}

const (
	// sliceBytes is how much is written into new packs before that is committed for the first time. Whatever it carries, an
	// entry costs some passes over the whole index, so in a large repository each next one may carry twice as
	// much, up to slicePart of all that is in packs and up to sliceMost: by then the ones before have made room.
	sliceBytes = 8 << 30
	slicePart  = 64
	sliceMost  = 256 << 30
	// sliceDrops is how many packs one entry drops at most.
	sliceDrops = 1 << 16
)

// sliceSize is how much is written at most into new packs before that is committed, of a repository with these packs. What
// entries say of sizes is not to be believed without a bound.
func sliceSize(packs map[object.Ref]log.Pack) int64 {
	total := int64(0)
	for _, p := range packs {
		total += p.Size
	}
	return min(max(sliceBytes, total/slicePart), sliceMost)
}

// next takes the next part off the plan, of about so many bytes. The first one is not empty because there is
// nothing to drop: its entry has other things to do. What is needed by nobody goes first and alone: that makes room for what is
// to be written.
func (p *plan) next(most int64) *slice {
	s := &slice{drop: map[object.Ref]struct{}{}, carried: map[spot]spot{}}
	n := min(len(p.dead), sliceDrops)
	for _, ref := range p.dead[:n] {
		s.drop[ref] = struct{}{}
	}
	p.dead = p.dead[n:]
	bytes := int64(0)
	for n == 0 && len(p.repack) > 0 && len(s.drop) < sliceDrops {
		k := p.repack[0]
		if bytes += k.needed; bytes > most && len(s.repack) > 0 {
			break
		}
		p.repack = p.repack[1:]
		s.drop[k.ref] = struct{}{}
		s.repack = append(s.repack, k)
	}
	return s
}

// all is the whole plan as one slice.
func (p *plan) all() *slice {
	s := &slice{drop: map[object.Ref]struct{}{}, repack: p.repack}
	for _, ref := range p.dead {
		s.drop[ref] = struct{}{}
	}
	for _, k := range p.repack {
		s.drop[k.ref] = struct{}{}
	}
	return s
}

// dropRepack gives up what is still to be written again.
func (p *plan) dropRepack() {
	for _, k := range p.repack {
		p.unused += k.unused()
	}
	p.repack = nil
}

// left reports whether there is more to do.
func (p *plan) left() bool { return len(p.dead)+len(p.repack) > 0 }

// giveBack puts what a slice has not carried yet back into the plan.
func (p *plan) giveBack(s *slice, from int) {
	for _, k := range s.repack[from:] {
		delete(s.drop, k.ref)
	}
	p.repack = append(s.repack[from:len(s.repack):len(s.repack)], p.repack...)
	s.repack = s.repack[:from]
}

// estimate is how many packs carrying all of the plan would fill, and with how many bytes.
func (p *plan) estimate() (packs int, written int64) {
	bytes := map[object.Class]int64{}
	for _, k := range p.repack {
		bytes[k.ref.Class] += k.needed
		written += k.needed
	}
	for class, b := range bytes {
		size := int64(target(class))
		packs += int((b + size - 1) / size)
	}
	return packs, written
}
