package parity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// FooterSize is the length of the footer: the last bytes of an object with parity.
	FooterSize = 20

	// MaxPercent is the most parity that an object may have, in percent of its body.
	MaxPercent = 50

	// MaxBody is the most bytes that a body may have.
	MaxBody = 1 << 30

	magic = "KPAR"

	largeSector = 4096
	smallSector = 512
	largeBody   = 64 << 10 // bodies longer than this have large sectors

	minParity = 2   // parity sectors of a group
	maxShards = 256 // sectors of a group, of both kinds: the field has as many elements
	sumSize   = 4
)

var (
	// ErrInvalid is returned for numbers that no object has.
	ErrInvalid = errors.New("pack/parity: invalid")

	// ErrBeyond is returned for damage that is more than the parity can mend.
	ErrBeyond = errors.New("pack/parity: the damage is more than can be mended")

	// ErrMember is returned for a pack that is not in a group, or is in it already, or is not what the
	// group says.
	ErrMember = errors.New("pack/parity: not this member")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Footer is what an object says about its parity section.
type Footer struct {
	Body    uint32 // length of the body
	Value   uint32 // what the writer wanted to be found at the end: in packs the length of the sealed directory
	Percent uint8
}

func (f Footer) append(b []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, f.Body)
	b = binary.LittleEndian.AppendUint32(b, f.Value)
	b = append(b, f.Percent, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, magic...)
}

// ParseFooter reads the last [FooterSize] bytes of an object. It returns false when they are no
// footer, or a damaged one: then the object has no parity, or has to be mended.
func ParseFooter(tail []byte) (Footer, bool) {
	if len(tail) != FooterSize || string(tail[16:]) != magic ||
		crc32.Checksum(tail[:12], castagnoli) != binary.LittleEndian.Uint32(tail[12:]) {
		return Footer{}, false
	}
	f := Footer{
		Body:    binary.LittleEndian.Uint32(tail),
		Value:   binary.LittleEndian.Uint32(tail[4:]),
		Percent: tail[8],
	}
	if tail[9]|tail[10]|tail[11] != 0 || check(int64(f.Body), int(f.Percent)) != nil {
		return Footer{}, false
	}
	return f, true
}

// Size returns the length of the whole object that the footer belongs to.
func (f Footer) Size() int64 { return int64(f.Body) + int64(Size(int(f.Body), int(f.Percent))) }

func check(body int64, percent int) error {
	if body < 1 || body > MaxBody {
		return fmt.Errorf("%w: body of %d bytes", ErrInvalid, body)
	}
	if percent < 1 || percent > MaxPercent {
		return fmt.Errorf("%w: parity of %d percent", ErrInvalid, percent)
	}
	return nil
}

// layout says how a body is cut and what its section has.
type layout struct {
	body    int
	sector  int // bytes
	sectors int // of the body
	groups  int // sector i belongs to group i mod groups
	parity  int // parity sectors of each group
}

// newLayout is for a body and a percentage that have been checked.
func newLayout(body, percent int) layout {
	l := layout{body: body, sector: smallSector}
	if body > largeBody {
		l.sector = largeSector
	}
	l.sectors = ceil(body, l.sector)
	l.groups = ceil(l.sectors, 100*maxShards/(100+percent)) // the most that leave room for their parity
	l.parity = parityOf(ceil(l.sectors, l.groups), percent)
	return l
}

func ceil(a, b int) int { return (a + b - 1) / b }

// parityOf returns how many parity sectors a group of n sectors has.
func parityOf(n, percent int) int { return max(minParity, ceil(n*percent, 100)) }

// Size returns the length of the section of a body. It is 0 for numbers that no object has.
func Size(body, percent int) int {
	if check(int64(body), percent) != nil {
		return 0
	}
	return newLayout(body, percent).size()
}

// data returns the number of body sectors of group g.
func (l layout) data(g int) int { return ceil(l.sectors-g, l.groups) }

// index returns where sector i of group g is in a table.
func (l layout) index(g, i int) int {
	if n := l.data(g); i >= n {
		return l.sectors + g + (i-n)*l.groups
	}
	return g + i*l.groups
}

// paritySectors returns the number of parity sectors of all groups.
func (l layout) paritySectors() int { return l.groups * l.parity }

// What lies in the section, and where.
func (l layout) tableSize() int   { return sumSize * (l.sectors + l.paritySectors()) }
func (l layout) tables() [2]int   { return [2]int{FooterSize, l.lastFooter() - l.tableSize()} }
func (l layout) lastFooter() int  { return l.firstParity() + l.sector*l.paritySectors() + l.tableSize() }
func (l layout) firstParity() int { return FooterSize + l.tableSize() }
func (l layout) size() int        { return l.lastFooter() + FooterSize }

// bodySector returns sector i of the body: the last one may be shorter.
func (l layout) bodySector(body []byte, i int) []byte {
	start := i * l.sector
	end := min(start+l.sector, l.body)
	return body[start:end:end]
}

// paritySector returns parity sector j of the section: number j / groups of group j mod groups.
func (l layout) paritySector(section []byte, j int) []byte {
	start := l.firstParity() + j*l.sector
	end := start + l.sector
	return section[start:end:end]
}
