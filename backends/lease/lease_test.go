package lease

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/storetest"
)

func TestStore_OverOneThatOverwrites_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) backends.Store { return New(overwriting{mem.New()}, Options{}) })
}

func TestStore_OverACreateOnlyOne_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) backends.Store { return New(mem.New(), Options{}) })
}

func TestStore_SecondClient_IsToldWhoWrites(t *testing.T) {
	w := newWorld()
	a, b := w.client("alpha"), w.client("beta")
	put(t, a, "log/1", "a")
	wantsHeld(t, b.Put(t.Context(), "log/2", []byte("b")), "alpha")
	wantsHeld(t, b.Delete(t.Context(), "log/1"), "alpha")
	var answers []error
	if err := b.DeleteMany(t.Context(), []string{"log/1"}, func(_ string, err error) { answers = append(answers, err) }); err != nil || len(answers) != 1 {
		t.Fatal(err, answers)
	}
	wantsHeld(t, answers[0], "alpha")
	has(t, b, "log/1", "a")
	if n := len(w.leases(t)); n != 1 {
		t.Errorf("%d leases: who was refused left something", n)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, b, "log/2", "b")
	if err := b.Put(t.Context(), "log/1", []byte("b")); !errors.Is(err, backends.ErrExist) {
		t.Errorf("a taken name: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := w.leases(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestStore_WhoOnlyReads_TakesNoLease(t *testing.T) {
	w := newWorld()
	w.mem.Tamper("log/1", []byte("x"))
	f := fault.New(overwriting{w.mem})
	s := New(f, w.options("alpha"))
	has(t, s, "log/1", "x")
	for range s.List(t.Context(), "", "") {
		continue
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(f.Calls()); n != 2 {
		t.Errorf("%d calls: %v", n, f.Calls())
	}
}

func TestStore_LongRun_RenewsAndLeavesNothing(t *testing.T) {
	w := newWorld()
	a, b := w.client("alpha"), w.client("beta")
	for i := range 100 {
		put(t, a, "log/"+strings.Repeat("1", i+1), "a")
		w.advance(50 * time.Minute)
		wantsHeld(t, b.Put(t.Context(), "config", []byte("b")), "alpha")
		if n := len(w.leases(t)); n > 2 {
			t.Fatalf("%d leases", n)
		}
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if left := w.leases(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestStore_DeadClient_KeepsOthersOutForADay(t *testing.T) {
	w := newWorld()
	put(t, w.client("alpha"), "log/1", "a") // and dies
	b := w.client("beta")
	for range 23 {
		w.advance(time.Hour)
		wantsHeld(t, b.Put(t.Context(), "log/2", []byte("b")), "alpha")
	}
	w.advance(2 * time.Hour)
	put(t, b, "log/2", "b")
	if n := len(w.leases(t)); n != 1 {
		t.Errorf("%d leases: that of the dead stayed", n)
	}
}

// The one clock that is wrong must not make a living client a dead one.
func TestStore_OneClockJumps_NobodyTakesOver(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, jump := range map[string]func(w *world){
		"the store's, forward":  func(w *world) { w.store.Advance(year) },
		"the store's, back":     func(w *world) { w.store.Advance(-year) },
		"the client's, forward": func(w *world) { w.wall.Advance(year) },
		"the client's, back":    func(w *world) { w.wall.Advance(-year) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			a, b := w.client("alpha"), w.client("beta")
			put(t, a, "log/1", "a")
			jump(w)
			wantsHeld(t, b.Put(t.Context(), "log/2", []byte("b")), "alpha")
			put(t, a, "log/2", "a")
			w.advance(10 * time.Hour)
			put(t, a, "log/3", "a")
			wantsHeld(t, b.Put(t.Context(), "log/4", []byte("b")), "alpha")
			if err := errors.Join(a.Close(), b.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestStore_AfterSleep_TakesAgainOrIsRefused(t *testing.T) {
	for _, other := range []bool{false, true} {
		w := newWorld()
		a, b := w.client("alpha"), w.client("beta")
		put(t, a, "log/1", "a")
		w.advance(72 * time.Hour)
		if !other {
			put(t, a, "log/2", "a")
			continue
		}
		put(t, b, "log/2", "b")
		wantsHeld(t, a.Put(t.Context(), "log/2", []byte("a")), "beta")
		has(t, a, "log/2", "b")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.Put(t.Context(), "log/2", []byte("a")); !errors.Is(err, backends.ErrExist) {
			t.Errorf("%v", err)
		}
	}
}

// The time passes between the looks at name and lease and the put: the looks are worth nothing then.
func TestStore_SleepBetweenLookAndPut_LooksAgain(t *testing.T) {
	w := newWorld()
	f := fault.New(overwriting{w.mem})
	a, b := New(f, w.options("alpha")), w.client("beta")
	put(t, a, "log/1", "a")
	for _, prefix := range []string{"log/2", class} {
		f.Clear()
		fired := false
		f.Inject(fault.On(fault.Get).Prefix(prefix).Hook(func(context.Context, fault.Call) error {
			fired = true
			w.advance(30 * time.Hour)
			put(t, b, "log/2", "b")
			return b.Close()
		}))
		if err := a.Put(t.Context(), "log/2", []byte("a")); !errors.Is(err, backends.ErrExist) || !fired {
			t.Fatalf("asleep before the look at %s: %v", prefix, err)
		}
		has(t, a, "log/2", "b")
		w.mem.Tamper("log/2", nil)
		b = w.client("beta")
	}
}

func TestStore_LeaseTakenAway_IsNoticedByTheNextPut(t *testing.T) {
	w := newWorld()
	a, b := w.client("alpha"), w.client("beta")
	put(t, a, "log/1", "a")
	holders, err := Holders(t.Context(), overwriting{w.mem})
	if err != nil || len(holders) != 1 || holders[0].Host != "alpha" || holders[0].PID != 7 || !holders[0].Said.Equal(w.wall.Now()) {
		t.Fatalf("%+v, %v", holders, err)
	}
	if err := Remove(t.Context(), overwriting{w.mem}, holders[0]); err != nil {
		t.Fatal(err)
	}
	put(t, b, "log/2", "b")
	wantsHeld(t, a.Put(t.Context(), "log/3", []byte("a")), "beta")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, a, "log/3", "a")
}

func TestStore_DeletingDenied_EndsByMarks(t *testing.T) {
	w := newWorld()
	denied := func() *fault.Store {
		f := fault.New(overwriting{w.mem})
		f.Inject(fault.On(fault.Delete).Always().Before(&backends.Error{Op: "delete", Err: backends.ErrDenied}))
		return f
	}
	for i := range 3 {
		s := New(denied(), w.options("alpha"))
		put(t, s, "log/"+strings.Repeat("1", i+1), "a")
		w.advance(61 * time.Minute)
		put(t, s, "data/"+strings.Repeat("1", i+1), "a")
		wantsHeld(t, New(denied(), w.options("beta")).Put(t.Context(), "log/2", []byte("b")), "alpha")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.leases(t)); n < 9 {
		t.Fatalf("%d objects of leases", n)
	}
	s := w.client("gamma") // may delete
	put(t, s, "log/3", "c")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := w.leases(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestStore_PutWithoutAnswer_KeepsTheLease(t *testing.T) {
	unclear := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("cut")}
	for name, c := range map[string]struct {
		rule   fault.Rule
		unique func(string) bool
		after  func(s *Store) error
		kept   bool
	}{
		"not done":    {rule: fault.On(fault.Put).Prefix("log/").Before(unclear), kept: true},
		"done":        {rule: fault.On(fault.Put).Prefix("log/").After(unclear)},
		"unique name": {rule: fault.On(fault.Put).Prefix("log/").Before(unclear), unique: func(n string) bool { return strings.HasPrefix(n, "log/") }},
		"repeated": {rule: fault.On(fault.Put).Prefix("log/").Before(unclear), after: func(s *Store) error {
			return s.Put(t.Context(), "log/1", []byte("a"))
		}},
		"repeated with other bytes": {kept: true, rule: fault.On(fault.Put).Prefix("log/").Before(unclear), after: func(s *Store) error {
			if err := s.Put(t.Context(), "log/1", []byte("b")); !errors.Is(err, backends.ErrUnsettled) {
				t.Errorf("%v", err)
			}
			return nil
		}},
		"not done, and clear": {rule: fault.On(fault.Put).Prefix("log/").Before(errors.New("refused"))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			f := fault.New(overwriting{w.mem})
			f.Inject(c.rule)
			o := w.options("alpha")
			o.Unique = c.unique
			s := New(f, o)
			if err := s.Put(t.Context(), "log/1", []byte("a")); err == nil {
				t.Fatal("it succeeded")
			}
			if c.after != nil {
				if err := c.after(s); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Close()
			if !c.kept {
				if err != nil {
					t.Fatal(err)
				}
				if err := w.client("beta").Put(t.Context(), "log/9", []byte("b")); err != nil {
					t.Fatal(err)
				}
				return
			}
			open, ok := errors.AsType[*UnsettledError](err)
			if !ok || !slices.Equal(open.Names, []string{"log/1"}) {
				t.Fatalf("%v", err)
			}
			wantsHeld(t, w.client("beta").Put(t.Context(), "log/9", []byte("b")), "alpha")
		})
	}
}

func TestStore_FaultsWhileTaking_AreErrorsAndLeaveNoLease(t *testing.T) {
	cut := errors.New("cut")
	for name, c := range map[string]struct {
		rule fault.Rule
		kind backends.Kind
	}{
		"put, transient":  {fault.On(fault.Put).Prefix(class).Before(&backends.Error{Op: "put", Kind: backends.Transient, Err: cut}), backends.Transient},
		"put, unclear":    {fault.On(fault.Put).Prefix(class).Before(&backends.Error{Op: "put", Kind: backends.Unclear, Err: cut}), backends.Transient},
		"put, permanent":  {fault.On(fault.Put).Prefix(class).Before(cut), backends.Permanent},
		"list, unclear":   {fault.On(fault.List).Prefix(class).Before(&backends.Error{Op: "list", Kind: backends.Unclear, Err: cut}), backends.Transient},
		"list, torn":      {fault.On(fault.List).Prefix(class).Torn(0, cut), backends.Permanent},
		"look at name":    {fault.On(fault.Get).Prefix("log/").Before(&backends.Error{Op: "get", Kind: backends.Transient, Err: cut}), backends.Transient},
		"look at lease":   {fault.On(fault.Get).Prefix(class).Before(&backends.Error{Op: "get", Kind: backends.Transient, Err: cut}), backends.Transient},
		"not listed then": {fault.On(fault.List).Prefix(class).Torn(0, nil), backends.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			f := fault.New(overwriting{w.mem})
			f.Inject(c.rule)
			s := New(f, w.options("alpha"))
			err := s.Put(t.Context(), "log/1", []byte("a"))
			if !errors.Is(err, cut) && !errors.Is(err, ErrNotListed) || backends.KindOf(err) != c.kind {
				t.Fatalf("%v (%v)", err, backends.KindOf(err))
			}
			put(t, s, "log/1", "a") // the next try
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if left := w.leases(t); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// An unclear put of a lease that was done is one.
func TestStore_LeaseThatArrivedWithoutAnswer_Counts(t *testing.T) {
	w := newWorld()
	f := fault.New(overwriting{w.mem})
	f.Inject(fault.On(fault.Put).Prefix(class).After(&backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("cut")}))
	s := New(f, w.options("alpha"))
	put(t, s, "log/1", "a")
	if n := f.Count(fault.Put, class); n != 1 {
		t.Errorf("%d leases were put", n)
	}
}

func TestLeases_HostileNamesAndBytes_KeepOthersOutOrAreIgnored(t *testing.T) {
	w := newWorld()
	for _, name := range []string{"lease/x", "lease/0123456789abcdef", "lease/0123456789abcdef-1", "lease/0123456789abcdef-0000000000000000", "lease/zzzzzzzzzzzzzzzz-0000000000000001"} {
		w.mem.Tamper(name, []byte("x"))
	}
	s := w.client("alpha")
	put(t, s, "log/1", "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"x", "{}", `{"host":"h","time":"9"}`, strings.Repeat("x", 1<<20)} {
		w.mem.Tamper(leaseName("0123456789abcdef", 1), []byte(text))
		w.advance(48 * time.Hour)
		s := w.client("alpha")
		wantsHeld(t, s.Put(t.Context(), "log/2", []byte("a")), "")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	holders, err := Holders(t.Context(), overwriting{w.mem})
	if err != nil || len(holders) != 1 || holders[0].ID != "0123456789abcdef" {
		t.Fatalf("%+v, %v", holders, err)
	}
	if err := Remove(t.Context(), overwriting{w.mem}, holders[0]); err != nil {
		t.Fatal(err)
	}
	put(t, w.client("alpha"), "log/2", "a")
}
