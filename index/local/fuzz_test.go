package local

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// FuzzRecords decodes what the files of the local index hold. They are only a cache, but a disk may change them.
func FuzzRecords(f *testing.F) {
	place := sourcedPlace{source: 300}
	place.Pack, place.SegOffset, place.Plain, place.Stored, place.Length = 7, 80, 1000, 1000+seal.Overhead, 1000
	f.Add(appendPlace(appendPlace(nil, &place), &place))
	f.Add(make([]byte, packRecord))
	f.Add(make([]byte, originRecord))
	f.Add(appendEntry(appendFeature(nil, 5), 5, 300, &object.BlobID{1}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > featureSize && validBlock(data[:featureSize], data[featureSize:]) {
			if e := entriesOf(data[featureSize:], data[:featureSize]); len(e)%entrySize != 0 || len(e) > maxAlike*entrySize {
				t.Fatalf("entries %x of %x", e, data)
			}
		}
		r, n := placeReader{rest: data}, 0
		for p := (sourcedPlace{}); r.next(&p); n++ {
			if uint64(p.Offset)+uint64(p.Length) > uint64(p.Plain) || uint64(p.Stored) > uint64(p.Plain)+seal.Overhead {
				t.Fatalf("%+v", p)
			}
			again, q := placeReader{rest: appendPlace(nil, &p)}, sourcedPlace{}
			if !again.next(&q) || q != p {
				t.Fatalf("%+v is read as %+v", p, q)
			}
		}
		if n > len(data) {
			t.Fatalf("%d places in %d bytes", n, len(data))
		}
		if p, ok := decodePack(data); ok && !bytes.Equal(appendPack(nil, p), data) {
			t.Fatalf("%+v", p)
		}
		if o, secret, ok := decodeOrigin(data); ok && !bytes.Equal(appendOrigin(nil, o, secret), data) {
			t.Fatalf("%+v", o)
		}
	})
}

// FuzzManifest reads the file that names the others, with the right hash behind it.
func FuzzManifest(f *testing.F) {
	dir := f.TempDir()
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := object.Sum(body)
		if err := os.WriteFile(filepath.Join(dir, manifestName), append(body, sum[:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := durable.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		m, err := readManifest(d)
		if err != nil || m.Version != layoutVersion || !m.consistent() {
			t.Fatalf("%+v, %v", m, err)
		}
	})
}
