package mbstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func head(kind byte, path string) []byte {
	b := append([]byte(magic), 0, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(path)))
	return append(b, path...)
}

func piece(path string, offset int, data []byte) []byte {
	b := head('P', path)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(data))
	return append(b, data...)
}

type files struct {
	m    map[string]*bytes.Buffer
	open int
}

type closer struct {
	*bytes.Buffer
	f *files
}

func (c closer) Close() error {
	c.f.open--
	return nil
}

func demux(r io.Reader) (*files, error) {
	f := &files{m: map[string]*bytes.Buffer{}}
	err := Demux(r, func(p string) (io.WriteCloser, error) {
		b := new(bytes.Buffer)
		f.m[p] = b
		f.open++
		return closer{b, f}, nil
	})
	if f.open != 0 {
		err = errors.Join(err, errors.New("files are open"))
	}
	return f, err
}

func TestDemux_FilesInAnyOrder_ComeOutWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(rapid.StringMatching(`[a-z]{1,4}(/[a-z@0-9]{1,6}\.ibd)?`), rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "files")
		var stream []byte
		at := map[string]int{}
		left := slices.Sorted(maps.Keys(want))
		for len(left) > 0 {
			name := rapid.SampledFrom(left).Draw(t, "next")
			rest := want[name][at[name]:]
			if len(rest) == 0 {
				stream = append(stream, head('E', "./"+name)...)
				left = slices.DeleteFunc(left, func(n string) bool { return n == name })
				continue
			}
			n := rapid.IntRange(1, len(rest)).Draw(t, "bytes")
			stream = append(stream, piece("./"+name, at[name], rest[:n])...)
			at[name] += n
		}
		f, err := demux(iotest.HalfReader(bytes.NewReader(stream)))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]byte{}
		for name, b := range f.m {
			got[name] = append([]byte{}, b.Bytes()...)
		}
		for name := range want {
			want[name] = append([]byte{}, want[name]...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		// Cut anywhere but between two files that are complete it is not.
		if len(stream) > 0 {
			n := rapid.IntRange(1, len(stream)-1).Draw(t, "cut")
			if f, err := demux(bytes.NewReader(stream[:n])); err == nil {
				for name := range f.m {
					if !bytes.Equal(f.m[name].Bytes(), want[name]) {
						t.Fatalf("cut at %d, %s is taken for complete", n, name)
					}
				}
			}
		}
	})
}

func TestDemux_BadStreams_Refused(t *testing.T) {
	long := piece("a", 0, make([]byte, 3*step))
	flipped := bytes.Clone(long)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		stream []byte
		want   error
	}{
		"no end":        {long, ErrTruncated},
		"flipped":       {append(flipped, head('E', "a")...), ErrChecksum},
		"garbage":       {append(piece("a", 0, []byte("x")), "garbage, more than a header"...), ErrFormat},
		"gap":           {append(piece("a", 1, []byte("x")), head('E', "a")...), ErrFormat},
		"twice":         {append(append(head('E', "a"), head('E', "a")...), piece("a", 0, nil)...), ErrFormat},
		"escape":        {head('E', "../a"), ErrFormat},
		"hidden escape": {head('E', "a/../../a"), ErrFormat},
		"absolute":      {head('E', "/etc/passwd"), ErrFormat},
		"no path":       {head('E', ""), ErrFormat},
		"zero byte":     {head('E', "a\x00b"), ErrFormat},
		"unknown":       {head('S', "a"), ErrFormat},
		"long path":     {append([]byte(magic), 0, 'E', 0xff, 0xff, 0xff, 0xff), ErrFormat},
		"in the header": {long[:10], ErrTruncated},
		"in the path":   {long[:14], ErrTruncated},
	} {
		if _, err := demux(bytes.NewReader(c.stream)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	failed := errors.New("failed")
	if _, err := demux(io.MultiReader(bytes.NewReader(long), iotest.ErrReader(failed))); !errors.Is(err, failed) {
		t.Errorf("a reader that fails: %v", err)
	}
	if _, err := demux(bytes.NewReader(nil)); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func FuzzDemux_AnyBytes_NoPanicAndBounded(f *testing.F) {
	f.Add(append(piece("a/b", 0, []byte("hello")), head('E', "a/b")...))
	f.Add(head('E', "../x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := demux(bytes.NewReader(b))
		if err != nil {
			return
		}
		total := 0
		for _, file := range got.m {
			total += file.Len()
		}
		if total > len(b) {
			t.Fatalf("%d bytes become %d", len(b), total)
		}
	})
}
