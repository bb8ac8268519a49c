package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/kura-backup/kura/internal/object"
)

// Origin says where the key of segments comes from: a session's secret, sealed to the
// repository's public key of the kind, and the salt of one pack or manifest. It travels with
// its segments and is stored as it is (docs/format.md, section 5).
type Origin struct {
	Kind       Kind                 `cbor:"1,keyasint"`
	Epoch      uint32               `cbor:"2,keyasint"`
	Suite      Suite                `cbor:"3,keyasint"`
	Sealed     []byte               `cbor:"4,keyasint"`
	Salt       [saltSize]byte       `cbor:"5,keyasint"`
	Commitment [commitmentSize]byte `cbor:"6,keyasint"`
}

// Equal reports whether both are the same origin.
func (o *Origin) Equal(p *Origin) bool {
	return o.Kind == p.Kind && o.Epoch == p.Epoch && o.Suite == p.Suite && bytes.Equal(o.Sealed, p.Sealed) &&
		o.Salt == p.Salt && o.Commitment == p.Commitment
}

const segmentInfo = "kura/1 segment"

func originInfo(kind Kind, repoID [16]byte) []byte {
	return append([]byte("kura/1 origin "+kind.String()), repoID[:]...)
}

// Secret is what a session draws once for each kind. Whoever holds it reads what the session
// wrote, which the keyring that made it may not be able to. It is immutable and safe for
// concurrent use, and does not show itself when printed.
type Secret struct {
	kind   Kind
	epoch  uint32
	suite  Suite
	sealed []byte
	secret [secretSize]byte
}

// NewSecret draws a session's secret for one kind and seals it to the repository.
func (k *Keyring) NewSecret(kind Kind) (*Secret, error) {
	if kind != Data && kind != Meta {
		return nil, fmt.Errorf("seal: no secrets of %s", kind)
	}
	epoch := k.newest()
	s := &Secret{kind: kind, epoch: epoch.number, suite: k.suite, secret: random32()}
	sealed, err := hpkeSeal(epoch.pair(kind).public, originInfo(kind, k.repoID), s.secret[:])
	if err != nil {
		return nil, fmt.Errorf("seal: %s secret: %w", kind, err)
	}
	s.sealed = sealed
	return s, nil
}

// Kind returns what the secret is for.
func (s *Secret) Kind() Kind { return s.kind }

// NewOrigin starts a pack or a manifest: an origin with a fresh salt, and the key that seals
// its segments. All origins of a secret share the bytes of Sealed, which must not be changed.
func (s *Secret) NewOrigin() (*Origin, *SegmentKey, error) {
	o := &Origin{Kind: s.kind, Epoch: s.epoch, Suite: s.suite, Sealed: s.sealed, Salt: random32()}
	key, commitment := deriveCommitted(s.secret[:], o.Salt[:], segmentInfo)
	o.Commitment = commitment
	aead, err := newAEAD(o.Suite, key)
	if err != nil {
		return nil, nil, err
	}
	return o, &SegmentKey{aead: aead, seals: sequence{enabled: true}}, nil
}

// OpenOrigin returns the key that opens the segments of one of the secret's own origins, and
// [ErrNoKey] for others.
func (s *Secret) OpenOrigin(o *Origin) (*SegmentKey, error) {
	if o.Kind != s.kind || o.Epoch != s.epoch || string(o.Sealed) != string(s.sealed) {
		return nil, fmt.Errorf("%w: %s origin of another session", ErrNoKey, o.Kind)
	}
	return o.open(&s.secret)
}

// Format implements [fmt.Formatter], so that no verb prints the secret.
func (s *Secret) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "secret for %s", s.kind) }

// OpenOrigin returns the key that opens the segments of an origin. The costly step is done
// once for each session and remembered. Safe for concurrent use.
func (k *Keyring) OpenOrigin(o *Origin) (*SegmentKey, error) {
	if o.Kind != Data && o.Kind != Meta {
		return nil, fmt.Errorf("%w: origin of %s", ErrDamaged, o.Kind)
	}
	secret, err := k.origins.secret(o, func() ([secretSize]byte, error) {
		return k.SessionSecret(o.Kind, o.Epoch, o.Sealed)
	})
	if err != nil {
		return nil, err
	}
	return o.open(&secret)
}

func (o *Origin) open(secret *[secretSize]byte) (*SegmentKey, error) {
	key, commitment := deriveCommitted(secret[:], o.Salt[:], segmentInfo)
	if subtle.ConstantTimeCompare(commitment[:], o.Commitment[:]) != 1 {
		return nil, fmt.Errorf("%w: %s origin: commitment", ErrDamaged, o.Kind)
	}
	aead, err := newAEAD(o.Suite, key)
	if err != nil {
		return nil, err
	}
	return &SegmentKey{aead: aead}, nil
}

// SegmentKey seals or opens the segments of one origin. Open may be called concurrently. Only a
// key made by [Secret.NewOrigin] seals, and it belongs to one goroutine while it does.
type SegmentKey struct {
	aead  cipher.AEAD
	seals sequence
}

// Seal appends a segment's ciphertext to dst: [Overhead] bytes more than its plaintext, which
// may lie at dst's end ([len(dst):]) and nowhere else in dst. Ordinals must ascend; a smaller
// or equal one panics, as does sealing with a key that was made for opening.
func (sk *SegmentKey) Seal(dst []byte, ordinal uint64, plaintext []byte) []byte {
	sk.seals.take(ordinal)
	return sk.aead.Seal(dst, nonce(ordinal), plaintext, nil)
}

// Open appends a segment's plaintext to dst. To decrypt in place pass ciphertext[:0] as dst.
// On an error the bytes behind dst are undefined.
func (sk *SegmentKey) Open(dst []byte, ordinal uint64, ciphertext []byte) ([]byte, error) {
	out, err := sk.aead.Open(dst, nonce(ordinal), ciphertext, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: segment %d does not authenticate", ErrDamaged, ordinal)
	}
	return out, nil
}

// maxOrigins bounds the cache: the sessions whose packs a run meets again and again.
const maxOrigins = 4096

// originCache remembers decapsulated secrets, the oldest leaving first.
type originCache struct {
	mu      sync.Mutex
	secrets map[originID][secretSize]byte
	order   []originID // a ring, once it is full
	oldest  int
}

type originID [32]byte

func newOriginCache() *originCache {
	return &originCache{secrets: make(map[originID][secretSize]byte)}
}

func (c *originCache) secret(o *Origin, open func() ([secretSize]byte, error)) ([secretSize]byte, error) {
	id := o.id()
	c.mu.Lock()
	secret, ok := c.secrets[id]
	c.mu.Unlock()
	if ok {
		return secret, nil
	}
	// Two goroutines may both do the work: that is cheaper than waiting for each other.
	secret, err := open()
	if err != nil {
		return secret, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.secrets[id]; ok {
		return secret, nil
	}
	if len(c.order) < maxOrigins {
		c.order = append(c.order, id)
	} else {
		delete(c.secrets, c.order[c.oldest])
		c.order[c.oldest] = id
		c.oldest = (c.oldest + 1) % maxOrigins
	}
	c.secrets[id] = secret
	return secret, nil
}

// id identifies what a decapsulated secret depends on.
func (o *Origin) id() originID {
	b := make([]byte, 0, 5+len(o.Sealed))
	b = append(b, byte(o.Kind))
	b = binary.LittleEndian.AppendUint32(b, o.Epoch)
	return originID(object.Sum(append(b, o.Sealed...)))
}
