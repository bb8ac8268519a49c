package parity

import (
	"sync"

	"github.com/klauspost/reedsolomon"
)

// coders are the codes in use. Bodies of one size need at most two.
var coders = cache{codes: make(map[shape]reedsolomon.Encoder)}

// maxCoders bounds what the cache holds, at some 70 KB for the largest code.
const maxCoders = 64

// shape is how many sectors of each kind a group has.
type shape struct{ data, parity int }

type cache struct {
	mu    sync.Mutex
	codes map[shape]reedsolomon.Encoder
}

// get returns the code for groups of a shape. It is safe for concurrent use, and works in the
// goroutine that calls it: there are others that have packs to finish.
func (c *cache) get(data, parity int) (reedsolomon.Encoder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := shape{data, parity}
	if code, ok := c.codes[s]; ok {
		return code, nil
	}
	code, err := reedsolomon.New(data, parity,
		reedsolomon.WithCauchyMatrix(),
		reedsolomon.WithMaxGoroutines(1),
		reedsolomon.WithInversionCache(false)) // no damage is like another
	if err != nil {
		return nil, err
	}
	if len(c.codes) == maxCoders {
		clear(c.codes)
	}
	c.codes[s] = code
	return code, nil
}
