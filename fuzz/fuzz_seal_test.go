package fuzz

import (
	"bytes"
	"crypto/hpke"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// sealKeyring is the owner's keyring that the inputs were sealed with.
func sealKeyring(tb testing.TB) *seal.Keyring {
	tb.Helper()
	data, err := os.ReadFile("../seal/testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var v struct {
		Keyrings map[string]string `json:"keyrings"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		tb.Fatal(err)
	}
	raw, err := hex.DecodeString(v.Keyrings["owner"])
	if err != nil {
		tb.Fatal(err)
	}
	k, err := seal.DecodeKeyring(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// checkSealError fails the test for an error that callers could not classify.
func checkSealError(t *testing.T, err error) {
	t.Helper()
	for _, family := range []error{seal.ErrWrongKey, seal.ErrDamaged, seal.ErrFormat, seal.ErrNoKey, seal.ErrUnknownSigner} {
		if errors.Is(err, family) {
			return
		}
	}
	t.Fatalf("error of another kind: %v", err)
}

func FuzzEnvelopeOpen(f *testing.F) {
	k := sealKeyring(f)
	f.Fuzz(func(t *testing.T, class uint8, binding, obj []byte) {
		c := object.Class(class)
		if c == object.Slot {
			return
		}
		before := bytes.Clone(obj)
		_, _, err := k.Open(c, binding, obj)
		if !bytes.Equal(before, obj) {
			t.Fatal("the object was changed")
		}
		if err == nil {
			if h, err := seal.ParseHeader(obj); err != nil || h.Class != c {
				t.Fatalf("opened as %s, header %+v, %v", c, h, err)
			}
		} else {
			checkSealError(t, err)
		}
		// The same bytes as a plaintext survive, and no other binding opens them.
		if c < object.Config || c > object.Record {
			return
		}
		sealed, err := k.Seal(c, nil, binding, obj)
		if err != nil {
			t.Fatal(err)
		}
		if _, plain, err := k.Open(c, binding, sealed); err != nil || !bytes.Equal(plain, obj) {
			t.Fatalf("does not survive: %v", err)
		}
		if _, _, err := k.Open(c, append(bytes.Clone(binding), 0), sealed); !errors.Is(err, seal.ErrDamaged) {
			t.Fatalf("opened at another place: %v", err)
		}
	})
}

// slotCost is the part of a slot's clear part that says how long opening takes.
type slotCost struct {
	Time    uint64 `cbor:"2,keyasint"`
	Memory  uint64 `cbor:"3,keyasint"`
	Threads uint64 `cbor:"4,keyasint"`
}

// slow reports whether a slot asks for a cost that is allowed, and too high to search with.
func slow(obj []byte) bool {
	h, err := seal.ParseHeader(obj)
	if err != nil || len(obj)-seal.HeaderSize < int(h.ClearLength) {
		return false
	}
	var c slotCost
	if wire.Unmarshal(obj[seal.HeaderSize:][:h.ClearLength], &c) != nil {
		return false
	}
	return c.Memory <= 1<<20 && c.Time <= 16 && (c.Memory > 64 || c.Time > 1)
}

func FuzzSlotOpen(f *testing.F) {
	var fileSecret, recipientSeed [32]byte // those of the vectors
	for i := range fileSecret {
		fileSecret[i], recipientSeed[i] = 55^byte(i*7), 54^byte(i*7)
	}
	owner := sealKeyring(f)
	private, err := hpke.MLKEM768X25519().NewPrivateKey(recipientSeed[:])
	if err != nil {
		f.Fatal(err)
	}
	credentials := []seal.Credential{
		seal.Passphrase([]byte("passphrase")), seal.KeyFile(fileSecret), seal.RecipientKey(private),
	}
	f.Fuzz(func(t *testing.T, obj []byte) {
		if slow(obj) {
			t.Skip()
		}
		for _, c := range credentials {
			k, err := seal.OpenSlot(obj, c)
			if err != nil {
				checkSealError(t, err)
				continue
			}
			if _, err := k.Encode(); err != nil {
				t.Fatal(err)
			}
			info, err := seal.ParseSlot(obj)
			if err != nil || info.Key != k.Self().ID || info.Epoch != k.Epoch().Number {
				t.Fatalf("it says of itself %+v, %v", info, err)
			}
			renewed, err := owner.RenewSlot(obj, k.Self())
			if err != nil {
				t.Fatalf("an owner does not take it for genuine: %v", err)
			}
			if again, err := seal.OpenSlot(renewed, c); err != nil || again.Self().ID != k.Self().ID {
				t.Fatalf("does not open when it is renewed: %v", err)
			}
		}
		if _, err := owner.RenewSlot(obj, owner.Self()); err != nil {
			checkSealError(t, err)
		}
	})
}

func FuzzKeyringDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := seal.DecodeKeyring(data)
		if err != nil {
			checkSealError(t, err)
			return
		}
		first, err := k.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := seal.DecodeKeyring(first)
		if err != nil {
			t.Fatalf("its own encoding is refused: %v", err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("encodes as %x, then as %x (%v)", first, second, err)
		}
		if sub, err := k.Subset(seal.Writer); err == nil && (sub.CanRead(seal.Data) || sub.CanRead(seal.Meta)) {
			t.Fatal("a writer can read")
		}
	})
}

func FuzzOriginOpen(f *testing.F) {
	k := sealKeyring(f)
	f.Fuzz(func(t *testing.T, origin []byte, ordinal uint64, ciphertext []byte) {
		var o seal.Origin
		if wire.Unmarshal(origin, &o) != nil {
			return
		}
		key, err := k.OpenOrigin(&o)
		if err != nil {
			checkSealError(t, err)
			return
		}
		if _, err := key.Open(nil, ordinal, ciphertext); err != nil {
			checkSealError(t, err)
		}
	})
}

// known is everybody whose signature counts for something.
func known(k *seal.Keyring) seal.Signers {
	all := k.Owners()
	if states, err := k.Maintainers(k.Epoch().Number); err == nil {
		maps.Copy(all, states)
	}
	self := k.Self()
	all[self.ID] = self
	return all
}

func FuzzSignedBody(f *testing.F) {
	k := sealKeyring(f)
	f.Fuzz(func(t *testing.T, class uint8, binding, body []byte) {
		_, who, err := seal.VerifyBody(object.Class(class), binding, body, known(k))
		if err != nil {
			checkSealError(t, err)
			if who.Role != 0 {
				t.Fatalf("a body that does not verify has a role: %+v", who)
			}
		}
		signed, err := k.SignBody(object.Class(class), binding, body)
		if err != nil {
			t.Fatal(err)
		}
		payload, who, err := seal.VerifyBody(object.Class(class), binding, signed, known(k))
		if err != nil || !bytes.Equal(payload, body) || who.Role < seal.Maintainer {
			t.Fatalf("does not verify: %+v, %v", who, err)
		}
	})
}
