package parity

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/kura-backup/kura/internal/object"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n, n+n/8+4096)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// protected returns an object with parity.
func protected(t testing.TB, body []byte, value uint32, percent int) []byte {
	t.Helper()
	obj, err := Append(bytes.Clone(body), value, percent)
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// byHash accepts one object, as a reader does that knows its name.
func byHash(want []byte) func([]byte) bool {
	h := object.Sum(want)
	return func(got []byte) bool { return object.Sum(got) == h }
}

// body returns the noise of an object that is no pack.
func body(r *rand.Rand, n int) []byte {
	b := noise(r, n)
	copy(b, headerMagic+"\x07")
	return b
}
