package device

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/sourcetest"
)

func TestReadMap_AllForms_AreUnderstood(t *testing.T) {
	m, err := ReadMap(strings.NewReader("# since a-1\n\n0 4k data # the beginning\n4096 0x1000 zero\n 8192\t1m same\n# made by hand\n1056768 1 data\n#state b\n"), 1056769)
	must(t, err)
	want := []source.Range{{Start: 0, Length: 4096, Kind: source.Data}, {Start: 4096, Length: 4096, Kind: source.Zero}, {Start: 8192, Length: 1 << 20, Kind: source.Same}, {Start: 1056768, Length: 1, Kind: source.Data}}
	if !slices.Equal(m.Ranges, want) || m.Since != "a-1" || m.State != "b" {
		t.Errorf("%+v", m)
	}
}

func TestReadMap_Hostile_IsRefusedWithTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "ends at 0",
		"0 50 data":                           "ends at 50",
		"10 90 data":                          "nothing is said of the bytes from 0 to 10",
		"0 50 data\n60 40 data":               "line 2: nothing is said of the bytes from 50 to 60",
		"0 60 data\n50 50 data":               "line 2: the range at 50 overlaps",
		"0 101 data":                          "ends behind the device",
		"0 100 data\n100 1 zero":              "ends behind the device",
		"0 9223372036854775807 data":          "ends behind the device",
		"0 99999999999999999999 data":         "not a number",
		"0 9223372036854775807k data":         "not a number",
		"0 -1 data":                           "not a number",
		"0 0 data\n0 100 data":                "is empty",
		"0 100 hole":                          "none of data, zero, same",
		"0 100":                               "want START LENGTH",
		"0 100 data data":                     "want START LENGTH",
		"0 100 same":                          "since which state",
		"# since a\n# since b\n0 100 same":    "two names",
		"# since \x1b[31m\n0 100 same":        "can not be the name",
		strings.Repeat("#", 5000) + "\n0 100": "too long",
		"0 0x data":                           "not a number",
	} {
		m, err := ReadMap(strings.NewReader(text), 100)
		if !errors.Is(err, ErrMap) || m != nil && text != "0 100 same" || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadMap(f *testing.F) {
	f.Add("# since a\n0 50 data\n50 0x32 same\n", int64(100))
	f.Fuzz(func(t *testing.T, text string, size int64) {
		m, err := ReadMap(strings.NewReader(text), size)
		if err != nil {
			return
		}
		if source.CheckRanges(0, m.Ranges) != nil || end(m.Ranges) != size {
			t.Errorf("%+v", m)
		}
		var out bytes.Buffer
		if _, err := m.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadMap(&out, size); err != nil || !slices.Equal(again.Ranges, m.Ranges) || again.Since != m.Since || again.State != m.State {
			t.Errorf("%v, %+v became %+v", err, m, again)
		}
	})
}

func readGolden(t *testing.T, name string, size int64) (*Map, error) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	must(t, err)
	defer f.Close()
	return ParseThinDelta(f, size)
}

func TestParseThinDelta_Recorded_IsAMap(t *testing.T) {
	const block = 65536
	m, err := readGolden(t, "thin_delta.xml", 900*block+1000)
	must(t, err)
	want := []source.Range{
		{Start: 0, Length: 80 * block, Kind: source.Same},
		{Start: 80 * block, Length: 16 * block, Kind: source.Data}, // let go of
		{Start: 96 * block, Length: 4 * block, Kind: source.Same},
		{Start: 100 * block, Length: 3 * block, Kind: source.Data},
		{Start: 103 * block, Length: 697 * block, Kind: source.Same}, // what neither has is the same, too
		{Start: 800 * block, Length: 32 * block, Kind: source.Data},
		{Start: 832 * block, Length: 68*block + 1000, Kind: source.Same},
	}
	if !slices.Equal(m.Ranges, want) {
		t.Errorf("%+v", m.Ranges)
	}
	// The last block of a device is longer than what is left of it, and of one that shrank there are more behind its end.
	m, err = readGolden(t, "thin_delta.xml", 101*block+5)
	must(t, err)
	if got := m.Ranges[len(m.Ranges)-1]; got != (source.Range{Start: 100 * block, Length: block + 5, Kind: source.Data}) {
		t.Errorf("%+v", got)
	}
}

func TestParseThinDelta_Hostile_IsRefused(t *testing.T) {
	const head = `<superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="0">`
	for _, text := range []string{
		"", "no XML", head, head + `<diff left="1" right="2"><same begin="0" length="1"/>`,
		head + `</superblock>`,
		head + `<diff><same begin="0" length="1"/><same begin="0" length="1"/></diff></superblock>`,
		head + `<diff><same begin="9223372036854775807" length="1"/></diff></superblock>`,
		head + `<diff><same begin="1" length="9223372036854775807"/></diff></superblock>`,
		head + `<diff><same begin="-1" length="1"/></diff></superblock>`,
		head + `<diff><same length="1"/></diff></superblock>`,
		head + `<diff><range begin="0" data_begin="0" length="1"/></diff></superblock>`,
		head + `<same begin="0" length="1"/><diff/></superblock>`,
		`<superblock data_block_size="1"><diff/></superblock>`,
		`<superblock data_block_size="99999999999"><diff/></superblock>`,
		`<diff/>`, head + head + `<diff/></superblock></superblock>`,
	} {
		if m, err := ParseThinDelta(strings.NewReader(text), 1<<30); !errors.Is(err, ErrMap) {
			t.Errorf("%.120q: %v, %v", text, m, err)
		}
	}
}

// mapped returns an Input with a map.
func mapped(path string, m *Map) Input {
	return Input{Path: "/disk", Read: path, Map: func(int64) (*Map, error) { return m, nil }}
}

func TestWrite_MapOfAnotherState_IsRefused(t *testing.T) {
	dir := t.TempDir()
	const size = 8 * BlockSize
	data := random(t, size)
	path := image(t, filepath.Join(dir, "a"), size, map[int64][]byte{0: data})
	first := sourcetest.NewWriter()
	in := Input{Path: "/disk", Read: path, State: "monday"}
	_, err := backUp(t, first, in)
	must(t, err)

	all := []source.Range{{Start: 0, Length: BlockSize, Kind: source.Data}, {Start: BlockSize, Length: size - BlockSize, Kind: source.Same}}
	for name, c := range map[string]struct {
		out *sourcetest.Writer
		in  Input
	}{
		"no parent":     {sourcetest.NewWriter(), mapped(path, &Map{Ranges: all, Since: "monday"})},
		"other parent":  {first.Next(), mapped(path, &Map{Ranges: all, Since: "sunday"})},
		"other device":  {first.Next(), Input{Path: "/other", Read: path, Map: mapped(path, &Map{Ranges: all, Since: "monday"}).Map}},
		"other end":     {first.Next(), mapped(path, &Map{Ranges: all, Since: "monday", State: "tuesday"})},
		"other size":    {first.Next(), mapped(image(t, filepath.Join(dir, "b"), size+512, nil), &Map{Ranges: all, Since: "monday"})},
		"nameless base": {sourcetest.NewWriter().Next(), mapped(path, &Map{Ranges: all, Since: "monday"})},
		"newer parent":  {newer(t).Next(), mapped(path, &Map{Ranges: all, Since: "monday"})},
	} {
		if _, err := backUp(t, c.out, c.in); !errors.Is(err, ErrSince) {
			t.Errorf("%s: %v", name, err)
		}
	}

	second := first.Next()
	in = mapped(path, &Map{Ranges: all, Since: "monday", State: "tuesday"})
	in.State = "tuesday"
	done, err := backUp(t, second, in)
	must(t, err)
	d := done.Devices[0]
	if !bytes.Equal(second.Bytes("/disk"), data) || d.Root != "" || d.Read != BlockSize || d.Since != "monday" || d.State != "tuesday" {
		t.Errorf("%+v", d)
	}
}

func TestWrite_MapOfZerosAndData_ReadsWhatItSays(t *testing.T) {
	const size = 9*BlockSize + 100
	path := image(t, filepath.Join(t.TempDir(), "a"), size, map[int64][]byte{0: random(t, size)})
	m := &Map{Ranges: []source.Range{{Start: 0, Length: BlockSize / 2, Kind: source.Data}, {Start: BlockSize / 2, Length: 7 * BlockSize, Kind: source.Zero}, {Start: 15 * BlockSize / 2, Length: size - 15*BlockSize/2, Kind: source.Data}}}
	out := sourcetest.NewWriter()
	done, err := backUp(t, out, mapped(path, m))
	must(t, err)
	want, err := os.ReadFile(path)
	must(t, err)
	clear(want[BlockSize/2 : 15*BlockSize/2])
	d := done.Devices[0]
	if got := out.Bytes("/disk"); !bytes.Equal(got, want) || d.Root != rootOf(want) {
		t.Errorf("%+v: other bytes: %v", d, bytes.Equal(got, want))
	}
}

func TestWrite_AnyMap_IsAsIfAllWereRead(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		// Two states of an image, and a map that tells the truth of them, in units of 4 KiB.
		units := rapid.IntRange(1, 300).Draw(t, "units")
		tail := rapid.IntRange(0, 4095).Draw(t, "tail")
		size := units*4096 + tail
		old := make([]byte, size)
		for i := range old {
			old[i] = byte(i*7 + i>>12)
		}
		now := bytes.Clone(old)
		m := &Map{Since: "a", State: "b"}
		for at := 0; at < size; {
			n := min(4096*rapid.IntRange(1, 300).Draw(t, "length"), size-at)
			kind := rapid.SampledFrom([]source.RangeKind{source.Data, source.Zero, source.Same}).Draw(t, "kind")
			switch kind {
			case source.Data:
				for i := at; i < at+n; i += 97 {
					now[i] ^= 0x55
				}
			case source.Zero:
				clear(now[at : at+n])
			}
			m.Ranges = appendRange(m.Ranges, kind, int64(n))
			at += n
		}
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := errors.Join(os.WriteFile(a, old, 0o600), os.WriteFile(b, now, 0o600)); err != nil {
			t.Fatal(err)
		}
		first := sourcetest.NewWriter()
		if err := New(Options{Devices: []Input{{Path: "/disk", Read: a, State: "a"}}}).Write(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		second := first.Next()
		in := mapped(b, m)
		in.State = "b"
		if err := New(Options{Devices: []Input{in}}).Write(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(second.Bytes("/disk"), now) {
			t.Fatal("other bytes")
		}
	})
}

// Two extents are merged between two questions of the file system, and the second answer begins within what the first has said.
func TestCompare_ExtentsMergedMeanwhile_NothingIsShifted(t *testing.T) {
	const k = 4096
	c := comparison{size: 40 * k, old: []fiemapExtent{{logical: 0, physical: 1000 * k, length: 40 * k}}}
	for _, e := range []fiemapExtent{
		{logical: 0, physical: 1000 * k, length: 20 * k},
		{logical: 16 * k, physical: 1016 * k, length: 8 * k}, // of which 4 are said twice
		{logical: 24 * k, physical: 5000 * k, length: 8 * k}, // other bytes
		{logical: 32 * k, physical: 1032 * k, length: 8 * k},
	} {
		must(t, c.add(&e))
	}
	want := []source.Range{
		{Start: 0, Length: 24 * k, Kind: source.Same},
		{Start: 24 * k, Length: 8 * k, Kind: source.Data},
		{Start: 32 * k, Length: 8 * k, Kind: source.Same},
	}
	if !slices.Equal(c.out, want) {
		t.Errorf("%+v", c.out)
	}
}

func TestWrite_MapOfAnotherSize_IsRefused(t *testing.T) {
	path := image(t, filepath.Join(t.TempDir(), "image"), 4*BlockSize, map[int64][]byte{0: random(t, 4*BlockSize)})
	for _, size := range []int64{3 * BlockSize, 5 * BlockSize} {
		m := &Map{Ranges: []source.Range{{Length: size - BlockSize, Kind: source.Data}, {Start: size - BlockSize, Length: BlockSize, Kind: source.Zero}}}
		if _, err := backUp(t, sourcetest.NewWriter(), mapped(path, m)); !errors.Is(err, ErrMap) {
			t.Errorf("%d: %v", size, err)
		}
	}
}

func TestMap_OneNameForTwoStates_IsRefused(t *testing.T) {
	text := "# since A\n# state A\n0 4k same\n4k 4k data\n"
	if _, err := ReadMap(strings.NewReader(text), 8192); !errors.Is(err, ErrMap) {
		t.Errorf("%v", err)
	}
	if _, err := ReadMap(strings.NewReader(strings.ReplaceAll(text, "data", "same")), 8192); err != nil {
		t.Errorf("nothing has changed: %v", err)
	}
	// The name of the state may also come from elsewhere.
	path := image(t, filepath.Join(t.TempDir(), "image"), 8192, map[int64][]byte{0: random(t, 8192)})
	first := sourcetest.NewWriter()
	_, err := backUp(t, first, Input{Path: "/disk", Read: path, State: "A"})
	must(t, err)
	in := mapped(path, &Map{Since: "A", Ranges: []source.Range{{Length: 4096, Kind: source.Same}, {Start: 4096, Length: 4096, Kind: source.Data}}})
	in.State = "A"
	if _, err := backUp(t, first.Next(), in); !errors.Is(err, ErrSince) {
		t.Errorf("%v", err)
	}
}

func TestStateOf_WrittenToAndTimeSetBack_IsAnother(t *testing.T) {
	path := image(t, filepath.Join(t.TempDir(), "image"), 8192, map[int64][]byte{0: random(t, 8192)})
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	before, err := StateOf(f)
	must(t, err)
	for i := 0; ; i++ { // the kernel's clock for this may be slow
		_, err = f.WriteAt([]byte("x"), 0)
		must(t, errors.Join(err, os.Chtimes(path, info.ModTime(), info.ModTime())))
		after, err := StateOf(f)
		must(t, err)
		if after != before {
			return
		}
		if i == 12_000 {
			t.Fatal("the same")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func FuzzParseThinDelta(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "thin_delta.xml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b), int64(1<<30))
	f.Fuzz(func(t *testing.T, text string, size int64) {
		if size < 0 {
			return
		}
		m, err := ParseThinDelta(strings.NewReader(text), size)
		if err == nil && (source.CheckRanges(0, m.Ranges) != nil || end(m.Ranges) != size) {
			t.Errorf("%+v", m)
		}
	})
}
