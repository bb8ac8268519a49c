package backends_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends"
)

func TestValidName_Table(t *testing.T) {
	for _, c := range []struct {
		name string
		want bool
	}{
		{"config", true},
		{"config.copy", true},
		{"c", true},
		{"keys/" + strings.Repeat("0a", 32) + ".copy", true},
		{"log/0000000000000001", true},
		{"data/" + strings.Repeat("f", 32) + "-" + strings.Repeat("0", 64), true},
		{"sessions/00ff-12", true},
		{"some_class/some_thing", true},
		{strings.Repeat("a", 200), true},

		{strings.Repeat("a", 201), false},
		{"", false},
		{"/", false},
		{"/config", false},
		{"log/", false},
		{"log//1", false},
		{"log/1/2", false},
		{"..", false},
		{"../x", false},
		{"log/..", false},
		{"log/.", false},
		{".hidden", false},
		{"log/.hidden", false},
		{"log/1.", false},
		{"config-", false},
		{"lost+found", false},
		{"config~", false},
		{"Config", false},
		{"log/000A", false},
		{"log\\1", false},
		{"log/1 ", false},
		{"log/1\n", false},
		{"log/1\x00", false},
		{"log/ü", false},
		{"log/\xff", false},
		{"tmp", false},
		{"tmp/put-00", false},
		{"tmpx/00", true},
	} {
		if got := backends.ValidName(c.name); got != c.want {
			t.Errorf("ValidName(%q) = %v, want %v", c.name, got, c.want)
		}
		if err := backends.CheckName(c.name); errors.Is(err, backends.ErrName) == c.want {
			t.Errorf("CheckName(%q) = %v", c.name, err)
		}
	}
}

func TestSpan_Table(t *testing.T) {
	for _, c := range []struct {
		offset, length, size, want int64 // want 0: a RangeError
	}{
		{0, -1, 10, 10},
		{0, 10, 10, 10},
		{3, 7, 10, 7},
		{9, -1, 10, 1},
		{9, 1, 10, 1},
		{0, -1, backends.MaxObject, backends.MaxObject},
		{0, math.MinInt64, 10, 10},

		{0, 11, 10, 0},
		{3, 8, 10, 0},
		{10, -1, 10, 0},
		{10, 1, 10, 0},
		{11, -1, 10, 0},
		{0, 0, 10, 0},
		{-1, 1, 10, 0},
		{math.MinInt64, 1, 10, 0},
		{math.MinInt64, -1, 10, 0},
		{1, math.MaxInt64, 10, 0},
		{math.MaxInt64, math.MaxInt64, 10, 0},
		{1, -1, 0, 0},
		{0, 1, 0, 0},
		{0, 0, 0, 0},
	} {
		got, err := backends.Span("x/y", c.offset, c.length, c.size)
		if got != c.want {
			t.Errorf("Span(%d, %d, %d) = %d, want %d", c.offset, c.length, c.size, got, c.want)
		}
		if (err != nil) != (c.want == 0) {
			t.Errorf("Span(%d, %d, %d): error %v", c.offset, c.length, c.size, err)
		}
		if re, ok := errors.AsType[*backends.RangeError](err); err != nil && (!ok || re.Name != "x/y" || !errors.Is(err, backends.ErrRange)) {
			t.Errorf("Span(%d, %d, %d): error %#v is no RangeError with the object's name", c.offset, c.length, c.size, err)
		}
	}
}

// Otherwise what a power failure emptied would look like a store that fails, and end a check.
func TestSpan_WholeObjectThatLostItsBytes_IsNone(t *testing.T) {
	if n, err := backends.Span("x/y", 0, -1, 0); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestSpan_WholeObjectTooLargeToRead_IsRefused(t *testing.T) {
	for _, size := range []int64{backends.MaxObject + 1, math.MaxInt64} {
		if _, err := backends.Span("x/y", 0, -1, size); !errors.Is(err, backends.ErrTooLarge) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if n, err := backends.Span("x/y", 5, 7, size); n != 7 || err != nil {
			t.Errorf("a part of %d bytes: %d, %v", size, n, err)
		}
	}
}

func TestBuffer_ReusesMemoryOnlyWhenLargeEnough(t *testing.T) {
	buf := make([]byte, 2, 8)
	if got := backends.Buffer(buf, 8); len(got) != 8 || &got[0] != &buf[0] {
		t.Error("a buffer with the capacity was not used")
	}
	if got := backends.Buffer(buf, 9); len(got) != 9 || &got[0] == &buf[0] {
		t.Error("a buffer without the capacity was used")
	}
}

func TestKindOf_FollowsWrappingAndDefaultsToPermanent(t *testing.T) {
	lost := &backends.Error{Op: "put", Name: "log/1", Kind: backends.Unclear, Err: io.ErrUnexpectedEOF}
	for _, c := range []struct {
		err  error
		want backends.Kind
	}{
		{nil, backends.Permanent},
		{io.EOF, backends.Permanent},
		{backends.ErrExist, backends.Permanent},
		{lost, backends.Unclear},
		{fmt.Errorf("commit: %w", lost), backends.Unclear},
		{&backends.Error{Op: "get", Kind: backends.Transient, Err: io.EOF}, backends.Transient},
		{errors.Join(io.EOF, lost), backends.Unclear},
	} {
		if got := backends.KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
		if backends.IsTransient(c.err) != (c.want == backends.Transient) || backends.IsUnclear(c.err) != (c.want == backends.Unclear) {
			t.Errorf("IsTransient, IsUnclear disagree with KindOf for %v", c.err)
		}
	}
	if !errors.Is(lost, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if got, want := lost.Error(), "put log/1: unexpected EOF"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

type inner struct{ backends.Store }

func (inner) Flush() string { return "inner" }

type wrapper struct{ backends.Store }

func (w wrapper) Unwrap() backends.Store { return w.Store }

func TestAs_FindsAbilityBeneathWrappers(t *testing.T) {
	s := wrapper{wrapper{inner{}}}
	f, ok := backends.As[interface{ Flush() string }](s)
	if !ok || f.Flush() != "inner" {
		t.Fatalf("As = %v, %v", f, ok)
	}
	if _, ok := backends.As[io.Reader](s); ok {
		t.Fatal("found an ability that nobody has")
	}
	if _, ok := backends.As[*bytes.Buffer](inner{}); ok {
		t.Fatal("found an ability without wrappers")
	}
}
