package redis

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/source"
)

func TestReadReply_EveryKind(t *testing.T) {
	for text, want := range map[string]string{
		"+OK\r\n": `"OK"`, ":-5\r\n": "-5", "$3\r\na\r\n\r\n": `"a\r\n"`, "$-1\r\n": "<nil>", "*2\r\n:1\r\n*1\r\n$0\r\n\r\n": `[1 [""]]`, "*-1\r\n": "<nil>",
		"*1\r\n-ERR no\r\n": `["the server answers: ERR no"]`,
	} {
		got, err := readReply(bufio.NewReader(strings.NewReader(text)))
		if err != nil || show(got) != want {
			t.Errorf("%q: %s, %v", text, show(got), err)
		}
	}
	_, err := readReply(bufio.NewReader(strings.NewReader("-NOPERM this user\r\n")))
	if e, ok := errors.AsType[ServerError](err); !ok || e.code() != "NOPERM" {
		t.Errorf("%v", err)
	}
}

func show(v any) string {
	switch v := v.(type) {
	case string, error:
		return fmt.Sprintf("%q", v)
	case []any:
		all := make([]string, len(v))
		for i, x := range v {
			all[i] = show(x)
		}
		return "[" + strings.Join(all, " ") + "]"
	}
	return fmt.Sprint(v)
}

func TestReadReply_Hostile_BoundedErrors(t *testing.T) {
	for _, text := range []string{
		"", "+", "hello\r\n", ":x\r\n", "$-2\r\n", "$999999999999\r\n", "$3\r\nab", "$1\r\nabc\r\n", "*999999999\r\n", "*1000\r\n:1\r\n",
		strings.Repeat("*1\r\n", 100), "+" + strings.Repeat("x", 1<<20), "\r\n",
		// All of it has a bound, too.
		"*9\r\n" + strings.Repeat("*65536\r\n"+strings.Repeat(":1\r\n", 65536), 9), "*3\r\n" + strings.Repeat("$16777216\r\n"+strings.Repeat("x", 16<<20)+"\r\n", 3),
	} {
		_, err := readReply(bufio.NewReader(strings.NewReader(text)))
		if !errors.Is(err, errProtocol) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.30q: %v", text, err)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("*2\r\n:1\r\n*1\r\n$0\r\n\r\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for range 10 {
			if _, err := readReply(r); err != nil {
				return
			}
		}
	})
}

func FuzzReadDetails(f *testing.F) {
	f.Add([]byte(`{"redis":{"format":1,"name":"local","via":"aof","aof":{"manifest":"m","files":[{"name":"f","type":"b"}]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ReadDetails(b)
		if err != nil {
			return
		}
		if strings.Count(d.Folder(), "/") != 2 || d.AOF != nil && strings.Contains(d.AOF.Manifest, "/") {
			t.Errorf("%+v", d)
		}
	})
}

func TestReadDetails_OtherKindsAndFormats_AreRefused(t *testing.T) {
	const rest = `"name":"local","via":"rdb","rdb":{"form":"sorted","size":7,"keys":1}}`
	for text, want := range map[string]error{
		`{"redis":{"format":1,` + rest + `}`: nil,
		"":                                   ErrNotSaved, "{}": ErrNotSaved, `{"redis":7}`: ErrNotSaved, `{"redis":null}`: ErrNotSaved,
		`{"format":1,` + rest: ErrNotSaved, `{"redis":{` + rest + `}`: ErrNotSaved, `{"redis":{"format":0,` + rest + `}`: ErrNotSaved,
		`{"redis":{"format":"1",` + rest + `}`: ErrNotSaved, `{"valkey":{"format":1,` + rest + `}`: ErrNotSaved,
		`{"redis":{"format":2,` + rest + `}`: source.ErrNewer, `{"redis":{"format":7,"name":["a"]}}`: source.ErrNewer,
	} {
		d, err := ReadDetails([]byte(text))
		if !errors.Is(err, want) || (err == nil) != (d != nil) {
			t.Errorf("%s: %+v, %v", text, d, err)
		}
	}
}

func TestSpool_AnyPieces_SameBytesAndNoneOnDisk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := newSpool(t.TempDir())
		if err != nil {
			rt.Fatal(err)
		}
		defer s.close()
		var want []byte
		for n, size := range rapid.SliceOfN(rapid.IntRange(0, 300_000), 1, 4).Draw(rt, "pieces") {
			p := bytes.Repeat([]byte{byte(n + 1)}, size)
			want = append(want, p...)
			if got, err := s.Write(p); err != nil || got != size {
				rt.Fatalf("%d, %v", got, err)
			}
		}
		if err := s.flush(); err != nil {
			rt.Fatal(err)
		}
		if s.size != int64(len(want)) {
			rt.Fatalf("%d bytes, want %d", s.size, len(want))
		}
		off := rapid.IntRange(0, len(want)).Draw(rt, "offset")
		p := make([]byte, rapid.IntRange(0, 1000).Draw(rt, "length"))
		n, err := s.ReadAt(p, int64(off))
		if n != min(len(p), len(want)-off) || n < len(p) && err != io.EOF || n == len(p) && err != nil && len(p) > 0 || !bytes.Equal(p[:n], want[off:off+n]) {
			rt.Fatalf("%d bytes at %d: %v", n, off, err)
		}
		raw := make([]byte, min(len(want), 64))
		if _, err := s.f.ReadAt(raw, 0); err != nil || len(raw) > 20 && bytes.Equal(raw, want[:len(raw)]) {
			rt.Fatalf("on disk there is %x, %v", raw, err)
		}
	})
}
