package delta

import (
	"errors"
	"sort"
)

// ErrPieces is returned where a block would have more pieces than are worth it.
var ErrPieces = errors.New("delta: too many pieces")

// maxPieces bounds the memory for them, whatever the streams are: 1 MiB. A chunk of 1 MiB of a dump of which a hundredth of the rows was
// changed and another inserted has some 400 more with each step of a chain.
const maxPieces = 1 << 15

// Pieces is a block that was not put together: the parts of others that it is made of, in order. Of a chain of deltas only the last block
// is needed; made of pieces, those on the way to it are never written, which took more time than all the rest of applying
// them. The zero value is an empty block. What it is made of is not copied and must not change. It is not safe for concurrent use.
type Pieces struct {
	parts [][]byte
	ends  []int // where each ends in the block
}

// Len returns the length of the block.
func (p *Pieces) Len() int {
	if len(p.ends) == 0 {
		return 0
	}
	return p.ends[len(p.ends)-1]
}

// keptPieces is room for how many pieces is kept from one block to the next: 256 KiB.
const keptPieces = 1 << 13

// Reset makes it an empty block, and lets go of what it was made of.
func (p *Pieces) Reset() {
	if cap(p.parts) > keptPieces {
		*p = Pieces{}
		return
	}
	clear(p.parts)
	p.parts, p.ends = p.parts[:0], p.ends[:0]
}

// Add puts b behind the block.
func (p *Pieces) Add(b []byte) {
	if len(b) > 0 {
		p.parts, p.ends = append(p.parts, b), append(p.ends, p.Len()+len(b))
	}
}

// Whole returns the block if it is of one piece.
func (p *Pieces) Whole() ([]byte, bool) {
	if len(p.parts) != 1 {
		return nil, len(p.parts) == 0
	}
	return p.parts[0], true
}

// AppendTo appends the block to dst.
func (p *Pieces) AppendTo(dst []byte) []byte {
	for _, b := range p.parts {
		dst = append(dst, b...)
	}
	return dst
}

// Apply is [Apply] for blocks in pieces: it puts the target that stream makes of base, which is another block, behind the block, which after
// an error is what it was. ErrPieces means that there would be too many, and the base is to be put together first.
func (p *Pieces) Apply(base *Pieces, stream []byte, size int) error {
	o, err := open(stream, base.Len(), size)
	if err != nil {
		return err
	}
	before := len(p.parts)
	i := 0 // the piece of the base where copying goes on
	for o.next() {
		p.Add(o.insert)
		i = p.addPart(base, i, o.from, o.at)
		if len(p.parts) > maxPieces {
			o.err = ErrPieces
			break
		}
	}
	if o.err != nil {
		clear(p.parts[before:])
		p.parts, p.ends = p.parts[:before], p.ends[:before]
		return o.err
	}
	p.Add(o.literals)
	return nil
}

// addPart adds what base has from one place to another, no more than maxPieces. i is the piece where that is likely to begin, and the one
// where it ended is returned.
func (p *Pieces) addPart(base *Pieces, i, from, to int) int {
	if from == to {
		return i
	}
	switch {
	case i > 0 && base.ends[i-1] > from:
		i = sort.SearchInts(base.ends, from+1)
	case base.ends[i] <= from:
		if i++; base.ends[i] <= from {
			i += sort.SearchInts(base.ends[i:], from+1)
		}
	}
	for ; len(p.parts) <= maxPieces; i++ {
		b, end := base.parts[i], base.ends[i]
		start := end - len(b)
		if to <= end {
			p.Add(b[max(from-start, 0) : to-start])
			break
		}
		p.Add(b[max(from-start, 0):])
	}
	return min(i, len(base.parts)-1)
}
