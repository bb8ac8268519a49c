package seal

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/kura-backup/kura/internal/object"
)

// Epoch names one generation of the keys that are replaced. Two that were made independently have different ids, and so
// have two of which but one public key differs: who vouches for an epoch vouches for all keys that come with it.
type Epoch struct {
	Number uint32
	ID     [16]byte
}

func (e *epoch) name() Epoch { return Epoch{Number: e.number, ID: e.id} }

// identify derives the id of an epoch that has its keys.
func (e *epoch) identify() {
	public := object.Sum(slices.Concat(e.meta.public.Bytes(), e.data.public.Bytes(), e.states.public))
	e.id = [16]byte(derive(e.index[:], public[:], "kura/1 epoch id", 16))
}

// Epoch returns the newest epoch of the keyring: the one that it seals and signs with.
func (k *Keyring) Epoch() Epoch { return k.newest().name() }

// Has reports whether the keyring has the keys of an epoch.
func (k *Keyring) Has(e Epoch) bool {
	got, err := k.epoch(e.Number)
	return err == nil && got.name() == e
}

func epochMessage(repoID [16]byte, e Epoch) []byte {
	b := append([]byte("kura/1 epoch signature\x00"), repoID[:]...)
	return append(binary.LittleEndian.AppendUint32(b, e.Number), e.ID[:]...)
}

// SignEpoch returns what the entry that begins an epoch needs: a signature by the owners' key. By it whoever has the
// epoch's keys can tell that it has begun, without reading the log up to that entry. It is made for that entry alone:
// keys of an epoch that never begins can be with somebody who was shut out before the next rotation. Without the owners'
// key the signature is one that does not count.
func (k *Keyring) SignEpoch(e Epoch) []byte {
	key := k.owners
	if key.private == nil {
		key = k.own.signing
	}
	return ed25519.Sign(key.private, epochMessage(k.repoID, e))
}

// Began reports whether the owners have signed that the epoch began, or it is the first one, which needs no signature.
func (k *Keyring) Began(e Epoch, signature []byte) bool {
	return e.Number == firstEpoch || ed25519.Verify(k.owners.public, epochMessage(k.repoID, e), signature)
}

// Next returns an owner's keyring with one more epoch, whose keys are fresh: new keys for what is sealed, and for
// checkpoints. What gives blobs their ids and cuts files stays, or nothing would be known again.
func (k *Keyring) Next() (*Keyring, error) {
	if k.role != Owner {
		return nil, fmt.Errorf("%w: a %s's keyring makes no new keys", ErrNoKey, k.role)
	}
	last := k.newest().number
	if last == math.MaxUint32 {
		return nil, fmt.Errorf("seal: there is no epoch after %d", last)
	}
	e, err := newEpoch(last + 1)
	if err != nil {
		return nil, err
	}
	next := k.of(k.role, k.own)
	next.epochs = append(next.epochs, e)
	return next, nil
}

// Until returns the keyring as it was in an epoch that it has: without later ones.
func (k *Keyring) Until(e Epoch) (*Keyring, error) {
	if !k.Has(e) {
		return nil, fmt.Errorf("%w: epoch %d", ErrNoKey, e.Number)
	}
	if e == k.Epoch() {
		return k, nil
	}
	old := k.of(k.role, k.own)
	for old.newest().number > e.Number {
		old.epochs = old.epochs[:len(old.epochs)-1]
	}
	old.ring, old.lender = k.ring, k.lender
	return old, nil
}
