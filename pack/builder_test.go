package pack

import (
	"bytes"
	"errors"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/seal"
)

func TestBuilder_SegmentsOfAllKinds_ReadBackEqual(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	for _, c := range []struct {
		class object.Class
		kind  seal.Kind
		typ   object.BlobType
	}{{object.DataPack, seal.Data, object.DataBlob}, {object.TreePack, seal.Meta, object.TreeBlob}} {
		for _, pad := range []bool{false, true} {
			b := builder(t, k, c.class, secret(t, k, c.kind))
			var want [][]byte
			codings := make(map[Coding]int)
			for _, bl := range []*blobs{
				newBlobs(k, c.typ, noise(r, 300<<10)),
				newBlobs(k, c.typ, text(r, 300<<10)),
				newBlobs(k, c.typ, text(r, 1), text(r, 999), noise(r, 10), text(r, 5000)),
				newBlobs(k, c.typ, noise(r, 1)),
			} {
				seg := bl.segment()
				codings[seg.Coding]++
				if err := b.Add(seg); err != nil {
					t.Fatal(err)
				}
				want = append(want, bl.plain)
			}
			if codings[Raw] != 2 || codings[Zstd] != 2 {
				t.Fatalf("codings %v", codings)
			}
			obj, ref, dir, err := b.Finish(pad)
			if err != nil {
				t.Fatal(err)
			}
			if ref != (object.Ref{Class: c.class, Session: object.SessionID{1, 2}, Hash: object.Sum(obj)}) {
				t.Errorf("ref %v", ref)
			}
			if padded := uint64(len(obj)) == Padme(uint64(len(obj))); pad && !padded {
				t.Errorf("%d bytes after padding", len(obj))
			}
			got, err := OpenDirectory(k, c.class, obj)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, dir) {
				t.Errorf("directory\n%+v\nwant\n%+v", got, dir)
			}
			for i := range want {
				if plain := openSegment(t, k, c.typ, obj, got, i); !bytes.Equal(plain, want[i]) {
					t.Errorf("segment %d differs", i)
				}
			}
		}
	}
}

func TestBuilder_BufferOfBufferSize_IsNotReplaced(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	buf := make([]byte, 0, Options{}.BufferSize(object.TreePack))
	b, err := NewBuilder(k, object.TreePack, object.SessionID{}, secret(t, k, seal.Meta), Options{}, buf)
	if err != nil {
		t.Fatal(err)
	}
	bl := newBlobs(k, object.TreeBlob, noise(r, 100<<10))
	for n := 0; b.Fits(len(bl.plain)); n++ {
		if err := b.Add(bl.segment()); err != nil {
			t.Fatal(err)
		}
	}
	if b.Size() > TreeTarget || b.Size()+len(bl.plain)+seal.Overhead <= TreeTarget {
		t.Errorf("closed at %d bytes", b.Size())
	}
	if err := b.Add(bl.segment()); !errors.Is(err, ErrFull) {
		t.Errorf("add beyond the target: %v", err)
	}
	obj, _, _, err := b.Finish(true)
	if err != nil {
		t.Fatal(err)
	}
	if &obj[0] != &buf[:1][0] {
		t.Error("the object is not in the given buffer")
	}
}

func TestBuilder_LargeBlobInEmptyTreePack_Fits(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	b := builder(t, k, object.TreePack, secret(t, k, seal.Meta))
	bl := newBlobs(k, object.TreeBlob, noise(r, 5<<20))
	if err := b.Add(bl.segment()); err != nil {
		t.Fatal(err)
	}
	if b.Fits(1) {
		t.Error("a pack past its target takes more")
	}
	obj, _, dir, err := b.Finish(true)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(openSegment(t, k, object.TreeBlob, obj, dir, 0), bl.plain) {
		t.Error("content differs")
	}
}

func TestBuilder_StoredIsNotThePlaintext_RefusedAndPackGoesOn(t *testing.T) {
	r, k := rand.New(rand.NewPCG(1, 1)), keyring(t) // of another text a frame with a flipped bit might say the same
	b := builder(t, k, object.DataPack, secret(t, k, seal.Data))
	good := newBlobs(k, object.DataBlob, text(r, 3000))
	for name, spoil := range map[string]func(*NewSegment){
		"raw bit flip": func(s *NewSegment) { s.Coding, s.Stored = Raw, bytes.Clone(s.Plain); s.Stored[5] ^= 1 },
		"frame of other text": func(s *NewSegment) {
			*s = with(*s, newBlobs(k, object.DataBlob, text(r, 2999), []byte("x")).segment().Stored)
		},
		"frame bit flip": func(s *NewSegment) { s.Stored = bytes.Clone(s.Stored); s.Stored[len(s.Stored)/2] ^= 16 },
		"frame cut":      func(s *NewSegment) { s.Stored = s.Stored[:len(s.Stored)-1] },
	} {
		s := good.segment()
		spoil(&s)
		if err := b.Add(s); !errors.Is(err, ErrVerify) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if err := b.Add(good.segment()); err != nil {
		t.Fatal(err)
	}
	obj, _, dir, err := b.Finish(false)
	if err != nil {
		t.Fatal(err)
	}
	if len(dir.Segments) != 1 || !bytes.Equal(openSegment(t, k, object.DataBlob, obj, dir, 0), good.plain) {
		t.Error("the refused segments left something behind")
	}
}

func with(s NewSegment, stored []byte) NewSegment { s.Stored = stored; return s }

func TestBuilder_ImpossibleSegments_Refused(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	b := builder(t, k, object.DataPack, secret(t, k, seal.Data))
	good := newBlobs(k, object.DataBlob, text(r, 1000), text(r, 1000))
	for name, spoil := range map[string]func(*NewSegment){
		"no blobs":           func(s *NewSegment) { s.IDs, s.Lengths = nil, nil },
		"ids without length": func(s *NewSegment) { s.Lengths = s.Lengths[:1] },
		"lengths too small":  func(s *NewSegment) { s.Lengths = []uint32{1, 2} },
		"empty blob":         func(s *NewSegment) { s.Lengths = []uint32{0, 2000} },
		"lengths wrap":       func(s *NewSegment) { s.Lengths = []uint32{1<<32 - 1, 2001} },
		"delta of nothing":   func(s *NewSegment) { s.Coding = Delta },
		"unknown coding":     func(s *NewSegment) { s.Coding = 3 },
		"empty":              func(s *NewSegment) { *s = NewSegment{} },
	} {
		s := good.segment()
		spoil(&s)
		if err := b.Add(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if !b.Empty() {
		t.Error("not empty")
	}
	if _, _, _, err := b.Finish(false); err == nil {
		t.Error("an empty pack was finished")
	}
	if _, err := NewBuilder(k, object.TreePack, object.SessionID{}, secret(t, k, seal.Data), Options{}, nil); err == nil {
		t.Error("a tree pack takes a data secret")
	}
	if _, err := NewBuilder(k, object.Index, object.SessionID{}, nil, Options{}, nil); err == nil {
		t.Error("a pack of the class of index segments")
	}
}

func TestBuilder_FinishedTwice_Refused(t *testing.T) {
	k := keyring(t)
	b := builder(t, k, object.DataPack, secret(t, k, seal.Data))
	if err := b.Add(newBlobs(k, object.DataBlob, []byte("x")).segment()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := b.Finish(false); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := b.Finish(false); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

func TestCarry_ByAKeyringThatCannotRead_SegmentsReadBackEqual(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	maintainer, err := k.Subset(seal.Maintainer)
	if err != nil {
		t.Fatal(err)
	}
	target := builder(t, maintainer, object.DataPack, nil)
	var want []*blobs
	shared := secret(t, k, seal.Data)
	for range 3 {
		from := builder(t, k, object.DataPack, shared)
		var all []*blobs
		for range 4 {
			bl := newBlobs(k, object.DataBlob, text(r, 1+r.IntN(1000)), noise(r, 1+r.IntN(1000)))
			all = append(all, bl)
			if err := from.Add(bl.segment()); err != nil {
				t.Fatal(err)
			}
		}
		obj, _, _, err := from.Finish(true)
		if err != nil {
			t.Fatal(err)
		}
		d, err := OpenDirectory(maintainer, object.DataPack, obj)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{3, 1} {
			s := d.Segments[i]
			if err := target.Carry(d.Origins[s.Origin], s, obj[s.Offset:s.Offset+s.Stored]); err != nil {
				t.Fatal(err)
			}
			want = append(want, all[i])
		}
		s := d.Segments[1]
		if err := target.Carry(d.Origins[s.Origin], s, obj[s.Offset:s.Offset+s.Stored]); !errors.Is(err, ErrInvalid) {
			t.Errorf("the same segment twice: %v", err)
		}
		s = d.Segments[0]
		if err := target.Carry(d.Origins[s.Origin], s, obj[s.Offset:s.Offset+s.Stored-1]); err == nil {
			t.Error("a ciphertext of the wrong length was accepted")
		}
	}
	if err := target.Add(want[0].segment()); !errors.Is(err, ErrInvalid) {
		t.Errorf("add without a secret: %v", err)
	}
	obj, _, _, err := target.Finish(true)
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(k, object.DataPack, obj)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Origins) != 3 || len(d.Segments) != len(want) {
		t.Fatalf("%d origins, %d segments", len(d.Origins), len(d.Segments))
	}
	for i := range want {
		if !bytes.Equal(openSegment(t, k, object.DataBlob, obj, d, i), want[i].plain) {
			t.Errorf("segment %d differs", i)
		}
	}
}

func TestCarry_WrongKindOfOrigin_Refused(t *testing.T) {
	k := keyring(t)
	o, key, err := secret(t, k, seal.Meta).NewOrigin()
	if err != nil {
		t.Fatal(err)
	}
	s := Segment{Stored: 17, Plain: 1, IDs: make([]object.BlobID, 1), Lengths: []uint32{1}}
	ciphertext := key.Seal(nil, 0, []byte("x"))
	if err := builder(t, k, object.DataPack, nil).Carry(o, s, ciphertext); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
	if err := builder(t, k, object.TreePack, nil).Carry(o, s, ciphertext); err != nil {
		t.Errorf("the right kind: %v", err)
	}
}

// The properties that the PURBs paper gives: never shorter, at most 12 % longer, idempotent, and
// few different lengths.
func TestPadme_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, 1<<40).Draw(t, "n")
		p := Padme(n)
		if p < n || float64(p) > 1.12*float64(n) || Padme(p) != p || Padme(n+1) < p {
			t.Fatalf("Padme(%d) = %d", n, p)
		}
		e := bits.Len64(n) - 1
		if s := bits.Len(uint(e)); p&(1<<(e-s)-1) != 0 {
			t.Fatalf("Padme(%d) = %d has more than %d significant bits", n, p, s)
		}
	})
	for n, want := range map[uint64]uint64{1: 1, 9: 10, 100: 104, 1000: 1024, 1 << 20: 1 << 20, 1<<20 + 1: 1<<20 + 1<<15} {
		if got := Padme(n); got != want {
			t.Errorf("Padme(%d) = %d, want %d", n, got, want)
		}
	}
}

func parityBuilder(t testing.TB, k *seal.Keyring, class object.Class, s *seal.Secret, o Options, buf []byte) *Builder {
	t.Helper()
	b, err := NewBuilder(k, class, object.SessionID{1, 2}, s, o, buf)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuilder_Parity_FillsTheBufferAndMends(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	for _, o := range []Options{{Parity: 1}, {Parity: DefaultParity}, {Parity: parity.MaxPercent}, {Target: 1 << 20, Parity: DefaultParity}} {
		for _, pad := range []bool{false, true} {
			buf := make([]byte, 0, o.BufferSize(object.TreePack))
			b := parityBuilder(t, k, object.TreePack, secret(t, k, seal.Meta), o, buf)
			bl := newBlobs(k, object.TreeBlob, noise(r, 100<<10))
			for b.Fits(len(bl.plain)) {
				if err := b.Add(bl.segment()); err != nil {
					t.Fatal(err)
				}
			}
			obj, ref, dir, err := b.Finish(pad)
			if err != nil {
				t.Fatal(err)
			}
			if &obj[0] != &buf[:1][0] {
				t.Errorf("%+v: the object is not in the given buffer", o)
			}
			body, value, ok := parity.Body(obj)
			if !ok || !parity.Whole(obj) || len(obj)-len(body) != parity.Size(len(body), o.Parity) {
				t.Fatalf("%+v: %d bytes, body of %d", o, len(obj), len(body))
			}
			if padded := Padme(uint64(len(body))) == uint64(len(body)); pad && !padded {
				t.Errorf("%+v: body of %d bytes after padding", o, len(body))
			}
			whole, err := OpenDirectory(k, object.TreePack, obj)
			if err != nil || !reflect.DeepEqual(whole, dir) {
				t.Fatalf("%+v: error %v, or another directory", o, err)
			}
			offset, n, err := DirectoryRange(int64(len(obj)), [TailSize]byte(obj[len(obj)-TailSize:]))
			if err != nil || n != int64(value) || offset+n+TrailerSize != int64(len(body)) {
				t.Fatalf("%+v: directory at %d, %d bytes, error %v", o, offset, n, err)
			}
			bad := bytes.Clone(obj)
			bad[len(bad)-1]++ // the last footer, by which the directory is found
			bad[offset]++
			clear(bad[8192:12288])
			if _, err := OpenDirectory(k, object.TreePack, bad); err == nil {
				t.Errorf("%+v: a damaged pack is opened", o)
			}
			mended, _, err := parity.Mend(bad, 0, func(b []byte) bool { return object.Sum(b) == ref.Hash })
			if err != nil || !bytes.Equal(mended, obj) {
				t.Errorf("%+v: error %v, or other bytes", o, err)
			}
		}
	}
}

// A pack that lost both footers is mended: its trailer says what was in them.
func TestBuilder_FootersLost_MendedByTheTrailer(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	b := parityBuilder(t, k, object.DataPack, secret(t, k, seal.Data), Options{Parity: DefaultParity}, nil)
	if err := b.Add(newBlobs(k, object.DataBlob, noise(r, 100<<10)).segment()); err != nil {
		t.Fatal(err)
	}
	obj, ref, _, err := b.Finish(true)
	if err != nil {
		t.Fatal(err)
	}
	body, _, _ := parity.Body(obj)
	for name, bad := range map[string][]byte{
		"cut off":     bytes.Clone(body),
		"overwritten": append(bytes.Clone(body), make([]byte, len(obj)-len(body))...),
	} {
		mended, _, err := parity.Mend(bad, len(obj), func(b []byte) bool { return object.Sum(b) == ref.Hash })
		if err != nil || !bytes.Equal(mended, obj) {
			t.Errorf("%s: error %v, or other bytes", name, err)
		}
	}
}

func TestOptions_PacksThatCanNotBe_Refused(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"zero":                 {Options{}, nil},
		"no room":              {Options{Target: MaxPackSize}, ErrInvalid},
		"no room for parity":   {Options{Target: 120 << 20, Parity: 10}, ErrInvalid},
		"large":                {Options{Target: 120 << 20, Parity: DefaultParity}, nil},
		"negative":             {Options{Target: -1}, ErrInvalid},
		"negative parity":      {Options{Parity: -1}, ErrInvalid},
		"too much parity":      {Options{Parity: parity.MaxPercent + 1}, ErrInvalid},
		"all that is possible": {Options{Parity: parity.MaxPercent}, nil},
	} {
		if err := c.o.Check(object.DataPack); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		_, err := NewBuilder(keyring(t), object.DataPack, object.SessionID{}, nil, c.o, nil)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: builder: %v", name, err)
		}
	}
}

// TestBuilder_VerySmallBlobs_ThePackIsClosedBeforeItsDirectoryIsTooLarge fills a pack with blobs of four bytes, of each
// of which the directory has more than thirty.
func TestBuilder_VerySmallBlobs_ThePackIsClosedBeforeItsDirectoryIsTooLarge(t *testing.T) {
	k := keyring(t)
	plain := make([]byte, 4*MaxBlobsPerSegment)
	ids, lengths := make([]object.BlobID, MaxBlobsPerSegment), make([]uint32, MaxBlobsPerSegment)
	for i := range lengths {
		lengths[i] = 4
	}
	for _, o := range []Options{{Parity: DefaultParity}, {Parity: 50}} {
		b, err := NewBuilder(k, object.DataPack, object.SessionID{}, secret(t, k, seal.Data), o, nil)
		if err != nil {
			t.Fatal(err)
		}
		for b.Fits(len(plain)) {
			if err := b.Add(NewSegment{Coding: Raw, Stored: plain, Plain: plain, IDs: ids, Lengths: lengths}); err != nil {
				t.Fatal(err)
			}
		}
		obj, _, _, err := b.Finish(true)
		if err != nil || len(obj) > MaxPackSize || len(obj) < MaxPackSize/2 {
			t.Errorf("parity of %d %%: a pack of %d bytes and %d blobs, %v", o.Parity, len(obj), b.Blobs(), err)
		}
		if _, err := OpenDirectory(k, object.DataPack, obj); err != nil {
			t.Error(err)
		}
	}
}
