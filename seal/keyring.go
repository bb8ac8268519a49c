package seal

import (
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
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
	epochs     []epoch // ascending by number, at least one
	signing    []signingKey

	// Derived.
	suite   Suite
	own     signingKey
	hasher  *BlobHasher
	origins *originCache
}

// epoch is one generation of the keys that can be replaced.
type epoch struct {
	number uint32
	index  [32]byte
	meta   keyPair
	data   keyPair
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

// signingKey is the key of a role; private is nil where the keyring's role may not have it.
type signingKey struct {
	role    Role
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

// firstEpoch is not zero, so that a header without an epoch (a slot's) is told from others.
const firstEpoch = 1

// NewKeyring draws all secrets of a new repository and returns the owner's keyring.
func NewKeyring(repoID [16]byte) (*Keyring, error) {
	polynomial, err := chunker.RandomPolynomial()
	if err != nil {
		return nil, fmt.Errorf("seal: chunker polynomial: %w", err)
	}
	k := &Keyring{repoID: repoID, role: Owner, idSecret: random32(), polynomial: polynomial}
	e := epoch{number: firstEpoch, index: random32()}
	for _, kind := range []Kind{Data, Meta} {
		private, err := kem.GenerateKey()
		if err != nil {
			return nil, fmt.Errorf("seal: %s key: %w", kind, err)
		}
		*e.pair(kind) = keyPair{public: private.PublicKey(), private: private}
	}
	k.epochs = []epoch{e}
	for _, role := range []Role{Writer, Maintainer, Owner} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("seal: signing key: %w", err)
		}
		k.signing = append(k.signing, signingKey{role: role, public: public, private: private})
	}
	if err := k.finish(); err != nil {
		return nil, err
	}
	return k, nil
}

// finish derives what is not stored, from fields that were validated.
func (k *Keyring) finish() error {
	k.suite = preferredSuite
	k.hasher = newBlobHasher(k.idSecret[:])
	k.origins = newOriginCache()
	for _, key := range k.signing {
		if key.role == k.role && key.private != nil {
			k.own = key
		}
	}
	if k.own.private == nil {
		return fmt.Errorf("%w: keyring has no signing key of its role", ErrDamaged)
	}
	return nil
}

// Subset returns the keyring that a role may have: not one secret more. The role must not be
// higher than the keyring's own.
func (k *Keyring) Subset(role Role) (*Keyring, error) {
	if !role.valid() || role > k.role {
		return nil, fmt.Errorf("%w: %s keyring has no %s subset", ErrNoKey, k.role, role)
	}
	sub := &Keyring{repoID: k.repoID, role: role, idSecret: k.idSecret, polynomial: k.polynomial}
	for _, e := range k.epochs {
		for _, kind := range []Kind{Data, Meta} {
			if role < kind.reader() {
				e.pair(kind).private = nil
			}
		}
		sub.epochs = append(sub.epochs, e)
	}
	for _, key := range k.signing {
		if key.role > role {
			key.private = nil
		}
		sub.signing = append(sub.signing, key)
	}
	if err := sub.finish(); err != nil {
		return nil, err
	}
	return sub, nil
}

// Role returns what the keyring's holder may do.
func (k *Keyring) Role() Role { return k.role }

// RepoID returns the id of the repository.
func (k *Keyring) RepoID() [16]byte { return k.repoID }

// CanRead reports whether the keyring can open origins of the kind.
func (k *Keyring) CanRead(kind Kind) bool {
	return (kind == Data || kind == Meta) && k.newest().pair(kind).private != nil
}

// Polynomial returns the chunker's secret polynomial.
func (k *Keyring) Polynomial() chunker.Pol { return k.polynomial }

// BlobHasher returns the hasher that gives blobs their ids.
func (k *Keyring) BlobHasher() *BlobHasher { return k.hasher }

// Signer returns the role and the id of the key that the keyring signs with.
func (k *Keyring) Signer() (Role, [8]byte) { return k.own.role, SignerID(k.own.public) }

// Signers returns the public signing keys that the keyring vouches for.
func (k *Keyring) Signers() Signers {
	signers := make(Signers)
	for _, key := range k.signing {
		signers.Add(key.role, key.public)
	}
	return signers
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
