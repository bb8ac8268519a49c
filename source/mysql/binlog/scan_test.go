package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// file makes a log of events.
type file struct {
	b        []byte
	checksum bool
}

func newFile(checksum bool) *file {
	f := &file{b: []byte(magic), checksum: checksum}
	body := make([]byte, 60)
	if checksum {
		body = append(body, 1)
	} else {
		body = append(body, 0)
	}
	was := f.checksum
	f.checksum = true // always has room for one
	f.add(format, 1, body)
	f.checksum = was
	return f
}

func (f *file) add(kind byte, server uint32, body []byte) *file {
	length := headSize + len(body)
	if f.checksum {
		length += 4
	}
	start := len(f.b)
	f.b = binary.LittleEndian.AppendUint32(f.b, 1_700_000_000+uint32(start))
	f.b = append(f.b, kind)
	f.b = binary.LittleEndian.AppendUint32(f.b, server)
	f.b = binary.LittleEndian.AppendUint32(f.b, uint32(length))
	f.b = binary.LittleEndian.AppendUint32(f.b, uint32(start+length))
	f.b = append(append(f.b, 0, 0), body...)
	if f.checksum {
		f.b = binary.LittleEndian.AppendUint32(f.b, crc32.ChecksumIEEE(f.b[start:]))
	}
	return f
}

func gtidBody(g GTID) []byte {
	b := binary.LittleEndian.AppendUint64(nil, g.Number)
	return append(binary.LittleEndian.AppendUint32(b, g.Domain), 0, 0, 0, 0, 0, 0, 0)
}

func listBody(list ...GTID) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(list)))
	for _, g := range list {
		b = binary.LittleEndian.AppendUint32(b, g.Domain)
		b = binary.LittleEndian.AppendUint32(b, g.Server)
		b = binary.LittleEndian.AppendUint64(b, g.Number)
	}
	return b
}

func sample(checksum bool) []byte {
	return newFile(checksum).add(gtidList, 1, listBody(GTID{0, 1, 6}, GTID{3, 2, 9})).add(gtid, 1, gtidBody(GTID{0, 1, 7})).add(2, 1, make([]byte, 100)).
		add(gtid, 5, gtidBody(GTID{0, 5, 8})).add(30, 5, make([]byte, 1<<17)).add(rotate, 1, append(make([]byte, 8), "binlog.000002"...)).b
}

func TestScan_Events_AreLookedInto(t *testing.T) {
	for _, checksum := range []bool{true, false} {
		text := sample(checksum)
		state, next, events, end := new(State), "", 0, int64(len(magic))
		err := Scan(iotest.HalfReader(bytes.NewReader(text)), func(e *Event) error {
			if e.Start != end || !e.Time.Equal(time.Unix(1_700_000_000+e.Start, 0)) {
				t.Errorf("an event at %d of %v, where %d was next", e.Start, e.Time, end)
			}
			end, next = e.End, e.Next
			events++
			return state.Follow(e)
		})
		if err != nil || state.String() != "0-5-8,3-2-9" || next != "binlog.000002" || events != 7 || end != int64(len(text)) {
			t.Errorf("checksums %v: %v, %v, %q, %d events up to %d of %d", checksum, err, state, next, events, end, len(text))
		}
	}
}

func TestScan_CutOrFlipped_Refused(t *testing.T) {
	text := sample(true)
	ends := []int64{int64(len(magic))}
	none := func(*Event) error { return nil }
	if err := Scan(bytes.NewReader(text), func(e *Event) error { ends = append(ends, e.End); return nil }); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(text); n += 1 + n/50 {
		err := Scan(bytes.NewReader(text[:n]), none)
		if whole := slices.Contains(ends, int64(n)); whole != (err == nil) || !whole && n >= len(magic) && !errors.Is(err, ErrTruncated) {
			t.Errorf("cut at %d: %v", n, err)
		}
		flipped := bytes.Clone(text)
		flipped[n] ^= 0x10
		if err := Scan(bytes.NewReader(flipped), none); !errors.Is(err, ErrChecksum) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTruncated) {
			t.Errorf("flipped at %d: %v", n, err)
		}
	}
	failed := errors.New("failed")
	if err := Scan(io.MultiReader(bytes.NewReader(text[:50]), iotest.ErrReader(failed)), none); !errors.Is(err, failed) {
		t.Errorf("a reader that fails: %v", err)
	}
	if err := Scan(bytes.NewReader(text), func(*Event) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("a caller that fails: %v", err)
	}
}

func TestState_FileThatDoesNotFollow_Refused(t *testing.T) {
	for known, lists := range map[string]map[string][]GTID{
		"0-1-7, 3-2-9": {
			"same":                {{3, 2, 9}, {0, 4, 2}, {0, 1, 7}},
			"empty: gap":          {},
			"a domain less: gap":  {{0, 1, 7}},
			"a domain more: gap":  {{0, 1, 7}, {3, 2, 9}, {4, 1, 1}},
			"later: gap":          {{0, 1, 8}, {3, 2, 9}},
			"earlier: gap":        {{0, 1, 6}, {3, 2, 9}},
			"another's last: gap": {{0, 1, 7}, {0, 4, 8}, {3, 2, 9}},
		},
		"": {"same": {}, "later: gap": {{0, 1, 1}}},
	} {
		for name, list := range lists {
			s, err := ParseState(known)
			if err != nil {
				t.Fatal(err)
			}
			was := s.String()
			err = s.Follow(&Event{Before: list})
			if errors.Is(err, ErrGap) != strings.HasSuffix(name, "gap") || s.String() != was {
				t.Errorf("%q, %s: %v, %v", known, name, err, s)
			}
		}
	}
	// A file that does not end as the server ends it may have a transaction that was not complete.
	for ended, want := range map[bool]bool{true: false, false: true} {
		s, err := ParseState("0-1-7,3-2-9")
		events := []*Event{{GTID: &GTID{0, 4, 8}}, {Last: ended}, {Start: Begin}, {Before: []GTID{{3, 2, 9}, {0, 1, 7}}}}
		for _, e := range events {
			err = errors.Join(err, s.Follow(e))
		}
		if (err == nil) != want || s.Dropped() != want || want && s.String() != "0-1-7,3-2-9" {
			t.Errorf("ended by the server: %v: %v, %v", ended, err, s)
		}
	}
	s := new(State)
	if err := s.Follow(&Event{Before: []GTID{{0, 4, 9}, {0, 1, 7}}}); err != nil || s.String() != "0-1-7" {
		t.Errorf("the first file: %v, %v", err, s)
	}
	for _, text := range []string{"1", "1-2", "1-2-x", "4294967296-1-1", "1-2-3-4", "1-2-3,x"} {
		if _, err := ParseState(text); err == nil {
			t.Errorf("%q is a state", text)
		}
	}
}

func FuzzScan_AnyBytes_NoPanic(f *testing.F) {
	f.Add(sample(true)[:400])
	f.Add(sample(false)[:400])
	f.Fuzz(func(t *testing.T, b []byte) {
		end := int64(len(magic))
		err := Scan(bytes.NewReader(b), func(e *Event) error {
			if e.Start != end || e.End <= e.Start {
				t.Fatalf("an event from %d to %d, where %d was next", e.Start, e.End, end)
			}
			end = e.End
			return new(State).Follow(e)
		})
		if err == nil && end != int64(len(b)) {
			t.Fatalf("%d bytes of %d", end, len(b))
		}
	})
}
