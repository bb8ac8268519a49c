package seal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/restic/chunker"

	"github.com/kura-backup/kura/internal/object"
)

// cheap is a passphrase cost for tests.
var cheap = Cost{Time: 1, Memory: 8, Threads: 1}

var testRepo = [16]byte{'t', 'e', 's', 't', ' ', 'r', 'e', 'p', 'o', 's', 'i', 't', 'o', 'r', 'y', '!'}

// filled returns 32 bytes that differ from one another and from those of other numbers.
func filled(number byte) (b [32]byte) {
	for i := range b {
		b[i] = number ^ byte(i*7)
	}
	return b
}

// fixedKeyring is an owner's keyring of two epochs that is the same in every run.
func fixedKeyring(t testing.TB) *Keyring {
	t.Helper()
	k := &Keyring{repoID: testRepo, role: Owner, idSecret: filled(1), polynomial: chunker.Pol(0x3DA3358B4DC173)}
	for i := range byte(2) {
		e := epoch{number: uint32(i) + 1, index: filled(10 + i), states: signingKeyOf(filled(30 + i))}
		for _, kind := range []Kind{Data, Meta} {
			seed := filled(20 + 2*i + byte(kind))
			private, err := kem.NewPrivateKey(seed[:])
			if err != nil {
				t.Fatal(err)
			}
			*e.pair(kind) = keyPair{public: private.PublicKey(), private: private}
		}
		e.identify()
		k.epochs = append(k.epochs, e)
	}
	k.owners, k.own = signingKeyOf(filled(33)), fixedIdentity(t, Owner)
	k.finish()
	return k
}

// fixedIdentity is that of the holder of a role's keyring.
func fixedIdentity(t testing.TB, role Role) identity {
	t.Helper()
	signing, slot := filled(34+byte(role)), filled(40+byte(role))
	own, err := decodeIdentity(signing[:], slot[:])
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// fixedSubset is the keyring of a role that is the same in every run.
func fixedSubset(t testing.TB, k *Keyring, role Role) *Keyring {
	t.Helper()
	sub := k.of(role, fixedIdentity(t, role))
	if role == Owner {
		return sub // it makes its ring itself
	}
	var err error
	if sub.ring, err = k.ringFor(sub.Self()); err != nil {
		t.Fatal(err)
	}
	return sub
}

func subset(t testing.TB, k *Keyring, role Role) *Keyring {
	t.Helper()
	sub, err := k.Subset(role)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// stored returns the keyring as a later run would have it.
func stored(t testing.TB, k *Keyring) *Keyring {
	t.Helper()
	data, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	back.suite = k.suite
	return back
}

// withSuite returns the keyring of a client whose CPU prefers the suite.
func withSuite(t testing.TB, suite Suite) *Keyring {
	k := fixedKeyring(t)
	k.suite = suite
	return k
}

var suites = []Suite{AES256GCM, ChaCha20Poly1305}

// keyringClasses are the classes that are sealed with a keyring.
var keyringClasses = []object.Class{
	object.Config, object.LogEntry, object.Checkpoint, object.DataPack, object.TreePack, object.Index, object.Sign, object.Parity, object.Record,
}

// everyBit calls f with data and each of its bits flipped in turn.
func everyBit(data []byte, f func(where string, flipped []byte)) {
	buf := append([]byte(nil), data...)
	for i := range buf {
		for bit := range 8 {
			buf[i] ^= 1 << bit
			f(fmt.Sprintf("byte %d bit %d", i, bit), buf)
			buf[i] ^= 1 << bit
		}
	}
}

// isOurs reports whether err belongs to one of the families that callers tell apart.
func isOurs(err error) bool {
	for _, family := range []error{ErrWrongKey, ErrDamaged, ErrFormat, ErrNoKey, ErrUnknownSigner} {
		if errors.Is(err, family) {
			return true
		}
	}
	return false
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	f()
}
