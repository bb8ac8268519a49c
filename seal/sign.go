package seal

import (
	"crypto/ed25519"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// Signer is someone whose signatures count, and for what.
type Signer struct {
	ID     [8]byte
	Role   Role
	Public ed25519.PublicKey
	// Of a key of the repository: what keyrings for it are sealed to, and what people know it by.
	Slot  []byte
	Name  string
	Added int64 // ns since 1970
}

// SignerID returns the id of a public signing key.
func SignerID(public ed25519.PublicKey) [8]byte {
	h := object.Sum(public)
	return [8]byte(h[:8])
}

// Signers are the known signers by their ids. Reading it concurrently is safe.
type Signers map[[8]byte]Signer

// signers returns one signer.
func signers(role Role, public ed25519.PublicKey) Signers {
	id := SignerID(public)
	return Signers{id: {ID: id, Role: role, Public: public}}
}

type wireBody struct {
	Signer    [8]byte  `cbor:"1,keyasint"`
	Payload   []byte   `cbor:"2,keyasint"`
	Signature [64]byte `cbor:"3,keyasint"`
}

func signedMessage(class object.Class, binding, payload []byte) []byte {
	msg := append([]byte("kura/1 sign "+class.String()), 0)
	msg = append(msg, binding...)
	return append(msg, payload...)
}

// SignBody returns payload with a signature, bound to the class and the place of the object that will hold it. A
// config is signed with the owners' key, a checkpoint with that of the newest epoch, all else, and what the role has
// no such key for, with the holder's own.
func (k *Keyring) SignBody(class object.Class, binding, payload []byte) ([]byte, error) {
	key := signingKey{}
	switch class {
	case object.Config:
		key = k.owners
	case object.Checkpoint:
		key = k.newest().states
	}
	if key.private == nil {
		key = k.own.signing
	}
	return k.signBody(key, class, binding, payload)
}

// SignFirst is SignBody for the first entry of the log, which the owners' key signs: it names the others.
func (k *Keyring) SignFirst(binding, payload []byte) ([]byte, error) {
	if k.owners.private == nil {
		return nil, fmt.Errorf("%w: a %s's keyring can not begin a log", ErrNoKey, k.role)
	}
	return k.signBody(k.owners, object.LogEntry, binding, payload)
}

func (k *Keyring) signBody(key signingKey, class object.Class, binding, payload []byte) ([]byte, error) {
	signature, err := k.signature(key, class, binding, payload)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(&wireBody{Signer: SignerID(key.public), Payload: payload, Signature: signature})
}

// VerifyBody returns the payload of a signed body and who signed it. If the signer is not
// among signers it returns the payload, with a Signer that has no more than its ID, and
// [ErrUnknownSigner]: nothing is known about such a payload's truth. A signature that does
// not verify is [ErrDamaged].
func VerifyBody(class object.Class, binding, body []byte, signers Signers) ([]byte, Signer, error) {
	var w wireBody
	if err := unmarshal(body, &w); err != nil {
		return nil, Signer{}, fmt.Errorf("signed body of a %s object: %w", class, err)
	}
	who, ok := signers[w.Signer]
	if !ok {
		return w.Payload, Signer{ID: w.Signer}, fmt.Errorf("%w: %x", ErrUnknownSigner, w.Signer)
	}
	if len(who.Public) != ed25519.PublicKeySize ||
		!ed25519.Verify(who.Public, signedMessage(class, binding, w.Payload), w.Signature[:]) {
		return nil, Signer{}, damaged(class, "signature of %x does not verify", w.Signer)
	}
	return w.Payload, who, nil
}
