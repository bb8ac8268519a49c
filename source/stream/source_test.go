package stream

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kura-backup/kura/source/sourcetest"
	"github.com/kura-backup/kura/tree"
)

func TestNew_StreamsThatCanNotBe_AreRefused(t *testing.T) {
	r := strings.NewReader("x")
	for name, list := range map[string][]Stream{
		"none": nil, "neither": {{}}, "both": {{Reader: r, Command: []string{"true"}}}, "both commands": {{Line: "true", Command: []string{"true"}}},
		"no name": {{Reader: r, Name: "/"}}, "zero byte": {{Reader: r, Name: "a\x00b"}},
		"long name": {{Reader: r, Name: strings.Repeat("x", tree.MaxName+1)}},
		"the same":  {{Reader: r, Name: "a"}, {Reader: r, Name: "/b/../a"}}, "inside": {{Reader: r, Name: "a/b"}, {Reader: r, Name: "a"}},
	} {
		if _, err := New(list...); !errors.Is(err, ErrStreams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := New(Stream{Reader: r}, Stream{Reader: r, Name: "../a/./b"}, Stream{Reader: r, Name: "a/bc"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Paths(), " "); got != "/stdin /a/b /a/bc" || s.Kind() != Kind {
		t.Errorf("%s", got)
	}
}

func TestSource_SeveralStreams_AreFilesWithTheirBytes(t *testing.T) {
	s, err := New(Stream{Name: "a", Reader: iotest.HalfReader(strings.NewReader("from a reader"))},
		Stream{Name: "b", Command: []string{"printf", "%s", "from a | command"}}, Stream{Name: "c", Line: "echo from a shell | tr a-z A-Z"})
	if err != nil {
		t.Fatal(err)
	}
	s.Time = time.Unix(1_000_000_000, 7)
	w := sourcetest.NewWriter()
	if err := errors.Join(s.Write(t.Context(), w), w.Finish()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/a": "from a reader", "/b": "from a | command", "/c": "FROM A SHELL\n"} {
		if got := w.Entry(path); string(w.Bytes(path)) != want || got.Node.MTime != tree.MakeTime(1_000_000_000, 7) || got.Node.Mode != 0o644 {
			t.Errorf("%s: %q, %+v", path, w.Bytes(path), got.Node)
		}
	}
}

func TestSource_OneFails_AllFail(t *testing.T) {
	broken := errors.New("broken")
	good := Stream{Name: "good", Line: "echo good"}
	failed := (*CommandError)(nil)
	for name, bad := range map[string]Stream{
		"status": {Line: "echo x; exit 3"}, "signal": {Line: "echo x; kill -9 $$"}, "part of a pipeline": {Line: "false | echo x"},
		"not there": {Command: []string{"/no such program"}},
	} {
		for _, list := range [][]Stream{{good, bad}, {bad, good}} {
			s, err := New(list...)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write(t.Context(), sourcetest.NewWriter()); !errors.As(err, &failed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for want, bad := range map[error]Stream{
		ErrEmpty: {Command: []string{"true"}}, broken: {Reader: io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken))},
	} {
		s, err := New(good, bad)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), sourcetest.NewWriter()); !errors.Is(err, want) {
			t.Errorf("%v: %v", want, err)
		}
	}
}

func TestSource_CompressedStream_IsToldOnceAndKeptAsItIs(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(bytes.Repeat([]byte("hello"), 1000)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := New(Stream{Name: "gz", Reader: iotest.OneByteReader(bytes.NewReader(packed.Bytes()))}, Stream{Name: "plain", Line: "echo hello"})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	s.Warn = func(path, format string) { told = append(told, path+" "+format) }
	w := sourcetest.NewWriter()
	if err := s.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0] != "/gz gzip" || !bytes.Equal(w.Bytes("/gz"), packed.Bytes()) {
		t.Errorf("%q", told)
	}
}

func TestCompressed_Magics(t *testing.T) {
	for head, want := range map[string]string{
		"\x1f\x8b\x08\x00": "gzip", "\x28\xb5\x2f\xfd": "zstd", "\xfd7zXZ\x00": "xz", "BZh91AY&SY": "bzip2", "\x04\x22\x4d\x18": "lz4",
		"": "", "\x1f\x8b": "", "\x1f\x8b\x07": "", "BZh is text": "", "BZh91AY&S": "", "-- MySQL dump": "", "\x28\xb5\x2f": "",
	} {
		if got := Compressed([]byte(head)); got != want {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}
