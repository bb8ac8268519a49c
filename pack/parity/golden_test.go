package parity

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
)

// goldenBody is byte i = (i·i + i>>8) mod 256.
func goldenBody(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i + i>>8)
	}
	return b
}

// For a body made by rule: the object's length and hash, and all of a small one. They never change.
func TestGolden_Objects_EncodedAsEver(t *testing.T) {
	var lines strings.Builder
	for _, c := range []struct {
		body    int
		value   uint32
		percent int
	}{
		{1, 0, 1},
		{512, 1, 3},
		{513, 2, 3},
		{1500, 3, 10},
		{65536, 4, 3},
		{65537, 5, 3},
		{100000, 6, 50},
		{248*4096 + 1, 7, 3},
		{4 << 20, 8, 3},
		{4 << 20, 9, 50},
		{16<<20 + 12345, 0xfffffffe, 3},
	} {
		obj := protected(t, goldenBody(c.body), c.value, c.percent)
		fmt.Fprintf(&lines, "body %d value %d percent %d: %d bytes %v\n", c.body, c.value, c.percent, len(obj), object.Sum(obj))
	}
	golden(t, "objects.txt", lines.String())
	golden(t, "small.hex", hex.EncodeToString(protected(t, goldenBody(1100), 77, 3))+"\n")
}
