package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/kura-backup/kura/internal/object"
)

const (
	// HeaderSize is the length of the header that every object starts with.
	HeaderSize = 80

	// MaxClear is the most bytes the clear part may have.
	MaxClear = 65536

	// FormatNumber is the number of the repository format that this package reads and writes.
	FormatNumber = 1

	magic = "KURA"
)

// Header is what an object says about itself to those without keys.
type Header struct {
	Class       object.Class
	Format      uint8
	Suite       Suite
	Epoch       uint32
	ClearLength uint32
	Salt        [saltSize]byte
	Commitment  [commitmentSize]byte
}

// ParseHeader reads the header of an object. It needs no key, and b may end after the header.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return Header{}, &FormatError{What: "magic"}
	}
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: object of %d bytes has no header", ErrDamaged, len(b))
	}
	h := Header{
		Class:       object.Class(b[4]),
		Format:      b[5],
		Suite:       Suite(b[6]),
		Epoch:       binary.LittleEndian.Uint32(b[8:]),
		ClearLength: binary.LittleEndian.Uint32(b[12:]),
		Salt:        [saltSize]byte(b[16:48]),
		Commitment:  [commitmentSize]byte(b[48:80]),
	}
	switch {
	case h.Format != FormatNumber:
		return Header{}, &FormatError{What: "format", Number: int64(h.Format)}
	case h.Class < object.Config || h.Class > object.Record:
		return Header{}, &FormatError{What: "class", Number: int64(h.Class)}
	case h.Suite != AES256GCM && h.Suite != ChaCha20Poly1305:
		return Header{}, &FormatError{What: "suite", Number: int64(h.Suite)}
	case b[7] != 0:
		return Header{}, &FormatError{What: "header byte", Number: int64(b[7])}
	case h.ClearLength > MaxClear:
		return Header{}, damaged(h.Class, "header")
	}
	return h, nil
}

func (h *Header) append(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, byte(h.Class), h.Format, byte(h.Suite), 0)
	b = binary.LittleEndian.AppendUint32(b, h.Epoch)
	b = binary.LittleEndian.AppendUint32(b, h.ClearLength)
	b = append(b, h.Salt[:]...)
	return append(b, h.Commitment[:]...)
}

func envelopeInfo(class object.Class) string { return "kura/1 envelope " + class.String() }

// Envelope seals or opens the parts of one object under the key that only this object has.
//
// One made by [Keyring.NewEnvelope] seals each part once, in ascending order, and so belongs to
// one goroutine. OpenPart may be called concurrently.
type Envelope struct {
	class  object.Class
	aead   cipher.AEAD
	aad    []byte // header ‖ clear part ‖ binding
	header int    // length of header and clear part
	seals  sequence
}

// sequence hands out each nonce number at most once. The zero value hands out none. The lock is
// only there so that even a misuse from two goroutines cannot use a number twice.
type sequence struct {
	enabled bool
	mu      sync.Mutex
	next    uint64
}

// take panics when number i was used, or skipped, before: encrypting twice under one nonce
// would give away the plaintexts, so there is no error to handle wrongly.
func (s *sequence) take(i uint64) {
	if !s.enabled {
		panic("seal: sealing with a key that was made for opening")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < s.next || i == math.MaxUint64 {
		panic(fmt.Sprintf("seal: nonce number %d would be used again", i))
	}
	s.next = i + 1
}

// newEnvelope makes the envelope of a new object: h says all but the length of the clear part
// and the commitment.
func newEnvelope(h Header, clear, binding []byte, secret []byte) (*Envelope, error) {
	if len(clear) > MaxClear {
		return nil, fmt.Errorf("seal: clear part of %d bytes", len(clear))
	}
	h.ClearLength = uint32(len(clear))
	key, commitment := deriveCommitted(secret, h.Salt[:], envelopeInfo(h.Class))
	h.Commitment = commitment
	aead, err := newAEAD(h.Suite, key)
	if err != nil {
		return nil, err
	}
	aad := make([]byte, 0, HeaderSize+len(clear)+len(binding))
	aad = append(h.append(aad), clear...)
	e := &Envelope{class: h.Class, aead: aead, header: len(aad), seals: sequence{enabled: true}}
	e.aad = append(aad, binding...)
	return e, nil
}

// openEnvelope makes the envelope of a stored object, once the commitment shows that secret is
// the right one. headerAndClear may be followed by more bytes.
func openEnvelope(h Header, headerAndClear, binding []byte, secret []byte) (*Envelope, error) {
	key, commitment := deriveCommitted(secret, h.Salt[:], envelopeInfo(h.Class))
	if subtle.ConstantTimeCompare(commitment[:], h.Commitment[:]) != 1 {
		return nil, fmt.Errorf("%w: %s object", ErrWrongKey, h.Class)
	}
	aead, err := newAEAD(h.Suite, key)
	if err != nil {
		return nil, err
	}
	n := HeaderSize + int(h.ClearLength)
	aad := make([]byte, 0, n+len(binding))
	aad = append(append(aad, headerAndClear[:n]...), binding...)
	return &Envelope{class: h.Class, aead: aead, aad: aad, header: n}, nil
}

// parseClass reads a header that must be of the given class and be followed by its clear part.
func parseClass(class object.Class, b []byte) (Header, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Header{}, err
	}
	if h.Class != class {
		return Header{}, damaged(class, "header says %s", h.Class)
	}
	if len(b)-HeaderSize < int(h.ClearLength) {
		return Header{}, damaged(class, "clear part is cut off")
	}
	return h, nil
}

// NewEnvelope starts a new object of the given class, under the keyring's newest epoch. The
// clear part is authenticated and stored; the binding is authenticated and not stored.
func (k *Keyring) NewEnvelope(class object.Class, clear, binding []byte) (*Envelope, error) {
	if class == object.Slot {
		return nil, fmt.Errorf("seal: a slot is not sealed with a keyring")
	}
	epoch := k.newest()
	h := Header{Class: class, Format: FormatNumber, Suite: k.suite, Epoch: epoch.number, Salt: random32()}
	return newEnvelope(h, clear, binding, epoch.index[:])
}

// OpenEnvelope starts reading an object, given its first bytes: header and clear part. More
// bytes may follow them.
func (k *Keyring) OpenEnvelope(class object.Class, binding, headerAndClear []byte) (*Envelope, error) {
	h, err := parseClass(class, headerAndClear)
	if err != nil {
		return nil, err
	}
	if class == object.Slot {
		return nil, fmt.Errorf("seal: a slot is not opened with a keyring")
	}
	epoch, err := k.epoch(h.Epoch)
	if err != nil {
		return nil, err
	}
	return openEnvelope(h, headerAndClear, binding, epoch.index[:])
}

// Header returns header and clear part: what the object starts with. The caller must not change it.
func (e *Envelope) Header() []byte { return e.aad[:e.header:e.header] }

// Clear returns the clear part. The caller must not change it.
func (e *Envelope) Clear() []byte { return e.aad[HeaderSize:e.header:e.header] }

// SealPart appends part i, sealed, to dst: [Overhead] bytes more than its plaintext. Each part
// is sealed once and in ascending order; anything else panics, as does sealing into an object
// that was opened. The plaintext may lie at dst's end ([len(dst):]), and nowhere else in dst.
func (e *Envelope) SealPart(dst []byte, i uint64, plaintext []byte) []byte {
	e.seals.take(i)
	return e.aead.Seal(dst, nonce(i), plaintext, e.aad)
}

// OpenPart appends the plaintext of part i to dst. Safe for concurrent use. To decrypt in
// place pass ciphertext[:0] as dst. On an error the bytes behind dst are undefined.
func (e *Envelope) OpenPart(dst []byte, i uint64, ciphertext []byte) ([]byte, error) {
	out, err := e.aead.Open(dst, nonce(i), ciphertext, e.aad)
	if err != nil {
		return nil, damaged(e.class, "part %d does not authenticate", i)
	}
	return out, nil
}

// Seal makes a whole object with one sealed part.
func (k *Keyring) Seal(class object.Class, clear, binding, plaintext []byte) ([]byte, error) {
	e, err := k.NewEnvelope(class, clear, binding)
	if err != nil {
		return nil, err
	}
	return e.sealWhole(plaintext), nil
}

func (e *Envelope) sealWhole(plaintext []byte) []byte {
	obj := make([]byte, 0, e.header+len(plaintext)+Overhead)
	return e.SealPart(append(obj, e.Header()...), 0, plaintext)
}

// Open reads a whole object with one sealed part. It does not change obj, and what it returns
// shares no memory with it.
func (k *Keyring) Open(class object.Class, binding, obj []byte) (clear, plaintext []byte, err error) {
	e, err := k.OpenEnvelope(class, binding, obj)
	if err != nil {
		return nil, nil, err
	}
	plaintext, err = e.OpenPart(nil, 0, obj[e.header:])
	if err != nil {
		return nil, nil, err
	}
	return bytes.Clone(e.Clear()), plaintext, nil
}

// BindRepo is the binding of config, packs, index segments, parity of groups and records.
func BindRepo(repoID [16]byte) []byte { return repoID[:] }

// BindLog is the binding of log entry n, prev being the hash of entry n-1 (zero for n = 1).
func BindLog(repoID [16]byte, n uint64, prev object.Hash) []byte {
	b := binary.LittleEndian.AppendUint64(repoID[:], n)
	return append(b, prev[:]...)
}

// BindSign is the binding of a session's k-th sign of life.
func BindSign(repoID, session [16]byte, k uint32) []byte {
	return binary.LittleEndian.AppendUint64(append(repoID[:], session[:]...), uint64(k))
}

// BindCheckpoint is the binding of the checkpoint after log entry n.
func BindCheckpoint(repoID [16]byte, n uint64) []byte {
	return binary.LittleEndian.AppendUint64(repoID[:], n)
}
