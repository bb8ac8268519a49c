package seal

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// SlotKind says what opens a slot.
type SlotKind uint8

const (
	passphraseSlot SlotKind = 1
	keyFileSlot    SlotKind = 2
)

func (k SlotKind) String() string {
	switch k {
	case passphraseSlot:
		return "password"
	case keyFileSlot:
		return "key file"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// SlotInfo is what a slot says of itself to those who can not open it. Only the holder can tell if that is true, and
// an owner who knows the holder's public key (see [Keyring.RenewSlot]).
type SlotInfo struct {
	Kind  SlotKind
	Key   [8]byte     // id of the holder's signing key
	Epoch uint32      // newest one of the keyring in it
	Front object.Hash // of all but the keyring: equal in the slots of one credential of one holder
}

// ParseSlot reads what a slot says without opening it.
func ParseSlot(obj []byte) (SlotInfo, error) {
	s, err := parseSlot(obj)
	if err != nil {
		return SlotInfo{}, err
	}
	return SlotInfo{Kind: s.clear.Kind, Key: s.clear.Key, Epoch: s.ring.Epoch, Front: object.Sum(s.front)}, nil
}

// slotClear is the clear part of a slot.
type slotClear struct {
	Kind    SlotKind `cbor:"1,keyasint"`
	Time    uint32   `cbor:"2,keyasint,omitempty"`
	Memory  uint32   `cbor:"3,keyasint,omitempty"`
	Threads uint32   `cbor:"4,keyasint,omitempty"`
	Tag     []byte   `cbor:"5,keyasint,omitempty"`
	Key     [8]byte  `cbor:"8,keyasint"`
	Length  uint32   `cbor:"9,keyasint"` // of the sealed identity
}

// wireHolder is the one sealed part of a slot.
type wireHolder struct {
	RepoID   [16]byte `cbor:"1,keyasint"`
	Role     Role     `cbor:"2,keyasint"`
	SignSeed []byte   `cbor:"3,keyasint"`
	SlotSeed []byte   `cbor:"4,keyasint"`
	Owners   [32]byte `cbor:"5,keyasint"`
}

// SealSlot returns a slot: the keyring, for whoever has the credential. The cost is that of a
// passphrase; a key file is strong by itself and does not use it.
func SealSlot(k *Keyring, c Credential, cost Cost) ([]byte, error) {
	ring := k.ring
	if ring == nil {
		var err error
		if ring, err = k.ringFor(k.Self()); err != nil {
			return nil, err
		}
	}
	front, err := k.sealHolder(c, cost)
	if err != nil {
		return nil, err
	}
	return append(front, ring...), nil
}

// sealHolder returns the part of a slot that the credential is for: who holds the slot, with a signature by which an
// owner can tell that it is genuine.
func (k *Keyring) sealHolder(c Credential, cost Cost) ([]byte, error) {
	_, slotSeed, err := k.own.slot.encode()
	if err != nil {
		return nil, fmt.Errorf("seal: slot: %w", err)
	}
	plaintext, err := wire.Marshal(&wireHolder{
		RepoID: k.repoID, Role: k.role, SignSeed: k.own.signing.seed(), SlotSeed: slotSeed, Owners: [32]byte(k.owners.public),
	})
	if err != nil {
		return nil, err
	}
	defer wipe(plaintext)
	h := Header{Class: object.Slot, Format: FormatNumber, Suite: k.suite, Salt: random32()}
	clear, secret, err := c.seal(&h.Salt, cost)
	if err != nil {
		return nil, err
	}
	clear.Key, clear.Length = SignerID(k.own.signing.public), uint32(len(plaintext)+Overhead)
	clearPart, err := wire.Marshal(clear)
	if err != nil {
		return nil, err
	}
	e, err := newEnvelope(h, clearPart, nil, secret[:])
	if err != nil {
		return nil, err
	}
	front := e.sealWhole(plaintext)
	return append(front, ed25519.Sign(k.own.signing.private, slotMessage(front))...), nil
}

func slotMessage(envelope []byte) []byte {
	return append([]byte("kura/1 slot signature\x00"), envelope...)
}

// slotObject is a slot taken apart.
type slotObject struct {
	header   Header
	clear    slotClear
	envelope []byte // header, clear part and sealed holder
	front    []byte // envelope and signature
	ring     wireRing
	rawRing  []byte
}

func parseSlot(obj []byte) (*slotObject, error) {
	h, err := parseClass(object.Slot, obj)
	if err != nil {
		return nil, err
	}
	if h.Epoch != 0 {
		return nil, damaged(object.Slot, "epoch %d", h.Epoch)
	}
	s := &slotObject{header: h}
	n := HeaderSize + int(h.ClearLength)
	if err := unmarshal(obj[HeaderSize:n], &s.clear); err != nil {
		return nil, fmt.Errorf("slot object: %w", err)
	}
	if rest := int64(len(obj) - n); int64(s.clear.Length)+ed25519.SignatureSize > rest {
		return nil, damaged(object.Slot, "cut off")
	}
	n += int(s.clear.Length)
	s.envelope, s.front, s.rawRing = obj[:n], obj[:n+ed25519.SignatureSize], obj[n+ed25519.SignatureSize:]
	if err := unmarshal(s.rawRing, &s.ring); err != nil {
		return nil, fmt.Errorf("slot object: %w", err)
	}
	return s, nil
}

// OpenSlot returns the keyring in a slot. It returns [ErrWrongKey] if the credential is not
// the slot's; for all but a passphrase in a passphrase slot that is found out at once, so that
// a client can try its credential on every slot.
func OpenSlot(obj []byte, c Credential) (*Keyring, error) {
	s, err := parseSlot(obj)
	if err != nil {
		return nil, err
	}
	secret, err := c.open(&s.header.Salt, &s.clear)
	if err != nil {
		return nil, err
	}
	e, err := openEnvelope(s.header, s.envelope, nil, secret[:])
	if err != nil {
		return nil, err
	}
	plaintext, err := e.OpenPart(nil, 0, s.envelope[e.header:])
	if err != nil {
		return nil, err
	}
	defer wipe(plaintext)
	var w wireHolder
	if err := unmarshal(plaintext, &w); err != nil {
		return nil, fmt.Errorf("slot object: %w", err)
	}
	own, err := decodeIdentity(w.SignSeed, w.SlotSeed)
	if err != nil {
		return nil, damaged(object.Slot, "%v", err)
	}
	public := own.signing.public
	if SignerID(public) != s.clear.Key || !ed25519.Verify(public, slotMessage(s.envelope), s.front[len(s.envelope):]) {
		return nil, damaged(object.Slot, "not signed by its holder")
	}
	k, err := openRing(&w, &own, &s.ring)
	if err != nil {
		return nil, err
	}
	k.ring = bytes.Clone(s.rawRing)
	return k, nil
}

// wipe shortens the life of secrets in memory. Go may hold other copies.
func wipe(b []byte) { clear(b) }
