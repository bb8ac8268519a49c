package seal

import (
	"crypto/ed25519"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// A keyring can be lent to a program on a machine that is trusted less. What goes there is a writer's keyring without
// any private key; what takes one is done by whoever lends, who looks at each thing that is asked for. Taken away
// again, it opens nothing and signs nothing.

// Lender does with private keys what the borrower of a keyring asks for. It is safe for concurrent use. Its errors wrap
// ErrDamaged or ErrNoKey where a [Keyring] would say so, and otherwise ErrLender.
type Lender interface {
	// Reads reports whether it opens session secrets of a kind.
	Reads(kind Kind) bool
	// SessionSecret is [Keyring.SessionSecret].
	SessionSecret(kind Kind, epoch uint32, sealed []byte) ([32]byte, error)
	// Sign is [Keyring.Sign].
	Sign(class object.Class, binding, payload []byte) ([ed25519.SignatureSize]byte, error)
}

type wireLent struct {
	Keyring []byte   `cbor:"1,keyasint"` // a writer's wireKeyring, without a holder
	Signing [32]byte `cbor:"2,keyasint"` // public, of the lender
	Slot    []byte   `cbor:"3,keyasint"` // likewise
}

// Lend returns what a borrower gets: the secrets that every writer has, and the public keys of the holder, as who the
// borrower's work will be signed.
func (k *Keyring) Lend() ([]byte, error) {
	own := identity{signing: signingKey{public: k.own.signing.public}, slot: keyPair{public: k.own.slot.public}}
	w, err := k.of(Writer, own).wire()
	if err != nil {
		return nil, err
	}
	keyring, err := wire.Marshal(w)
	if err != nil {
		return nil, err
	}
	defer wipe(keyring)
	return wire.Marshal(&wireLent{Keyring: keyring, Signing: [32]byte(own.signing.public), Slot: own.slot.public.Bytes()})
}

// Borrow reads what [Keyring.Lend] wrote. The keyring has a writer's role, whatever the lender's is, and reads what by opens.
func Borrow(data []byte, by Lender) (*Keyring, error) {
	var w wireLent
	if err := unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("lent keyring: %w", err)
	}
	slot, err := kem.NewPublicKey(w.Slot)
	if err != nil {
		return nil, badKeyring("lender's key: %v", err)
	}
	k, err := decodeKeyring(w.Keyring, &identity{signing: signingKey{public: w.Signing[:]}, slot: keyPair{public: slot}})
	if err != nil {
		return nil, err
	}
	if k.role != Writer {
		return nil, badKeyring("%s's keyring was lent", k.role)
	}
	k.lender = by
	return k, nil
}

// lends reports whether somebody else opens what is of a kind.
func (k *Keyring) lends(kind Kind) bool { return k.lender != nil && k.lender.Reads(kind) }

// SessionSecret opens a session's secret, as it is in an [Origin].
func (k *Keyring) SessionSecret(kind Kind, epoch uint32, sealed []byte) (secret [32]byte, err error) {
	if kind != Data && kind != Meta {
		return secret, fmt.Errorf("%w: origin of %s", ErrDamaged, kind)
	}
	e, err := k.epoch(epoch)
	if err != nil {
		return secret, err
	}
	private := e.pair(kind).private
	switch {
	case private == nil && k.lends(kind):
		return k.lender.SessionSecret(kind, epoch, sealed)
	case private == nil:
		return secret, fmt.Errorf("%w: %s cannot read %s", ErrNoKey, k.role, kind)
	}
	if secret, err = hpkeOpen(private, originInfo(kind, k.repoID), sealed); err != nil {
		return secret, fmt.Errorf("%s origin: %w", kind, err)
	}
	return secret, nil
}

// Sign returns the holder's own signature of a payload, bound to the class and the place of the object that will hold it.
func (k *Keyring) Sign(class object.Class, binding, payload []byte) ([ed25519.SignatureSize]byte, error) {
	return k.signature(k.own.signing, class, binding, payload)
}

// signature signs with a key, or has the lender sign if it is the lender's.
func (k *Keyring) signature(key signingKey, class object.Class, binding, payload []byte) (sig [ed25519.SignatureSize]byte, err error) {
	if key.private == nil && k.lender != nil {
		return k.lender.Sign(class, binding, payload)
	}
	return [ed25519.SignatureSize]byte(ed25519.Sign(key.private, signedMessage(class, binding, payload))), nil
}
