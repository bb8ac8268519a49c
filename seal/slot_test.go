package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

func TestSlot_EveryCredential_OpensItsOwnAndNoOther(t *testing.T) {
	credentials := []Credential{
		Passphrase([]byte("correct horse")), KeyFile(filled(1)), Passphrase([]byte("correct horsf")), KeyFile(filled(2)),
		Passphrase(nil),
	}
	owner := fixedKeyring(t)
	for i, c := range credentials {
		role := Role(1 + i%3)
		slot, err := SealSlot(subset(t, owner, role), c, cheap)
		if err != nil {
			t.Fatal(err)
		}
		for j, tried := range credentials {
			k, err := OpenSlot(slot, tried)
			switch {
			case i != j && !errors.Is(err, ErrWrongKey):
				t.Errorf("slot of %d opened with %d: %v", i, j, err)
			case i == j && (err != nil || k.Role() != role || k.RepoID() != testRepo):
				t.Errorf("slot of %d: %v, %v", i, k, err)
			}
		}
	}
}

func TestSlot_ChaCha_OpensAnywhere(t *testing.T) {
	slot, err := SealSlot(withSuite(t, ChaCha20Poly1305), Passphrase([]byte("p")), cheap)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := ParseHeader(slot); err != nil || h.Suite != ChaCha20Poly1305 || h.Epoch != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	if _, err := OpenSlot(slot, Passphrase([]byte("p"))); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSlot_AnyFlippedBit_IsAnError(t *testing.T) {
	writer := subset(t, fixedKeyring(t), Writer)
	for name, c := range map[string]Credential{"passphrase": Passphrase([]byte("p")), "key file": KeyFile(filled(1))} {
		slot, err := SealSlot(writer, c, cheap)
		if err != nil {
			t.Fatal(err)
		}
		everyBit(slot[:200], func(where string, flipped []byte) {
			if _, err := OpenSlot(append(flipped[:200:200], slot[200:]...), c); !isOurs(err) {
				t.Errorf("%s: %s: %v", name, where, err)
			}
		})
		for i := 200; i < len(slot); i += 3 { // one bit of each third further byte: mostly ciphertext
			slot[i] ^= 1 << (i % 8)
			if _, err := OpenSlot(slot, c); !isOurs(err) {
				t.Errorf("%s: byte %d: %v", name, i, err)
			}
			slot[i] ^= 1 << (i % 8)
		}
		for n := 0; n < len(slot); n += 17 {
			if _, err := OpenSlot(slot[:n], c); !isOurs(err) {
				t.Errorf("%s: cut to %d bytes: %v", name, n, err)
			}
		}
	}
}

// hostileSlot is an object with a clear part of an attacker's choice.
func hostileSlot(t testing.TB, clearPart any) []byte {
	t.Helper()
	if c, ok := clearPart.(*slotClear); ok {
		c.Length = uint32(len("nothing") + Overhead)
	}
	clearBytes, err := wire.Marshal(clearPart)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEnvelope(Header{Class: object.Slot, Format: FormatNumber, Suite: AES256GCM, Salt: filled(4)}, clearBytes, nil, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return withRing(t, e.sealWhole([]byte("nothing")))
}

// withRing adds what a slot ends in.
func withRing(t testing.TB, envelope []byte) []byte {
	t.Helper()
	ring, err := wire.Marshal(&wireRing{Epoch: 1, Sealed: make([]byte, 1200)})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(envelope, make([]byte, 64), ring)
}

// The costs here would take from minutes to centuries, or more memory than there is, or make
// the library panic: that the test ends shows that nothing was tried.
func TestOpenSlot_HostileCost_IsRefusedBeforeAnyWork(t *testing.T) {
	const most = 1<<32 - 1
	p := Passphrase([]byte("p"))
	for _, cost := range []Cost{
		{17, 8, 1},
		{1, 1<<20 + 1, 1},
		{1, 8, 65},
		{0, 8, 1},
		{1, 0, 1},
		{1, 8, 0},
		{most, 8, 1},
		{1, most, 1},
		{1, 8, most},
		{most, most, most},
		{1, 8, 256},
		{1, 8, 257},
		{},
	} {
		slot := hostileSlot(t, &slotClear{Kind: passphraseSlot, Time: cost.Time, Memory: cost.Memory, Threads: cost.Threads})
		var err error
		allocs := testing.AllocsPerRun(1, func() { _, err = OpenSlot(slot, p) })
		if !errors.Is(err, ErrDamaged) || allocs > 100 {
			t.Errorf("%+v: %v, %v allocations", cost, err, allocs)
		}
		if _, err := SealSlot(fixedKeyring(t), p, cost); err == nil {
			t.Errorf("%+v was written", cost)
		}
	}
	slot := hostileSlot(t, map[int]any{1: 1, 2: uint64(1) << 32, 3: 8, 4: 1})
	if _, err := OpenSlot(slot, p); !errors.Is(err, ErrDamaged) {
		t.Errorf("a cost over 32 bits: %v", err)
	}
}

func TestOpenSlot_OtherKindOrTag_CostsNoDerivation(t *testing.T) {
	// The cost is the highest allowed: 16 passes over a gigabyte.
	slow := &slotClear{Kind: passphraseSlot, Time: maxCost.Time, Memory: maxCost.Memory, Threads: 1}
	if _, err := OpenSlot(hostileSlot(t, slow), KeyFile(filled(1))); !errors.Is(err, ErrWrongKey) {
		t.Errorf("a passphrase's, with a key file: %v", err)
	}
	salt := filled(4) // of a hostileSlot
	for name, clearPart := range map[string]*slotClear{
		"kind 0":         {},
		"an unused kind": {Kind: 3, Tag: (&keyFile{filled(1)}).tag(&salt)},
		"a future kind":  {Kind: 200, Time: 1, Memory: 8, Threads: 1},
		"tag differs":    {Kind: keyFileSlot, Tag: make([]byte, 16)},
		"tag is cut":     {Kind: keyFileSlot, Tag: (&keyFile{filled(1)}).tag(&salt)[:15]},
		"tag is missing": {Kind: keyFileSlot},
	} {
		for _, c := range []Credential{KeyFile(filled(1)), Passphrase(nil)} {
			if _, err := OpenSlot(hostileSlot(t, clearPart), c); !errors.Is(err, ErrWrongKey) {
				t.Errorf("%s, %v: %v", name, c, err)
			}
		}
	}
}

func TestOpenSlot_NewerClearPart_IsNotDamage(t *testing.T) {
	slot := hostileSlot(t, map[int]any{1: 2, -1: 0})
	if _, err := OpenSlot(slot, KeyFile(filled(1))); !errors.Is(err, ErrFormat) {
		t.Fatalf("got %v", err)
	}
}

func TestOpenSlot_AnotherObject_IsDamaged(t *testing.T) {
	obj, err := fixedKeyring(t).Seal(object.Config, nil, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSlot(obj, KeyFile(filled(1))); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	// A slot with an epoch, and one that holds no keyring.
	h := Header{Class: object.Slot, Format: FormatNumber, Suite: AES256GCM, Epoch: 1, Salt: filled(4)}
	for _, h.Epoch = range []uint32{0, 1} {
		secret := filled(1)
		clearPart, _, err := KeyFile(secret).seal(&h.Salt, Cost{})
		if err != nil {
			t.Fatal(err)
		}
		clearBytes, err := wire.Marshal(clearPart)
		if err != nil {
			t.Fatal(err)
		}
		e, err := newEnvelope(h, clearBytes, nil, secret[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSlot(withRing(t, e.sealWhole([]byte("not a holder"))), KeyFile(secret)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("epoch %d: %v", h.Epoch, err)
		}
	}
}

func TestPassphrase_CallersBuffer_MayBeWiped(t *testing.T) {
	buf := []byte("secret")
	c := Passphrase(buf)
	slot, err := SealSlot(fixedKeyring(t), c, cheap)
	if err != nil {
		t.Fatal(err)
	}
	clear(buf)
	if _, err := OpenSlot(slot, c); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFile_Text_RoundTripsAndIsStrict(t *testing.T) {
	secret := NewKeyFileSecret()
	text := EncodeKeyFile(secret)
	line := "kura-key-1:" + base64.RawURLEncoding.EncodeToString(secret[:])
	for _, good := range [][]byte{
		text, []byte(line), []byte("\n # a comment\r\n\r\n" + line + " \r\n# end\n"), bytes.TrimSpace(text),
	} {
		if got, err := DecodeKeyFile(good); err != nil || got != secret {
			t.Errorf("%q: %v", good, err)
		}
	}
	for name, bad := range map[string]string{
		"nothing":        "",
		"comments":       "# kura\n",
		"two keys":       line + "\n" + line + "\n",
		"text before":    "key: " + line,
		"another number": "kura-key-2:" + line[11:],
		"short":          line[:len(line)-2],
		"long":           line + "AA",
		"padded":         line + "=",
		"other alphabet": "kura-key-1:" + base64.RawStdEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)),
		"extra bits":     line[:len(line)-1] + "_",
		"another line":   line + "\nhello\n",
	} {
		if got, err := DecodeKeyFile([]byte(bad)); !errors.Is(err, ErrKeyFile) || got != [32]byte{} {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := NewKeyFileSecret()
	if secret == other {
		t.Error("two key files have one secret")
	}
}
