package records

import (
	"errors"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
)

func TestEncode_AnySet_DecodesToIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := Verified{}
		for i := range rapid.IntRange(1, 50).Draw(t, "packs") {
			v[object.Sum([]byte{byte(i)})] = rapid.Int64Range(0, 5).Draw(t, "time")
		}
		b, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Encode(maps.Clone(v))
		if err != nil || string(again) != string(b) {
			t.Fatal("the same set gives other bytes")
		}
		got, err := Decode(b)
		if err != nil || !maps.Equal(got, v) {
			t.Fatalf("%v, %v", got, err)
		}
	})
}

func TestDecode_BrokenRules_Refused(t *testing.T) {
	if _, err := Encode(Verified{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("an empty record: %v", err)
	}
	for name, w := range map[string]wireRecord{
		"no hashes":     {Groups: []wireGroup{{Time: 1}}},
		"half a hash":   {Groups: []wireGroup{{Time: 1, Hashes: make([]byte, 16)}}},
		"hash and half": {Groups: []wireGroup{{Time: 1, Hashes: make([]byte, 48)}}},
	} {
		plain, err := wire.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(zst.Encode(nil, plain, zst.Default)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Decode([]byte("no frame")); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := Encode(Verified{object.Sum(nil): 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		if err == nil && len(v) > MaxPacks {
			t.Error("too many packs")
		}
	})
}
