package chunk

import (
	"errors"
	"fmt"

	"github.com/restic/chunker"
)

// ErrPolynomial is returned for a number that no repository can have drawn as its polynomial.
var ErrPolynomial = errors.New("chunk: polynomial is not irreducible of degree 53")

// splitter finds the boundaries inside one stretch of data, those of restic's chunker v0.5.0. It is not
// safe for concurrent use.
type splitter struct {
	rabin *rabin
	seen  int // bytes of the chunk in hand behind which there is no boundary
}

func newSplitter(polynomial uint64) (splitter, error) {
	pol := chunker.Pol(polynomial)
	if pol.Deg() != polDegree || !pol.Irreducible() {
		return splitter{}, fmt.Errorf("%w: %#x", ErrPolynomial, polynomial)
	}
	return splitter{rabin: newRabin(pol)}, nil
}

// next returns the length of the first chunk in data, or 0 if more has to be seen. data starts at the
// chunk in hand; until a length is returned, each call must pass the same bytes and may pass
// more behind them.
// offset is where data is in the stream, and k what is known of it already.
func (s *splitter) next(data []byte, offset int64, k known) int {
	// There is no boundary before the minimum, so a short stretch is never searched.
	if len(data) < MinSize || len(data) == s.seen {
		return 0
	}
	end := min(len(data), MaxSize)
	i := k.find(s.rabin, data, offset, max(s.seen, MinSize-1), end)
	switch {
	case i >= 0:
		end = i + 1
	case end < MaxSize:
		s.seen = end
		return 0
	}
	s.seen = 0
	return end
}

// restart forgets the chunk in hand.
func (s *splitter) restart() { s.seen = 0 }
