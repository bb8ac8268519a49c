package seal

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// A ring is a keyring on its way to one holder: signed by the owners, and sealed to the holder's public key. To make
// one takes no credential, so an owner can give new keys to all holders.

// wireRing is the end of a slot.
type wireRing struct {
	Epoch  uint32 `cbor:"1,keyasint"` // newest one in it
	Sealed []byte `cbor:"2,keyasint"` // a wireSignedRing
}

type wireSignedRing struct {
	Keyring   []byte   `cbor:"1,keyasint"`
	Signature [64]byte `cbor:"2,keyasint"`
}

func ringInfo(repoID [16]byte, holder [8]byte, epoch uint32) []byte {
	b := append([]byte("kura/1 ring"), repoID[:]...)
	return binary.LittleEndian.AppendUint32(append(b, holder[:]...), epoch)
}

func ringMessage(repoID [16]byte, holder [8]byte, keyring []byte) []byte {
	b := append([]byte("kura/1 ring signature\x00"), repoID[:]...)
	return append(append(b, holder[:]...), keyring...)
}

// ringFor makes the ring of a holder: what its role may have of the keyring, an owner's.
func (k *Keyring) ringFor(holder Signer) ([]byte, error) {
	if k.owners.private == nil {
		return nil, fmt.Errorf("%w: a %s's keyring gives no keys away", ErrNoKey, k.role)
	}
	to, err := kem.NewPublicKey(holder.Slot)
	if err != nil {
		return nil, fmt.Errorf("seal: slot key of %x: %w", holder.ID, err)
	}
	w, err := k.of(holder.Role, k.own).wire()
	if err != nil {
		return nil, err
	}
	keyring, err := wire.Marshal(w)
	if err != nil {
		return nil, err
	}
	defer wipe(keyring)
	signed := wireSignedRing{Keyring: keyring}
	copy(signed.Signature[:], ed25519.Sign(k.owners.private, ringMessage(k.repoID, holder.ID, keyring)))
	plaintext, err := wire.Marshal(&signed)
	if err != nil {
		return nil, err
	}
	defer wipe(plaintext)
	ring := wireRing{Epoch: k.newest().number}
	if ring.Sealed, err = hpkeSeal(to, ringInfo(k.repoID, holder.ID, ring.Epoch), plaintext); err != nil {
		return nil, fmt.Errorf("seal: keyring of %x: %w", holder.ID, err)
	}
	return wire.Marshal(&ring)
}

// openRing returns the keyring in a ring, for the holder that the front of its slot names.
func openRing(h *wireHolder, own *identity, ring *wireRing) (*Keyring, error) {
	id := SignerID(own.signing.public)
	plaintext, err := hpkeOpenAny(own.slot.private, ringInfo(h.RepoID, id, ring.Epoch), ring.Sealed)
	if err != nil {
		return nil, damaged(object.Slot, "keyring does not open")
	}
	defer wipe(plaintext)
	var signed wireSignedRing
	if err := unmarshal(plaintext, &signed); err != nil {
		return nil, fmt.Errorf("slot object: %w", err)
	}
	if !ed25519.Verify(h.Owners[:], ringMessage(h.RepoID, id, signed.Keyring), signed.Signature[:]) {
		return nil, damaged(object.Slot, "keyring is not signed by an owner")
	}
	k, err := decodeKeyring(signed.Keyring, own)
	if err != nil {
		return nil, err
	}
	if k.repoID != h.RepoID || k.role != h.Role || [32]byte(k.owners.public) != h.Owners || k.newest().number != ring.Epoch {
		return nil, damaged(object.Slot, "keyring is not the holder's")
	}
	return k, nil
}

// SlotEpoch returns the newest epoch of the keyring in a slot of the same holder. It needs no credential. The error is
// [ErrWrongKey] for the slot of another.
func (k *Keyring) SlotEpoch(obj []byte) (Epoch, error) {
	s, err := parseSlot(obj)
	if err != nil {
		return Epoch{}, err
	}
	if s.clear.Key != SignerID(k.own.signing.public) {
		return Epoch{}, fmt.Errorf("%w: slot of %x", ErrWrongKey, s.clear.Key)
	}
	in, err := openRing(&wireHolder{RepoID: k.repoID, Role: k.role, Owners: [32]byte(k.owners.public)}, &k.own, &s.ring)
	if err != nil {
		return Epoch{}, err
	}
	return in.Epoch(), nil
}

// RenewSlot returns a slot that the same credential opens, with what the holder may have of the keyring, an owner's.
// It needs no credential. A slot that the holder has not made is refused as damaged.
func (k *Keyring) RenewSlot(obj []byte, holder Signer) ([]byte, error) {
	s, err := parseSlot(obj)
	if err != nil {
		return nil, err
	}
	if s.clear.Key != holder.ID || len(holder.Public) != ed25519.PublicKeySize ||
		!ed25519.Verify(holder.Public, slotMessage(s.envelope), s.front[len(s.envelope):]) {
		return nil, damaged(object.Slot, "not signed by %x", holder.ID)
	}
	ring, err := k.ringFor(holder)
	if err != nil {
		return nil, err
	}
	return append(s.front[:len(s.front):len(s.front)], ring...), nil
}
