package seal

import (
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/subtle"
	"fmt"

	"github.com/restic/chunker"
)

// Role says what the holder of a keyring may do. Higher roles may do what lower ones may.
type Role uint8

// The roles.
const (
	Writer     Role = 1 // backs up, and cannot read what it wrote
	Maintainer Role = 2 // also reads trees and manifests: lists, forgets, collects
	Owner      Role = 3 // also reads data, and changes keys
)

func (r Role) String() string {
	switch r {
	case Writer:
		return "writer"
	case Maintainer:
		return "maintainer"
	case Owner:
		return "owner"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ParseRole is the inverse of String.
func ParseRole(name string) (Role, error) {
	for r := Writer; r <= Owner; r++ {
		if r.String() == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("there is no role %q", name)
}

func (r Role) valid() bool { return r >= Writer && r <= Owner }

// Kind says what an origin's segments hold, and so whose public key its secret is sealed to.
type Kind uint8

// The kinds.
const (
	Data Kind = 1 // data packs
	Meta Kind = 2 // tree packs and manifests
)

func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Meta:
		return "meta"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// reader returns the lowest role that has the private key of the kind.
func (k Kind) reader() Role {
	if k == Meta {
		return Maintainer
	}
	return Owner
}

// Keyring holds the secrets of a repository that a role may have. It never changes after it
// was made, and is safe for concurrent use. It does not show its secrets when printed.
type Keyring struct {
	repoID     [16]byte
	role       Role
	idSecret   [32]byte
	polynomial chunker.Pol
	epochs     []epoch    // ascending by number, at least one
	owners     signingKey // the anchor of all signatures
	own        identity   // of the one who holds this keyring
	ring       []byte     // the keyring as it lies in its holder's slots; nil where only an owner could make it
	lender     Lender     // has the private keys of a keyring that was lent; nil mostly

	// Derived.
	suite   Suite
	hasher  *BlobHasher
	origins *originCache
}

// identity is what one key of the repository, and no other, has: what it signs with, and what keyrings are sealed
// to that its slots shall hold.
type identity struct {
	signing signingKey
	slot    keyPair
}

// epoch is one generation of the keys that can be replaced.
type epoch struct {
	number uint32
	index  [32]byte
	meta   keyPair
	data   keyPair
	states signingKey // signs checkpoints: maintainers and owners have it
	id     [16]byte   // derived from the secret and the public keys
}

func (e *epoch) pair(kind Kind) *keyPair {
	if kind == Meta {
		return &e.meta
	}
	return &e.data
}

// keyPair is an HPKE key; private is nil where the role may not have it.
type keyPair struct {
	public  hpke.PublicKey
	private hpke.PrivateKey
}

// signingKey is a key for signatures; private is nil where the keyring's role may not have it.
type signingKey struct {
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

func newSigningKey() signingKey { return signingKeyOf(random32()) }

func signingKeyOf(seed [32]byte) signingKey {
	private := ed25519.NewKeyFromSeed(seed[:])
	return signingKey{public: private.Public().(ed25519.PublicKey), private: private}
}

// firstEpoch is not zero, so that a header without an epoch (a slot's) is told from others.
const firstEpoch = 1

// NewKeyring draws all secrets of a new repository and returns the owner's keyring.
func NewKeyring(repoID [16]byte) (*Keyring, error) {
	polynomial, err := chunker.RandomPolynomial()
	if err != nil {
		return nil, fmt.Errorf("seal: chunker polynomial: %w", err)
	}
	return newKeyring(repoID, random32(), polynomial)
}

// NewKeyringSharing is NewKeyring, but that blobs get the ids, and inputs are cut, as with the keyring from: what
// one of the two repositories holds needs no new names to be copied into the other. Nothing else is shared.
func NewKeyringSharing(repoID [16]byte, from *Keyring) (*Keyring, error) {
	return newKeyring(repoID, from.idSecret, from.polynomial)
}

// SharesIDs reports whether both keyrings give a blob the same id.
func (k *Keyring) SharesIDs(other *Keyring) bool {
	return subtle.ConstantTimeCompare(k.idSecret[:], other.idSecret[:]) == 1
}

// newKeyring draws all secrets but those that are given.
func newKeyring(repoID [16]byte, idSecret [32]byte, polynomial chunker.Pol) (*Keyring, error) {
	own, err := newIdentity()
	if err != nil {
		return nil, err
	}
	e, err := newEpoch(firstEpoch)
	if err != nil {
		return nil, err
	}
	k := &Keyring{
		repoID: repoID, role: Owner, idSecret: idSecret, polynomial: polynomial,
		epochs: []epoch{e}, owners: newSigningKey(), own: own,
	}
	k.finish()
	return k, nil
}

func newIdentity() (identity, error) {
	slot, err := kem.GenerateKey()
	if err != nil {
		return identity{}, fmt.Errorf("seal: slot key: %w", err)
	}
	return identity{signing: newSigningKey(), slot: keyPair{public: slot.PublicKey(), private: slot}}, nil
}

func newEpoch(number uint32) (epoch, error) {
	e := epoch{number: number, index: random32(), states: newSigningKey()}
	for _, kind := range []Kind{Data, Meta} {
		private, err := kem.GenerateKey()
		if err != nil {
			return epoch{}, fmt.Errorf("seal: %s key: %w", kind, err)
		}
		*e.pair(kind) = keyPair{public: private.PublicKey(), private: private}
	}
	e.identify()
	return e, nil
}

// finish derives what is not stored, from fields that were validated.
func (k *Keyring) finish() {
	k.suite = preferredSuite
	k.hasher = newBlobHasher(k.idSecret[:])
	k.origins = newOriginCache()
}

// Subset returns the keyring of a new key with a role: not one secret more than that role has, and a signing key of
// its own. Only an owner's keyring can make others. It opens and signs nothing for others before the log names it.
func (k *Keyring) Subset(role Role) (*Keyring, error) {
	if !role.valid() || k.role != Owner {
		return nil, fmt.Errorf("%w: a %s's keyring makes no %s's", ErrNoKey, k.role, role)
	}
	own, err := newIdentity()
	if err != nil {
		return nil, err
	}
	sub := k.of(role, own)
	sub.ring, err = k.ringFor(sub.Self())
	return sub, err
}

// of returns what the role may have, for the holder of an identity.
func (k *Keyring) of(role Role, own identity) *Keyring {
	sub := &Keyring{
		repoID: k.repoID, role: role, idSecret: k.idSecret, polynomial: k.polynomial, owners: k.owners, own: own,
	}
	for _, e := range k.epochs {
		for _, kind := range []Kind{Data, Meta} {
			if role < kind.reader() {
				e.pair(kind).private = nil
			}
		}
		if role < Maintainer {
			e.states.private = nil
		}
		sub.epochs = append(sub.epochs, e)
	}
	if role < Owner {
		sub.owners.private = nil
	}
	sub.finish()
	sub.suite = k.suite
	return sub
}

// Role returns what the keyring's holder may do.
func (k *Keyring) Role() Role { return k.role }

// RepoID returns the id of the repository.
func (k *Keyring) RepoID() [16]byte { return k.repoID }

// CanRead reports whether the keyring can open origins of the kind.
func (k *Keyring) CanRead(kind Kind) bool {
	return (kind == Data || kind == Meta) && (k.newest().pair(kind).private != nil || k.lends(kind))
}

// Polynomial returns the chunker's secret polynomial.
func (k *Keyring) Polynomial() chunker.Pol { return k.polynomial }

// BlobHasher returns the hasher that gives blobs their ids.
func (k *Keyring) BlobHasher() *BlobHasher { return k.hasher }

// Signer returns the role and the id of the key that the keyring signs log entries with.
func (k *Keyring) Signer() (Role, [8]byte) { return k.role, SignerID(k.own.signing.public) }

// Self is what the log has to name for this keyring to count.
func (k *Keyring) Self() Signer {
	public := k.own.signing.public
	return Signer{ID: SignerID(public), Role: k.role, Public: public, Slot: k.own.slot.public.Bytes()}
}

// Owners is the signer of config, of the first log entry, and of the keyrings in slots.
func (k *Keyring) Owners() Signers { return signers(Owner, k.owners.public) }

// Maintainers is the signer of the checkpoints of an epoch.
func (k *Keyring) Maintainers(epoch uint32) (Signers, error) {
	e, err := k.epoch(epoch)
	if err != nil {
		return nil, err
	}
	return signers(Maintainer, e.states.public), nil
}

func (k *Keyring) newest() *epoch { return &k.epochs[len(k.epochs)-1] }

func (k *Keyring) epoch(number uint32) (*epoch, error) {
	for i := range k.epochs {
		if k.epochs[i].number == number {
			return &k.epochs[i], nil
		}
	}
	return nil, fmt.Errorf("%w: epoch %d", ErrNoKey, number)
}

// Format implements [fmt.Formatter], so that no verb prints a secret.
func (k *Keyring) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "%s keyring of repository %x", k.role, k.repoID)
}

var _ fmt.Formatter = (*Keyring)(nil)
