package fuzz

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
)

// The places are given uncompressed, so that the search reaches what is in them.
func FuzzIndexColumns(f *testing.F) {
	plain := packDirectory(f)
	dir, err := pack.DecodeDirectory(plain, 1000)
	if err != nil {
		f.Fatal(err)
	}
	dir.Segments[0].Sketch, dir.Segments[0].HasSketch = delta.Sketch{1, 2, 1<<48 - 1}, true
	s := &index.Segment{}
	if err := s.AddPack(object.Ref{Class: object.DataPack}, 1000, dir); err != nil {
		f.Fatal(err)
	}
	ids, places, sketches, err := index.EncodeColumns(s)
	if err != nil {
		f.Fatal(err)
	}
	if places, err = zst.Decode(nil, places, 1<<20); err != nil {
		f.Fatal(err)
	}
	f.Add(ids, places, sketches)
	f.Add(make([]byte, 64), places, sketches)
	f.Add(make([]byte, 32*(index.MaxPlaces+1)), places, sketches)
	f.Add(ids, places, make([]byte, 1+pack.SketchSize))
	f.Fuzz(func(t *testing.T, ids, places, sketches []byte) {
		s, err := index.DecodeColumns(ids, zst.Encode(nil, places, zst.Fastest), sketches)
		if err != nil {
			if !errors.Is(err, index.ErrInvalid) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		for i, b := range s.Blobs {
			if i >= index.MaxPlaces && b.ID == s.Blobs[i-index.MaxPlaces].ID {
				t.Fatalf("%v has more than %d places", b.ID, index.MaxPlaces)
			}
			in := s.Segments[b.Segment]
			if b.Length == 0 || uint64(b.Offset)+uint64(b.Length) > uint64(in.Plain) {
				t.Fatalf("blob %d: %+v in %+v", i, b, in)
			}
			if ref := s.Packs[in.Pack]; int64(in.Offset)+int64(in.Stored) > ref.Size || s.Origins[in.Origin] == nil {
				t.Fatalf("segment of blob %d: %+v in %+v", i, in, ref)
			} else if single := in.Coding == pack.Delta || in.HasSketch; single && (ref.Ref.Class != object.DataPack || b.Length != in.Plain) {
				t.Fatalf("blob %d: %+v in %+v in %+v", i, b, in, ref)
			}
			if slices.Contains(in.Bases, b.ID) {
				t.Fatalf("blob %d is its own base", i)
			}
			for _, feature := range in.Sketch {
				if feature >= 1<<48 || feature != 0 && !in.HasSketch {
					t.Fatalf("blob %d: %+v", i, in)
				}
			}
		}
		ids, again, sketches, err := index.EncodeColumns(s)
		if err != nil {
			t.Fatal(err)
		}
		same, err := index.DecodeColumns(ids, again, sketches)
		if err != nil {
			t.Fatalf("what was decoded does not survive encoding: %v", err)
		}
		if !reflect.DeepEqual(same.Segments, s.Segments) {
			t.Fatalf("segments %+v, want %+v", same.Segments, s.Segments)
		}
	})
}
