package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/cpu"
)

// Suite is the AEAD of an object or of an origin's segments.
type Suite uint8

// The suites.
const (
	AES256GCM        Suite = 1
	ChaCha20Poly1305 Suite = 2
)

func (s Suite) String() string {
	switch s {
	case AES256GCM:
		return "AES-256-GCM"
	case ChaCha20Poly1305:
		return "ChaCha20-Poly1305"
	}
	return fmt.Sprintf("suite %d", uint8(s))
}

const (
	secretSize     = 32
	saltSize       = 32
	commitmentSize = 32

	// Overhead is what sealing adds to a plaintext: the tag.
	Overhead = 16
)

// preferredSuite is AES-256-GCM where the CPU has instructions for it: without them it is slow
// and no longer runs in constant time.
var preferredSuite = func() Suite {
	switch {
	case cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ,
		cpu.ARM64.HasAES && cpu.ARM64.HasPMULL,
		cpu.S390X.HasAES && cpu.S390X.HasAESGCM:
		return AES256GCM
	}
	return ChaCha20Poly1305
}()

// newAEAD makes the cipher of a suite. A key of the wrong length is a programming error.
func newAEAD(suite Suite, key []byte) (cipher.AEAD, error) {
	switch suite {
	case AES256GCM:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	case ChaCha20Poly1305:
		return chacha20poly1305.New(key)
	}
	return nil, &FormatError{What: "suite", Number: int64(suite)}
}

// nonce returns nonce number i: four zero bytes and i, big-endian.
func nonce(i uint64) []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[4:], i)
	return n[:]
}

// derive is HKDF-SHA-256 with n bytes of output.
func derive(secret, salt []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, secret, salt, info, n)
	if err != nil {
		panic(err) // only for outputs that are too long
	}
	return out
}

// deriveCommitted returns the AEAD key and the commitment that a secret and a salt give.
func deriveCommitted(secret, salt []byte, info string) (key []byte, commitment [commitmentSize]byte) {
	out := derive(secret, salt, info, secretSize+commitmentSize)
	return out[:secretSize], [commitmentSize]byte(out[secretSize:])
}

// random32 returns 32 random bytes. The system's generator does not fail.
func random32() (b [32]byte) {
	rand.Read(b[:])
	return b
}
