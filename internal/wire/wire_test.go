package wire

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type inner struct {
	Size uint32 `cbor:"1,keyasint"`
	Tag  []byte `cbor:"2,keyasint,omitempty"`
}

type pair struct {
	_    struct{} `cbor:",toarray"`
	Sec  int64
	Nsec uint32
}

type sample struct {
	ID       [4]byte          `cbor:"1,keyasint"`
	Name     []byte           `cbor:"2,keyasint,omitempty"`
	Host     string           `cbor:"3,keyasint,omitempty"`
	List     []inner          `cbor:"4,keyasint,omitempty"`
	One      *inner           `cbor:"5,keyasint,omitempty"`
	Time     pair             `cbor:"6,keyasint"`
	Raw      cbor.RawMessage  `cbor:"7,keyasint,omitempty"`
	Flag     bool             `cbor:"8,keyasint,omitempty"`
	IDs      [][2]byte        `cbor:"40,keyasint,omitempty"`
	Counts   map[int64]uint64 `cbor:"300,keyasint,omitempty"`
	Required uint64           `cbor:"-2,keyasint,omitempty"`
}

// minimal is the shortest sample.
const minimal = "a2 01 4401020304 06 82 00 00"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMarshal_KnownValue_GivesKnownBytes(t *testing.T) {
	v := sample{
		ID: [4]byte{1, 2, 3, 4}, Name: []byte{0xff}, Host: "é", List: []inner{{Size: 1000}},
		Time: pair{Sec: -1, Nsec: 7}, IDs: [][2]byte{{9, 8}}, Required: 1,
	}
	want := unhex(t, "a7 01 4401020304 02 41ff 03 62c3a9 04 81 a1 01 1903e8 06 82 20 07"+
		"18 28 81 42 0908 21 01")
	got, err := Marshal(&v)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	var back sample
	if err := Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v, back, cmp.AllowUnexported(pair{})); d != "" {
		t.Fatal(d)
	}
}

// TestMarshal_WhatCanNotBeRead_IsNotWritten: the library alone writes such text.
func TestMarshal_WhatCanNotBeRead_IsNotWritten(t *testing.T) {
	type words struct {
		Word  string   `cbor:"1,keyasint"`
		Words []string `cbor:"2,keyasint"`
	}
	for _, v := range []any{words{Word: "caf\xe9"}, &words{Words: []string{"ok", "\xff"}}} {
		if data, err := Marshal(v); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %x, %v", v, data, err)
		}
	}
	if _, err := Marshal(&words{Word: "café", Words: []string{"\uFFFD"}}); err != nil {
		t.Error(err)
	}
}

func TestMarshal_NilSlice_IsEmptyNotNull(t *testing.T) {
	got, err := Marshal(struct {
		A []byte `cbor:"1,keyasint"`
		B []int  `cbor:"2,keyasint"`
	}{})
	if err != nil || hex.EncodeToString(got) != "a201400280" {
		t.Fatalf("%x, %v", got, err)
	}
}

func TestUnmarshal_GoodBytes_AreRead(t *testing.T) {
	for name, in := range map[string]string{
		"minimal":                      minimal,
		"keys in another order":        "a2 06 82 00 00 01 4401020304",
		"longer than shortest integer": "a2 1801 4401020304 06 82 1800 1a00000000",
		"unknown positive key":         "a3 01 4401020304 06 82 00 00 18 63 a1 01 f5",
		"unknown positive key, large":  "a3 01 4401020304 06 82 00 00 1b7fffffffffffffff 00",
		"known negative key":           "a3 01 4401020304 06 82 00 00 21 05",
		"negative key in a raw value":  "a3 01 4401020304 06 82 00 00 07 a1 20 00",
		"null for a pointer":           "a3 01 4401020304 06 82 00 00 05 f6",
		"anything in a raw value":      "a3 01 4401020304 06 82 00 00 07 83 f6 a1 20 00 61 61",
		"16 levels":                    "a3 01 4401020304 06 82 00 00 07" + strings.Repeat("81", 15) + "00",
	} {
		t.Run(name, func(t *testing.T) {
			var v sample
			if err := Unmarshal(unhex(t, in), &v); err != nil {
				t.Fatal(err)
			}
			if v.ID != [4]byte{1, 2, 3, 4} {
				t.Fatalf("id %x", v.ID)
			}
		})
	}
}

func TestUnmarshal_BadBytes_AreRefused(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":                      "",
		"not a map":                    "80",
		"trailing byte":                minimal + "00",
		"fixed bytes too short":        "a2 01 43010203 06 82 00 00",
		"fixed bytes too long":         "a2 01 450102030405 06 82 00 00",
		"fixed bytes from an array":    "a2 01 8401020304 06 82 00 00",
		"fixed bytes from null":        "a2 01 f6 06 82 00 00",
		"bytes from text":              "a3 01 4401020304 02 6161 06 82 00 00",
		"text from bytes":              "a3 01 4401020304 03 4161 06 82 00 00",
		"bytes from an array":          "a3 01 4401020304 02 8101 06 82 00 00",
		"short element":                "a3 01 4401020304 06 82 00 00 18 28 82 420908 4109",
		"null element":                 "a3 01 4401020304 04 81 f6 06 82 00 00",
		"null for an integer":          "a2 01 4401020304 06 82 f6 00",
		"tuple too short":              "a2 01 4401020304 06 81 00",
		"tuple too long":               "a2 01 4401020304 06 83 00 00 00",
		"integer overflow":             "a2 01 4401020304 06 82 00 1b0000000100000000",
		"negative where unsigned":      "a2 01 4401020304 06 82 00 20",
		"duplicate key":                "a3 01 4401020304 01 4401020304 06 82 00 00",
		"duplicate key, longer form":   "a3 01 4401020304 1801 4401020304 06 82 00 00",
		"duplicate unknown key":        "a4 01 4401020304 06 82 00 00 1901f4 00 1901f4 00",
		"duplicate key in unknown map": "a3 01 4401020304 06 82 00 00 18 63 a2 20 00 20 00",
		"key over 63 bits":             "a3 01 4401020304 06 82 00 00 1bffffffffffffffff 00",
		"text key":                     "a3 01 4401020304 06 82 00 00 6161 00",
		"indefinite bytes":             "a2 01 5f 4401020304 ff 06 82 00 00",
		"indefinite array":             "a2 01 4401020304 06 9f 00 00 ff",
		"indefinite map":               "bf 01 4401020304 06 82 00 00 ff",
		"tag":                          "a2 01 4401020304 06 82 c0 00 00",
		"tag in unknown value":         "a3 01 4401020304 06 82 00 00 18 63 c1 00",
		"float16":                      "a3 01 4401020304 06 82 00 00 18 63 f90000",
		"float32":                      "a3 01 4401020304 06 82 00 00 18 63 fa00000000",
		"float64":                      "a3 01 4401020304 06 82 00 00 18 63 fb0000000000000000",
		"undefined":                    "a3 01 4401020304 06 82 00 00 18 63 f7",
		"simple value":                 "a3 01 4401020304 06 82 00 00 18 63 f8ff",
		"break":                        "a3 01 4401020304 06 82 00 00 18 63 ff",
		"reserved length":              "a3 01 4401020304 06 82 00 00 18 63 1c",
		"not UTF-8":                    "a3 01 4401020304 06 82 00 00 18 63 61ff",
		"17 levels":                    "a3 01 4401020304 06 82 00 00 07" + strings.Repeat("81", 16) + "00",
		"very deep":                    "a3 01 4401020304 06 82 00 00 07" + strings.Repeat("81", 100000) + "00",
		"length past the end":          "a1 01 5bffffffffffffffff 00",
		"array past the end":           "a1 04 9b7fffffffffffffff 00",
		"map past the end":             "bb7fffffffffffffff 01 00",
	} {
		t.Run(name, func(t *testing.T) {
			var v sample
			if err := Unmarshal(unhex(t, in), &v); !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestUnmarshal_UnknownNegativeKey_MustBeUnderstood(t *testing.T) {
	for in, key := range map[string]int64{
		"a3 01 4401020304 06 82 00 00 20 05":                 -1,
		"a3 01 4401020304 06 82 00 00 38 63 05":              -100,
		"a3 01 4401020304 06 82 00 00 05 a2 01 00 38 63 00":  -100, // of a structure within
		"a3 01 4401020304 04 81 a2 01 00 20 00 06 82 00 00":  -1,
		"a3 01 4401020304 06 82 00 00 3b7fffffffffffffff 05": math.MinInt64,
	} {
		var v sample
		err := Unmarshal(unhex(t, in), &v)
		var unknown *UnknownKeyError
		if !errors.As(err, &unknown) || !errors.Is(err, ErrUnknownKey) || !errors.Is(err, ErrNewer) || unknown.Key != key {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestUnmarshal_AnyPrefix_IsRefused(t *testing.T) {
	whole, err := Marshal(&sample{
		Name: []byte("name"), Host: "host", List: []inner{{Size: 70000, Tag: []byte{1}}},
		Counts: map[int64]uint64{1: 1 << 40},
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := Unmarshal(whole[:n], new(sample)); !errors.Is(err, ErrInvalid) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestUnmarshal_HugeClaims_AllocateNothing(t *testing.T) {
	in := unhex(t, "a1 04 9a003fffff a0 a0")
	var v sample
	if n := testing.AllocsPerRun(10, func() {
		if Unmarshal(in, &v) == nil {
			t.Fatal("accepted")
		}
	}); n > 20 { // the error
		t.Fatalf("%v allocations", n)
	}
	if v.List != nil {
		t.Fatalf("%d elements", len(v.List))
	}
}

func TestUnmarshal_Result_SharesNoMemoryWithInput(t *testing.T) {
	in := unhex(t, "a3 01 4401020304 02 4161 06 82 00 00")
	var v sample
	if err := Unmarshal(in, &v); err != nil {
		t.Fatal(err)
	}
	clear(in)
	if string(v.Name) != "a" {
		t.Fatalf("name became %q", v.Name)
	}
}

func TestUnmarshal_NotAPointer_IsAnError(t *testing.T) {
	if err := Unmarshal([]byte{0xa0}, sample{}); err == nil {
		t.Fatal("accepted")
	}
	if err := Unmarshal([]byte{0xa0}, nil); err == nil {
		t.Fatal("accepted")
	}
}

type cyclic struct {
	Children []cyclic `cbor:"1,keyasint,omitempty"`
	ID       [1]byte  `cbor:"2,keyasint"`
	Next     *cyclic  `cbor:"3,keyasint,omitempty"`
}

func TestUnmarshal_CyclicType_IsCheckedAtEveryLevel(t *testing.T) {
	var v cyclic
	if err := Unmarshal(unhex(t, "a2 01 81 a1 02 4105 02 4106"), &v); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"a2 01 81 a1 02 40 02 4106", "a2 02 4106 03 a1 03 a1 02 40"} {
		if err := Unmarshal(unhex(t, in), &v); !errors.Is(err, ErrInvalid) {
			t.Fatalf("%s: %v", in, err)
		}
	}
}

func TestRoundTrip_AnyValue_ComesBackAndEncodesAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		elem := rapid.Custom(func(t *rapid.T) inner {
			return inner{Size: rapid.Uint32().Draw(t, "size"), Tag: rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(t, "tag")}
		})
		v := sample{
			ID:     [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "id")),
			Name:   rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "name"),
			Host:   rapid.String().Draw(t, "host"),
			List:   rapid.SliceOfN(elem, 1, 30).Draw(t, "list"),
			Time:   pair{Sec: rapid.Int64().Draw(t, "sec"), Nsec: rapid.Uint32().Draw(t, "nsec")},
			Flag:   rapid.Bool().Draw(t, "flag"),
			Counts: rapid.MapOfN(rapid.Int64(), rapid.Uint64(), 1, 20).Draw(t, "counts"),
		}
		data, err := Marshal(&v)
		if err != nil {
			t.Fatal(err)
		}
		var back sample
		if err := Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(v, back, cmp.AllowUnexported(pair{})); d != "" {
			t.Fatal(d)
		}
		again, err := Marshal(&back)
		if err != nil || string(again) != string(data) {
			t.Fatalf("encodes as %x, then as %x (%v)", data, again, err)
		}
	})
}

func BenchmarkUnmarshal(b *testing.B) {
	type node struct {
		Name  []byte   `cbor:"1,keyasint"`
		Type  uint8    `cbor:"2,keyasint"`
		Mode  uint32   `cbor:"3,keyasint,omitempty"`
		Size  uint64   `cbor:"8,keyasint,omitempty"`
		MTime pair     `cbor:"9,keyasint"`
		IDs   []byte   `cbor:"18,keyasint,omitempty"`
		Lens  []uint32 `cbor:"19,keyasint,omitempty"`
	}
	type page struct {
		Nodes []node `cbor:"1,keyasint"`
	}
	var p page
	for i := range 5000 {
		p.Nodes = append(p.Nodes, node{
			Name: []byte("some-file-name.txt"), Type: 1, Mode: 0o644, Size: uint64(i) * 1000,
			MTime: pair{Sec: 1700000000, Nsec: uint32(i)}, IDs: make([]byte, 64), Lens: []uint32{1 << 20, 5000},
		})
	}
	data, err := Marshal(&p)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("whole", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			var q page
			if err := Unmarshal(data, &q); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		sc := schemaOf(reflect.TypeFor[page]())
		for b.Loop() {
			if err := scan(data, sc); err != nil {
				b.Fatal(err)
			}
		}
	})
}
