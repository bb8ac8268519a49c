package main

import (
	"encoding/binary"
	"math/rand/v2"
)

// randomBytes returns bytes that do not compress, the same for a seed.
func randomBytes(n int, seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}
