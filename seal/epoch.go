package seal

import (
	"fmt"
	"math"
)

// Epoch names one generation of the keys that are replaced. Two that were made independently have different ids.
type Epoch struct {
	Number uint32
	ID     [16]byte
}

func (e *epoch) name() Epoch {
	return Epoch{Number: e.number, ID: [16]byte(derive(e.index[:], nil, "kura/0 epoch id", 16))}
}

// Epoch returns the newest epoch of the keyring: the one that it seals and signs with.
func (k *Keyring) Epoch() Epoch { return k.newest().name() }

// Has reports whether the keyring has the keys of an epoch.
func (k *Keyring) Has(e Epoch) bool {
	got, err := k.epoch(e.Number)
	return err == nil && got.name() == e
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
	old.ring = k.ring
	return old, nil
}
