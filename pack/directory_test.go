package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/seal"
)

// example is a directory that uses every field.
func example() *Directory {
	origin := func(salt byte) *seal.Origin {
		return &seal.Origin{Kind: seal.Data, Epoch: 1, Suite: 2, Sealed: bytes.Repeat([]byte{9}, 40), Salt: [32]byte{salt}, Commitment: [32]byte{salt, 1}}
	}
	return &Directory{
		Origins: []*seal.Origin{origin(1), origin(2)},
		Segments: []Segment{
			{Origin: 0, Ordinal: 0, Coding: Raw, Offset: 80, Stored: 116, Plain: 100, IDs: []object.BlobID{{1}}, Lengths: []uint32{100}},
			{Origin: 1, Ordinal: 0, Coding: Zstd, Offset: 196, Stored: 66, Plain: 100, IDs: []object.BlobID{{2}, {3}}, Lengths: []uint32{99, 1}},
			{Origin: 0, Ordinal: 7, Coding: Delta, Offset: 262, Stored: 26, Plain: 100, IDs: []object.BlobID{{4}}, Lengths: []uint32{100}, Bases: []object.BlobID{{1}}, Depth: 1, ChainSum: 26},
		},
	}
}

const exampleEnd = 288

func TestDirectory_EveryField_RoundTrip(t *testing.T) {
	want := example()
	plain, err := EncodeDirectory(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeDirectory(plain, exampleEnd)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestDecodeDirectory_BrokenRules_Refused(t *testing.T) {
	for name, spoil := range map[string]func(*Directory){
		"no segments":            func(d *Directory) { d.Segments = nil },
		"no origins":             func(d *Directory) { d.Origins = nil },
		"origin of no kind":      func(d *Directory) { d.Origins[1].Kind = 3 },
		"origin without secret":  func(d *Directory) { d.Origins[0].Sealed = nil },
		"unknown origin":         func(d *Directory) { d.Segments[1].Origin = 2 },
		"ordinal twice":          func(d *Directory) { d.Segments[2].Ordinal = 0 },
		"unknown coding":         func(d *Directory) { d.Segments[0].Coding = 3 },
		"longer than the object": func(d *Directory) { d.Segments[0].Stored++; d.Segments[0].Plain++; d.Segments[0].Lengths[0]++ },
		"stored only a tag":      func(d *Directory) { d.Segments[1].Stored = 16 },
		"raw of another length":  func(d *Directory) { d.Segments[0].Stored = 115 },
		"zstd that grew":         func(d *Directory) { d.Segments[1].Stored = 117 },
		"empty blob":             func(d *Directory) { d.Segments[1].Lengths = []uint32{100, 0} },
		"lengths do not add up":  func(d *Directory) { d.Segments[1].Lengths = []uint32{99, 2} },
		"lengths wrap":           func(d *Directory) { d.Segments[1].Lengths = []uint32{1<<32 - 1, 101} },
		"a length too many":      func(d *Directory) { d.Segments[1].Lengths = []uint32{98, 1, 1} },
		"no blobs":               func(d *Directory) { d.Segments[0].IDs, d.Segments[0].Lengths = nil, nil },
		"too large": func(d *Directory) {
			d.Segments[1].Plain = object.MaxBlobSize + 1
			d.Segments[1].Lengths[0] = object.MaxBlobSize
		},
		"bases without delta": func(d *Directory) { d.Segments[0].Bases = []object.BlobID{{1}} },
		"depth without delta": func(d *Directory) { d.Segments[0].Depth = 1 },
		"sum without delta":   func(d *Directory) { d.Segments[0].ChainSum = 1 },
		"delta without bases": func(d *Directory) { d.Segments[2].Bases = nil },
		"delta of 17 bases":   func(d *Directory) { d.Segments[2].Bases = make([]object.BlobID, 17) },
		"delta of depth 0":    func(d *Directory) { d.Segments[2].Depth = 0 },
		"delta of depth 9":    func(d *Directory) { d.Segments[2].Depth = 9 },
		"delta of two blobs": func(d *Directory) {
			d.Segments[2].IDs = make([]object.BlobID, 2)
			d.Segments[2].Lengths = []uint32{50, 50}
		},
	} {
		d := example()
		spoil(d)
		plain, err := EncodeDirectory(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := DecodeDirectory(plain, exampleEnd); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// A byte of input must not become a struct of a hundred.
func TestDecodeDirectory_ManyEmptySegments_RefusedBeforeTheyAreMade(t *testing.T) {
	const n = 1 << 20
	raw := binary.BigEndian.AppendUint32([]byte{0x9a}, n)
	raw = append(raw, bytes.Repeat([]byte{0xa0}, n)...)
	plain, err := wire.Marshal(&wireDirectory{Segments: raw})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := DecodeDirectory(plain, 1<<30); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d bytes allocated for %d", n, len(plain))
	}
}

func TestDecodeDirectory_TooManyBlobs_Refused(t *testing.T) {
	d := example()
	s := &d.Segments[1]
	s.IDs, s.Lengths, s.Plain = make([]object.BlobID, MaxBlobsPerSegment+1), make([]uint32, MaxBlobsPerSegment+1), MaxBlobsPerSegment+1
	for i := range s.Lengths {
		s.Lengths[i] = 1
	}
	for i, want := range []error{ErrInvalid, nil} {
		s.IDs, s.Lengths, s.Plain = s.IDs[i:], s.Lengths[i:], s.Plain-uint32(i)
		plain, err := EncodeDirectory(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeDirectory(plain, exampleEnd); !errors.Is(err, want) {
			t.Errorf("%d blobs: error %v", len(s.IDs), err)
		}
	}
}

func TestOpenDirectory_ChangedPack_Refused(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	b := builder(t, k, object.DataPack, secret(t, k, seal.Data))
	if err := b.Add(newBlobs(k, object.DataBlob, noise(r, 500)).segment()); err != nil {
		t.Fatal(err)
	}
	obj, _, _, err := b.Finish(false)
	if err != nil {
		t.Fatal(err)
	}
	segmentsEnd := b.dir.Segments[0].Offset + b.dir.Segments[0].Stored
	for at := range obj {
		if at >= seal.HeaderSize && at < int(segmentsEnd) {
			continue // segments authenticate themselves
		}
		bad := bytes.Clone(obj)
		bad[at] ^= 1 << r.IntN(8)
		if _, err := OpenDirectory(k, object.DataPack, bad); err == nil {
			t.Errorf("a flipped bit in byte %d of %d was accepted", at, len(obj))
		}
	}
	for n := range obj {
		if _, err := OpenDirectory(k, object.DataPack, obj[:n]); err == nil {
			t.Errorf("a pack cut to %d bytes was accepted", n)
		}
	}
	if _, err := OpenDirectory(k, object.TreePack, obj); err == nil {
		t.Error("a data pack was accepted as a tree pack")
	}
	if _, err := OpenDirectory(keyring(t), object.DataPack, obj); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("another keyring: %v", err)
	}
}

func describe(d *Directory) string {
	var b strings.Builder
	for i, o := range d.Origins {
		fmt.Fprintf(&b, "origin %d: kind %d epoch %d suite %d sealed %v salt %x commitment %x\n", i, o.Kind, o.Epoch, o.Suite, object.Sum(o.Sealed), o.Salt, o.Commitment)
	}
	for i, s := range d.Segments {
		fmt.Fprintf(&b, "segment %d: origin %d ordinal %d %v offset %d stored %d plain %d\n", i, s.Origin, s.Ordinal, s.Coding, s.Offset, s.Stored, s.Plain)
		for j, id := range s.IDs {
			fmt.Fprintf(&b, "  blob %v length %d\n", id, s.Lengths[j])
		}
	}
	return b.String()
}

func golden(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The golden files are a pack as it is stored, without parity and with it, the keyring that opens
// it, and what is in it.
func TestGolden_StoredPack_ReadAsWritten(t *testing.T) {
	for name, o := range map[string]Options{"data": {}, "parity": {Parity: DefaultParity}} {
		t.Run(name, func(t *testing.T) { goldenPack(t, name, o) })
	}
}

func goldenPack(t *testing.T, name string, o Options) {
	var rawKeys, obj, plains, listing []byte
	if *update {
		r, k := testrand.New(t), keyring(t)
		other := builder(t, k, object.DataPack, secret(t, k, seal.Data))
		b := parityBuilder(t, k, object.DataPack, secret(t, k, seal.Data), o, nil)
		for _, bl := range []*blobs{
			newBlobs(k, object.DataBlob, []byte("one blob, raw")),
			newBlobs(k, object.DataBlob, text(r, 300), text(r, 100)),
		} {
			if err := errors.Join(b.Add(bl.segment()), other.Add(bl.segment())); err != nil {
				t.Fatal(err)
			}
		}
		from, _, d, err := other.Finish(false)
		if err != nil {
			t.Fatal(err)
		}
		s := d.Segments[1]
		if err := b.Carry(d.Origins[0], s, from[s.Offset:s.Offset+s.Stored]); err != nil {
			t.Fatal(err)
		}
		if obj, _, d, err = b.Finish(true); err != nil {
			t.Fatal(err)
		}
		listing = []byte(describe(d))
		for i := range d.Segments {
			plains = append(plains, openSegment(t, k, object.DataBlob, obj, d, i)...)
		}
		if rawKeys, err = k.Encode(); err != nil {
			t.Fatal(err)
		}
	}
	k, err := seal.DecodeKeyring(golden(t, name+".keyring", rawKeys))
	if err != nil {
		t.Fatal(err)
	}
	obj = golden(t, name+".pack", obj)
	if parity.Whole(obj) != (o.Parity > 0) {
		t.Errorf("%d %% parity, whole: %v", o.Parity, parity.Whole(obj))
	}
	d, err := OpenDirectory(k, object.DataPack, obj)
	if err != nil {
		t.Fatal(err)
	}
	if want := string(golden(t, name+".txt", listing)); describe(d) != want {
		t.Errorf("directory\n%swant\n%s", describe(d), want)
	}
	var got []byte
	for i := range d.Segments {
		got = append(got, openSegment(t, k, object.DataBlob, obj, d, i)...)
	}
	if want := golden(t, name+".plain", plains); !bytes.Equal(got, want) {
		t.Errorf("plaintexts\n%q\nwant\n%q", got, want)
	}
}

// What a directory encodes to never changes.
func TestGolden_Directory_EncodedAsEver(t *testing.T) {
	plain, err := EncodeDirectory(example())
	if err != nil {
		t.Fatal(err)
	}
	if want := golden(t, "directory.cbor", plain); !bytes.Equal(plain, want) {
		t.Errorf("encoded\n%x\nwant\n%x", plain, want)
	}
}
