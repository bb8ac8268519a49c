package seal

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

func TestNewKeyring_IsAnOwnersAndWhole(t *testing.T) {
	k, err := NewKeyring(testRepo)
	if err != nil {
		t.Fatal(err)
	}
	if k.Role() != Owner || k.RepoID() != testRepo || !k.CanRead(Data) || !k.CanRead(Meta) || len(k.Owners()) != 1 || k.Epoch().Number != 1 {
		t.Fatalf("%v", k)
	}
	if p := k.Polynomial(); p.Deg() != 53 || !p.Irreducible() {
		t.Fatalf("polynomial %v", p)
	}
	other, err := NewKeyring(testRepo)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := k.Encode()
	b, _ := other.Encode()
	_, a, _ = bytes.Cut(a, testRepo[:]) // which both are meant to have
	for at := 0; at+16 <= len(a); at++ {
		if chunk := a[at : at+16]; bytes.Contains(b, chunk) {
			t.Fatalf("two keyrings share the bytes %x", chunk)
		}
	}
}

func TestKeyring_EveryRole_ReencodesToTheSameBytes(t *testing.T) {
	owner := fixedKeyring(t)
	for _, role := range []Role{Writer, Maintainer, Owner} {
		k := subset(t, owner, role)
		data, err := k.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeKeyring(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.Encode()
		if err != nil || !bytes.Equal(data, again) {
			t.Fatalf("%s: encodes to other bytes (%v)", role, err)
		}
		if back.Role() != role || back.Polynomial() != owner.Polynomial() {
			t.Fatalf("%s: became %v", role, back)
		}
		gotRole, gotID := back.Signer()
		if self := back.Self(); gotRole != role || self.Role != role || self.ID != gotID || gotID != k.Self().ID {
			t.Fatalf("%s keyring signs as %s %x", role, gotRole, gotID)
		}
		id := owner.BlobHasher().ID(object.DataBlob, []byte("blob"))
		if back.BlobHasher().ID(object.DataBlob, []byte("blob")) != id {
			t.Fatalf("%s keyring gives other ids", role)
		}
	}
}

// secretsOf lists all that only some roles may have, as it would lie in a stored keyring.
func secretsOf(t *testing.T, owner *Keyring) map[string][]byte {
	secrets := make(map[string][]byte)
	for i, e := range owner.epochs {
		for _, kind := range []Kind{Data, Meta} {
			private, err := e.pair(kind).private.Bytes()
			if err != nil || len(private) != 32 {
				t.Fatalf("private key of %d bytes, %v", len(private), err)
			}
			secrets[fmt.Sprintf("%s %d", kind, i)] = private
		}
	}
	for i, e := range owner.epochs {
		secrets[fmt.Sprintf("states %d", i)] = e.states.seed()
	}
	secrets["owners"] = owner.owners.seed()
	secrets["own of the owner"] = owner.own.signing.seed()
	return secrets
}

func TestSubset_LowerRoles_ReallyLackTheSecrets(t *testing.T) {
	owner := fixedKeyring(t)
	secrets := secretsOf(t, owner)
	has := map[Role][]string{
		Writer:     nil,
		Maintainer: {"states 0", "states 1", "meta 0", "meta 1"},
		Owner:      {"states 0", "states 1", "owners", "meta 0", "meta 1", "data 0", "data 1"},
	}
	for role, names := range has {
		k := subset(t, owner, role)
		data, err := k.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for name, secret := range secrets {
			want := false
			for _, n := range names {
				want = want || n == name
			}
			if got := bytes.Contains(data, secret); got != want {
				t.Errorf("%s has %s: %v, want %v", role, name, got, want)
			}
		}
		if k.CanRead(Meta) != (role >= Maintainer) || k.CanRead(Data) != (role == Owner) || k.CanRead(0) {
			t.Errorf("%s: CanRead", role)
		}
		if public := owner.owners.public; !bytes.Contains(data, public) {
			t.Errorf("%s lacks the owner's public key", role)
		}
	}
	// Making a subset did not take anything from the whole.
	if data, _ := owner.Encode(); !bytes.Contains(data, secrets["data 1"]) {
		t.Error("the owner lost a secret")
	}
}

func TestSubset_ByNoOwnerOrOfNoRole_IsRefused(t *testing.T) {
	owner := fixedKeyring(t)
	for _, c := range []struct{ from, to Role }{
		{Writer, Writer}, {Writer, Maintainer}, {Writer, Owner}, {Maintainer, Writer}, {Maintainer, Owner}, {Owner, 0}, {Owner, 4},
	} {
		if _, err := subset(t, owner, c.from).Subset(c.to); !errors.Is(err, ErrNoKey) {
			t.Errorf("%s of a %s: %v", c.to, c.from, err)
		}
	}
	if a, b := subset(t, owner, Writer).Self(), subset(t, owner, Writer).Self(); a.ID == b.ID || bytes.Equal(a.Slot, b.Slot) {
		t.Error("two writers have one key")
	}
}

func TestDecodeKeyring_BadKeyrings_AreRefused(t *testing.T) {
	owner := fixedKeyring(t)
	encode := func(role Role, change func(w *wireKeyring)) []byte {
		data, err := subset(t, owner, role).Encode()
		if err != nil {
			t.Fatal(err)
		}
		var w wireKeyring
		if err := wire.Unmarshal(data, &w); err != nil {
			t.Fatal(err)
		}
		change(&w)
		if data, err = wire.Marshal(&w); err != nil {
			t.Fatal(err)
		}
		return data
	}
	seed := filled(77)
	for name, data := range map[string][]byte{
		"role 0":                      encode(Owner, func(w *wireKeyring) { w.Role = 0 }),
		"role 4":                      encode(Owner, func(w *wireKeyring) { w.Role = 4 }),
		"more than its role":          encode(Owner, func(w *wireKeyring) { w.Role = Writer }),
		"less than its role":          encode(Writer, func(w *wireKeyring) { w.Role = Owner }),
		"no repository":               encode(Writer, func(w *wireKeyring) { w.RepoID = [16]byte{} }),
		"no id secret":                encode(Writer, func(w *wireKeyring) { w.IDSecret = [32]byte{} }),
		"reducible polynomial":        encode(Writer, func(w *wireKeyring) { w.Polynomial = 1<<53 | 1<<52 }),
		"polynomial of degree 52":     encode(Writer, func(w *wireKeyring) { w.Polynomial = 1<<52 | 1 }),
		"polynomial of degree 63":     encode(Writer, func(w *wireKeyring) { w.Polynomial = 1<<63 | 1 }),
		"no polynomial":               encode(Writer, func(w *wireKeyring) { w.Polynomial = 0 }),
		"no epoch":                    encode(Writer, func(w *wireKeyring) { w.Epochs = nil }),
		"no index secret":             encode(Writer, func(w *wireKeyring) { w.Epochs[0].Index = [32]byte{} }),
		"epochs descend":              encode(Writer, func(w *wireKeyring) { w.Epochs[0].Number = 9 }),
		"epoch twice":                 encode(Writer, func(w *wireKeyring) { w.Epochs[0].Number = 2 }),
		"public key cut":              encode(Writer, func(w *wireKeyring) { w.Epochs[0].DataPublic = w.Epochs[0].DataPublic[1:] }),
		"public key missing":          encode(Writer, func(w *wireKeyring) { w.Epochs[0].MetaPublic = nil }),
		"data private key missing":    encode(Owner, func(w *wireKeyring) { w.Epochs[0].DataPrivate = nil }),
		"private key cut":             encode(Owner, func(w *wireKeyring) { w.Epochs[0].DataPrivate = w.Epochs[0].DataPrivate[1:] }),
		"private key of another":      encode(Owner, func(w *wireKeyring) { w.Epochs[0].DataPrivate = seed[:] }),
		"keys of the kinds exchanged": encode(Owner, func(w *wireKeyring) { w.Epochs[0].DataPublic = w.Epochs[0].MetaPublic }),
		"epoch 0":                     encode(Writer, func(w *wireKeyring) { w.Epochs[0].Number = 0 }),
		"owners' seed missing":        encode(Owner, func(w *wireKeyring) { w.OwnersSeed = nil }),
		"owners' seed cut":            encode(Owner, func(w *wireKeyring) { w.OwnersSeed = w.OwnersSeed[1:] }),
		"owners' seed of another":     encode(Owner, func(w *wireKeyring) { w.OwnersSeed = seed[:] }),
		"writer with the owners'":     encode(Writer, func(w *wireKeyring) { w.OwnersSeed = owner.owners.seed() }),
		"epoch's seed missing":        encode(Maintainer, func(w *wireKeyring) { w.Epochs[0].StatesSeed = nil }),
		"writer with an epoch's":      encode(Writer, func(w *wireKeyring) { w.Epochs[0].StatesSeed = owner.epochs[0].states.seed() }),
		"own seed missing":            encode(Writer, func(w *wireKeyring) { w.SignSeed = nil }),
		"own seed cut":                encode(Writer, func(w *wireKeyring) { w.SignSeed = w.SignSeed[1:] }),
		"slot seed missing":           encode(Writer, func(w *wireKeyring) { w.SlotSeed = nil }),
		"slot seed cut":               encode(Writer, func(w *wireKeyring) { w.SlotSeed = w.SlotSeed[1:] }),
		"not CBOR":                    []byte("keyring"),
		"nothing":                     nil,
	} {
		if _, err := DecodeKeyring(data); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeKeyring_NewerKeyring_IsNotDamage(t *testing.T) {
	data, err := fixedKeyring(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte{data[0] + 1}, data[1:]...)
	newer = append(newer, 0x20, 0x00) // -1: 0
	_, err = DecodeKeyring(newer)
	var format *FormatError
	if !errors.As(err, &format) || format.What != "key" || format.Number != -1 || errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
}

func TestFormat_AnyVerb_ShowsNoSecret(t *testing.T) {
	k := fixedKeyring(t)
	s, err := k.NewSecret(Data)
	if err != nil {
		t.Fatal(err)
	}
	credentials := []any{Passphrase([]byte("hunter2 hunter2")), KeyFile(filled(3))}
	type holder struct{ V any }
	for _, v := range append([]any{k, s}, credentials...) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			if out := fmt.Sprintf(verb, v); len(out) > 60 || out == "" {
				t.Errorf("%s of %s: %s", verb, reflect.TypeOf(v), out)
			}
			if out := fmt.Sprintf(verb, holder{v}); len(out) > 90 {
				t.Errorf("%s inside a struct: %s", verb, out)
			}
		}
	}
}

func TestBlobID_IsTheKeyedHashOfTheFormat(t *testing.T) {
	k := fixedKeyring(t)
	plain := bytes.Repeat([]byte("some plaintext "), 1000)
	for _, c := range []struct {
		t    object.BlobType
		info string
	}{{object.DataBlob, "kura/1 id data"}, {object.TreeBlob, "kura/1 id tree"}} {
		h, err := blake3.NewKeyed(derive(k.idSecret[:], nil, c.info, 32))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = h.Write(plain)
		for range 3 { // the hasher is used again
			if got := k.BlobHasher().ID(c.t, plain); string(got[:]) != string(h.Sum(nil)) {
				t.Fatalf("%s: id %s", c.t, got)
			}
		}
	}
	mustPanic(t, "the id of no type", func() { k.BlobHasher().ID(0, nil) })
}

func TestBlobHasher_ManyGoroutines_GiveTheSameIDs(t *testing.T) {
	h := fixedKeyring(t).BlobHasher()
	var want [50]object.BlobID
	for i := range want {
		want[i] = h.ID(object.DataBlob, bytes.Repeat([]byte{byte(i)}, 1000*i))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range want {
				if got := h.ID(object.DataBlob, bytes.Repeat([]byte{byte(i)}, 1000*i)); got != want[i] {
					t.Errorf("blob %d: id %s, want %s", i, got, want[i])
				}
				if h.ID(object.TreeBlob, bytes.Repeat([]byte{byte(i)}, 1000*i)) == want[i] {
					t.Errorf("blob %d: the same id for both types", i)
				}
			}
		})
	}
	wg.Wait()
}
