package object

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// Hash is the BLAKE3-256 of a whole stored object.
type Hash [32]byte

// Sum returns the hash of a stored object.
func Sum(object []byte) Hash { return blake3.Sum256(object) }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// BlobID is the keyed BLAKE3-256 of a blob's plaintext. The zero BlobID is never a blob.
type BlobID [32]byte

func (id BlobID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first eight hexadecimal digits, for people.
func (id BlobID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether id is unset.
func (id BlobID) IsZero() bool { return id == BlobID{} }

// Compare orders ids by their bytes.
func (id BlobID) Compare(other BlobID) int { return bytes.Compare(id[:], other[:]) }

// ParseBlobID reads 64 hexadecimal digits.
func ParseBlobID(s string) (BlobID, error) {
	var id BlobID
	if err := parseHex(id[:], s); err != nil {
		return BlobID{}, fmt.Errorf("blob id %q: %w", s, err)
	}
	return id, nil
}

// BlobType separates what files contain from what describes them. Ids are keyed by type, so
// blobs of different types never share an id.
type BlobType uint8

// The two types of blobs.
const (
	DataBlob BlobType = 1 // a chunk of a file
	TreeBlob BlobType = 2 // a page of a folder, a page of a long content, or a large xattr
)

func (t BlobType) String() string {
	switch t {
	case DataBlob:
		return "data"
	case TreeBlob:
		return "tree"
	}
	return fmt.Sprintf("blob type %d", uint8(t))
}

// MaxBlobSize is the most bytes a blob, and the plaintext of a segment, may have.
const MaxBlobSize = 16 << 20

// SessionID identifies one attempt at one log entry. A snapshot's id is the id of the session
// that committed it.
type SessionID [16]byte

// sessionDraw is how much of a session's id is random. People see the beginning of it, and it spreads objects over folders.
const sessionDraw = 10

// NewSessionID draws the id of a session that begins on the state after log entry n, which is the end of the id: by it
// those can be told that began before an entry. Whoever reads ids takes them for 16 bytes without a meaning.
func NewSessionID(n uint64) (s SessionID) {
	binary.BigEndian.PutUint64(s[8:], n)
	rand.Read(s[:sessionDraw]) // never fails; n never needs the two bytes that are lost
	return s
}

func (s SessionID) String() string { return hex.EncodeToString(s[:]) }

// Short returns the first eight hexadecimal digits, which is what people see and type.
func (s SessionID) Short() string { return hex.EncodeToString(s[:4]) }

// IsZero reports whether s is unset.
func (s SessionID) IsZero() bool { return s == SessionID{} }

// Compare orders session ids by their bytes.
func (s SessionID) Compare(other SessionID) int { return bytes.Compare(s[:], other[:]) }

// ParseSessionID reads 32 hexadecimal digits.
func ParseSessionID(s string) (SessionID, error) {
	var id SessionID
	if err := parseHex(id[:], s); err != nil {
		return SessionID{}, fmt.Errorf("session id %q: %w", s, err)
	}
	return id, nil
}

func parseHex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("want %d hexadecimal digits", 2*len(dst))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fmt.Errorf("want %d hexadecimal digits", 2*len(dst))
	}
	if hex.EncodeToString(dst) != s {
		return fmt.Errorf("want lower case hexadecimal digits")
	}
	return nil
}
