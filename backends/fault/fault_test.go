package fault_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/storetest"
)

var errLost = errors.New("connection lost")

func TestStore_WithoutRules_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) backends.Store { return fault.New(mem.New()) })
}

// size returns the size of an object, or -1.
func size(t *testing.T, s backends.Store, name string) int {
	t.Helper()
	data, err := s.Get(t.Context(), name, 0, -1, nil)
	if errors.Is(err, backends.ErrNotExist) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(data)
}

func TestPut_ThreeDeaths(t *testing.T) {
	for _, c := range []struct {
		name string
		rule fault.Rule
		left int // size of the object afterwards
	}{
		{"before", fault.On(fault.Put).Before(errLost), -1},
		{"after", fault.On(fault.Put).After(errLost), 10},
		{"torn", fault.On(fault.Put).Torn(4, errLost), 4},
		{"torn at once", fault.On(fault.Put).Torn(0, errLost), -1},
		{"torn beyond the end", fault.On(fault.Put).Torn(40, errLost), 10},
		{"hook", fault.On(fault.Put).Hook(func(context.Context, fault.Call) error { return errLost }), -1},
	} {
		for _, die := range []bool{false, true} {
			inner := mem.New()
			s := fault.New(inner)
			rule := c.rule
			if die {
				rule = rule.Die()
			}
			s.Inject(rule)
			if err := s.Put(t.Context(), "a/b", make([]byte, 10)); !errors.Is(err, errLost) {
				t.Errorf("%s: err = %v", c.name, err)
			}
			if got := size(t, inner, "a/b"); got != c.left {
				t.Errorf("%s: size %d, want %d", c.name, got, c.left)
			}
			err := s.Put(t.Context(), "a/c", make([]byte, 10))
			if die != errors.Is(err, fault.ErrDead) || !die && err != nil {
				t.Errorf("%s, die %v: the next Put: %v", c.name, die, err)
			}
			if s.Fired() != 1 {
				t.Errorf("%s: fired %d times", c.name, s.Fired())
			}
		}
	}
}

func TestDie_WithoutAnotherError_EveryMethodIsDead(t *testing.T) {
	inner := mem.New()
	s := fault.New(inner)
	s.Inject(fault.On(fault.Put).Nth(2).After(nil).Die())
	if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "b", []byte("x")); !errors.Is(err, fault.ErrDead) {
		t.Fatalf("the dying Put: %v", err)
	}
	if size(t, inner, "b") != 1 {
		t.Error("the dying Put was not done")
	}
	_, getErr := s.Get(t.Context(), "a", 0, -1, nil)
	var listErr error
	for _, err := range s.List(t.Context(), "", "") {
		listErr = err
	}
	for what, err := range map[string]error{"Get": getErr, "List": listErr, "Delete": s.Delete(t.Context(), "a")} {
		if !errors.Is(err, fault.ErrDead) {
			t.Errorf("%s of the dead: %v", what, err)
		}
	}
	s.Clear()
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Errorf("after Clear: %v", err)
	}
}

func TestDelete_ThreeDeaths(t *testing.T) {
	for _, c := range []struct {
		rule fault.Rule
		left int
	}{
		{fault.On(fault.Delete).Before(errLost), 1},
		{fault.On(fault.Delete).Torn(0, errLost), 1},
		{fault.On(fault.Delete).After(errLost), -1},
	} {
		s := fault.New(mem.New())
		if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		s.Inject(c.rule)
		if err := s.Delete(t.Context(), "a"); !errors.Is(err, errLost) {
			t.Errorf("err = %v", err)
		}
		if got := size(t, s, "a"); got != c.left {
			t.Errorf("size %d, want %d", got, c.left)
		}
	}
}

func TestGetAndList_Torn(t *testing.T) {
	s := fault.New(mem.New())
	for i := range 5 {
		if err := s.Put(t.Context(), fmt.Sprintf("a/%d", i), []byte("0123456789")); err != nil {
			t.Fatal(err)
		}
	}
	s.Inject(fault.On(fault.Get).Torn(3, nil), fault.On(fault.List).Torn(2, errLost))
	if got, err := s.Get(t.Context(), "a/1", 2, 5, nil); string(got) != "234" || err != nil {
		t.Errorf("Get = %q, %v", got, err)
	}
	var names []string
	var last error
	for info, err := range s.List(t.Context(), "a/", "a/0") {
		if last = err; err == nil {
			names = append(names, info.Name)
		}
	}
	if !slices.Equal(names, []string{"a/1", "a/2"}) || !errors.Is(last, errLost) {
		t.Errorf("List = %q, %v", names, last)
	}
}

func TestRules_NthTimesPrefix(t *testing.T) {
	pattern := func(r fault.Rule) string {
		s := fault.New(mem.New())
		s.Inject(r.Before(errLost))
		out := ""
		for i := range 4 {
			for _, class := range []string{"log", "data"} {
				if s.Put(t.Context(), fmt.Sprintf("%s/%d", class, i), []byte("x")) != nil {
					out += "!"
				} else {
					out += "."
				}
			}
		}
		return out
	}
	for _, c := range []struct {
		rule fault.Rule
		want string // log, data, log, data...
	}{
		{fault.On(), "!......."},
		{fault.On(fault.Get, fault.Put), "!......."},
		{fault.On(fault.Get), "........"},
		{fault.On(fault.Put).Prefix("data/"), ".!......"},
		{fault.On(fault.Put).Prefix("data/").Nth(3), ".....!.."},
		{fault.On(fault.Put).Prefix("log/").Nth(2).Times(2), "..!.!..."},
		{fault.On().Nth(4).Always(), "...!!!!!"},
	} {
		if got := pattern(c.rule); got != c.want {
			t.Errorf("%+v: %s, want %s", c.rule, got, c.want)
		}
	}
	rate := fault.On().Always().Rate(0.5, 7)
	a, b := pattern(rate), pattern(rate)
	if a != b {
		t.Errorf("one seed, two results: %s, %s", a, b)
	}
	if a == "........" || a == "!!!!!!!!" {
		t.Errorf("a rate of one half gives %s", a)
	}
}

func TestCalls_RecordedWithArguments(t *testing.T) {
	s := fault.New(mem.New())
	s.Inject(fault.On(fault.Put).Before(errLost))
	_ = s.Put(t.Context(), "a/1", []byte("xyz"))
	_, _ = s.Get(t.Context(), "a/1", 1, 2, nil)
	for range s.List(t.Context(), "a/", "a/0") {
	}
	_ = s.Delete(t.Context(), "b")
	want := []fault.Call{
		{Op: fault.Put, Name: "a/1", Length: 3},
		{Op: fault.Get, Name: "a/1", Offset: 1, Length: 2},
		{Op: fault.List, Name: "a/", After: "a/0"},
		{Op: fault.Delete, Name: "b"},
	}
	if diff := cmp.Diff(want, s.Calls()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := s.Count(fault.Put, "a/") + s.Count(fault.Delete, "a/"); n != 1 {
		t.Errorf("counted %d", n)
	}
	s.Reset()
	if n := len(s.Calls()); n != 0 {
		t.Errorf("%d calls after Reset", n)
	}
}

func TestAs_FindsTheStoreBeneath(t *testing.T) {
	inner := mem.New()
	if got, ok := backends.As[*mem.Store](fault.New(inner)); !ok || got != inner {
		t.Error("the wrapped store is not found")
	}
}
