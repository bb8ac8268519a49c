package chunk

import "fmt"

// The numbers of the format. All of them decide boundaries.
const (
	BlockSize = 4096      // the unit of the zero rule
	RunBlocks = 16        // the fewest zero blocks in a row that are not chunked
	MinSize   = 512 << 10 // no chunk is shorter, unless its stretch of data ends
	MaxSize   = 8 << 20   // no chunk is longer

	averageBits = 20 // a boundary every 2^20 bytes past the minimum, on average
	polDegree   = 53
)

// Kind says what an extent of a stream is. The numbers are those stored in trees.
type Kind uint8

// The kinds of extents.
const (
	Data  Kind = 0 // bytes
	Hole  Kind = 1 // not allocated in the source; reads as zeros
	Zeros Kind = 2 // zeros that were read
)

func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Hole:
		return "hole"
	case Zeros:
		return "zeros"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Chunk is the next extent of a stream. A chunk is a plain value, but its Data is borrowed.
type Chunk struct {
	Kind   Kind
	Offset int64 // in the stream
	Length int64
	// Data is the content of a chunk of kind Data, 1 to [MaxSize] bytes. It belongs to the Cutter and is
	// valid until the next call of Next or Reset.
	Data []byte
}
