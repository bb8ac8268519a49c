package fuzz

import (
	"bytes"
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

// hexBytes are bytes in a file of vectors.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// sealVectors are what package seal has made with the keys of [sealKeyring]: the inputs to begin with.
type sealVectors struct {
	Keyrings  map[string]hexBytes `json:"keyrings"`
	Envelopes []struct {
		Class           uint8
		Binding, Object hexBytes
	} `json:"envelopes"`
	Bodies []struct {
		Class         uint8
		Binding, Body hexBytes
	} `json:"signed_bodies"`
	Slots []struct {
		Slot hexBytes
	} `json:"slots"`
	Origins []struct {
		Origin, Segment hexBytes
		Ordinal         uint64
	} `json:"origins"`
}

func loadVectors(tb testing.TB) (v sealVectors) {
	tb.Helper()
	data, err := os.ReadFile("../seal/testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		tb.Fatal(err)
	}
	if len(v.Envelopes) == 0 || len(v.Bodies) == 0 || len(v.Slots) == 0 || len(v.Origins) == 0 {
		tb.Fatal("vectors are missing")
	}
	return v
}

// variants are data, its beginning, and data with a bit flipped at each of the offsets, which count from the end below zero.
func variants(data []byte, offsets ...int) [][]byte {
	out := [][]byte{data, data[:2*len(data)/3]}
	for _, at := range offsets {
		if at < 0 {
			at += len(data)
		}
		other := bytes.Clone(data)
		other[at] ^= 1
		out = append(out, other)
	}
	return out
}

// sealKeyring is the owner's keyring that the inputs were sealed with.
func sealKeyring(tb testing.TB) *seal.Keyring {
	tb.Helper()
	k, err := seal.DecodeKeyring(loadVectors(tb).Keyrings["owner"])
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
	for _, v := range loadVectors(f).Envelopes {
		for _, obj := range variants(v.Object, 0, 5, 6, 7, 8, 12, 48, -1) { // what is in the header, and the last tag
			f.Add(v.Class, []byte(v.Binding), obj)
		}
	}
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
	var fileSecret [32]byte // that of the vectors
	for i := range fileSecret {
		fileSecret[i] = 55 ^ byte(i*7)
	}
	owner := sealKeyring(f)
	credentials := []seal.Credential{seal.Passphrase([]byte("passphrase")), seal.KeyFile(fileSecret)}
	for _, v := range loadVectors(f).Slots {
		const kind = seal.HeaderSize + 2 // and then each second byte is a part of a passphrase's cost
		for _, obj := range variants(v.Slot, kind, kind+2, kind+4, kind+6, -1) {
			f.Add(obj)
		}
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
	for _, v := range loadVectors(f).Origins {
		for _, origin := range variants(v.Origin, 2, 4, 6, 100, -1) { // kind, epoch, suite, sealed secret, commitment
			f.Add(origin, v.Ordinal, []byte(v.Segment))
		}
		f.Add([]byte(v.Origin), v.Ordinal+1, []byte(v.Segment))
	}
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
	for _, v := range loadVectors(f).Bodies {
		for _, body := range variants(v.Body, 3, -1) { // the signer, the signature
			f.Add(v.Class, []byte(v.Binding), body)
		}
	}
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

func FuzzBorrow(f *testing.F) {
	lent, err := sealKeyring(f).Lend()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(lent)
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := seal.Borrow(data, nil)
		if err == nil && (k.Role() != seal.Writer || k.CanRead(seal.Data) || k.CanRead(seal.Meta)) {
			t.Fatalf("%v", k)
		}
	})
}
