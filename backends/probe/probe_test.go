package probe_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/probe"
	"github.com/kura-backup/kura/internal/clock"
)

// durable is a store in memory that says it keeps its word.
type durable struct{ *mem.Store }

func (durable) Caps() backends.Caps { return backends.Caps{CreateOnly: true, Durable: true} }

// broken is a store that breaks rules.
type broken struct {
	durable
	put    func(s broken, ctx context.Context, name string, data []byte) error
	get    func(s broken, data []byte, offset, length int64) []byte
	hide   func(info backends.Info) bool
	order  func([]backends.Info)
	remove func(s broken, ctx context.Context, name string) error
}

func (s broken) Put(ctx context.Context, name string, data []byte) error {
	if s.put != nil {
		return s.put(s, ctx, name, data)
	}
	return s.durable.Put(ctx, name, data)
}

func (s broken) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	data, err := s.durable.Get(ctx, name, offset, length, buf)
	if err == nil && s.get != nil {
		data = s.get(s, data, offset, length)
	}
	return data, err
}

func (s broken) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		var infos []backends.Info
		for info, err := range s.durable.List(ctx, prefix, after) {
			if err != nil {
				yield(info, err)
				return
			}
			if s.hide == nil || !s.hide(info) {
				infos = append(infos, info)
			}
		}
		if s.order != nil {
			s.order(infos)
		}
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (s broken) Delete(ctx context.Context, name string) error {
	if s.remove != nil {
		return s.remove(s, ctx, name)
	}
	return s.durable.Delete(ctx, name)
}

func run(t *testing.T, s backends.Store) *probe.Report {
	t.Helper()
	r, err := probe.Run(t.Context(), s, probe.Options{Large: 1 << 20}, probe.Events{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ids(r *probe.Report) (out []probe.ID) {
	for _, f := range r.Findings {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return out
}

func names(t *testing.T, s backends.Store) (out []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info.Name)
	}
	return out
}

func TestRun_SoundStore_HasNoFindingAndNothingLeft(t *testing.T) {
	m := mem.New()
	for _, name := range []string{"config", "log/0000000000000001"} {
		if err := m.Put(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, m)
	var phases []string
	opened := 0
	r, err := probe.Run(t.Context(), durable{m}, probe.Options{
		Many: 1500,
		Second: func(context.Context) (backends.Store, error) {
			opened++
			return durable{m}, nil
		},
	}, probe.Events{Phase: func(name string) { phases = append(phases, name) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) > 0 || r.Worst() != probe.Info || len(r.Left) > 0 {
		t.Errorf("%+v", r)
	}
	if r.Latency <= 0 || r.Up <= 0 || r.Down <= 0 || r.Clock.Abs() > time.Minute || opened != 1 || len(phases) < 8 {
		t.Errorf("%+v, %d connections, phases %q", r, opened, phases)
	}
	if after := names(t, m); !slices.Equal(before, after) {
		t.Errorf("%q became %q", before, after)
	}
}

// overwrite is a put that does not mind what is there.
func overwrite(s broken, ctx context.Context, name string, data []byte) error {
	s.Tamper(name, data)
	return ctx.Err()
}

// Each broken rule is named by its finding, and by no other that is fatal.
func TestRun_BrokenRule_IsNamed(t *testing.T) {
	denied := &backends.Error{Op: "delete", Err: backends.ErrDenied}
	for name, c := range map[string]struct {
		s    broken
		want []probe.ID
	}{
		"overwrites": {broken{put: overwrite}, []probe.ID{probe.CreateOnly}},
		"refuses, and overwrites all the same": {broken{put: func(s broken, ctx context.Context, name string, data []byte) error {
			err := s.durable.Put(ctx, name, data)
			s.Tamper(name, data)
			return err
		}}, []probe.ID{probe.CreateOnly}},
		"several racers win": {broken{put: manyWinners()}, []probe.ID{probe.CreateOnlyRace}},
		"no racer wins": {broken{put: func(s broken, ctx context.Context, name string, data []byte) error {
			if bytes.Contains([]byte(name), []byte("-race-")) {
				return backends.ErrExist
			}
			return s.durable.Put(ctx, name, data)
		}}, []probe.ID{probe.CreateOnlyRace}},
		"has no create-only": {broken{put: func(broken, context.Context, string, []byte) error {
			return &backends.Error{Op: "put", Err: backends.ErrNoCreateOnly}
		}}, []probe.ID{probe.NoCreateOnly}},
		"success for a write that failed": {
			broken{put: func(s broken, ctx context.Context, name string, data []byte) error { return ctx.Err() }},
			[]probe.ID{probe.LostWrite},
		},
		"truncates what is put": {broken{put: func(s broken, ctx context.Context, name string, data []byte) error {
			return s.durable.Put(ctx, name, data[:len(data)-1])
		}}, []probe.ID{probe.Truncated}},
		"truncates large objects": {broken{put: func(s broken, ctx context.Context, name string, data []byte) error {
			return s.durable.Put(ctx, name, data[:min(len(data), 200_000)])
		}}, []probe.ID{probe.Truncated}},
		"truncates what is read": {
			broken{get: func(_ broken, data []byte, offset, length int64) []byte { return data[:len(data)/2] }},
			[]probe.ID{probe.Truncated},
		},
		"corrupts": {broken{put: func(s broken, ctx context.Context, name string, data []byte) error {
			data = bytes.Clone(data)
			data[len(data)/2] ^= 1
			return s.durable.Put(ctx, name, data)
		}}, []probe.ID{probe.Bytes}},
		"wrong ranges": {broken{get: func(_ broken, data []byte, offset, length int64) []byte {
			if offset > 0 && len(data) > 1 {
				return append(data[1:], 0)
			}
			return data
		}}, []probe.ID{probe.Ranges}},
		"lists late": {
			broken{hide: func(info backends.Info) bool { return clock.Since(info.ModTime) < 300*time.Millisecond }},
			[]probe.ID{probe.ListAfterPut},
		},
		"lists never": {broken{hide: func(info backends.Info) bool { return true }}, []probe.ID{probe.ListAfterPut}},
		"lists in another order": {
			broken{order: func(infos []backends.Info) { slices.Reverse(infos) }},
			[]probe.ID{probe.Listing},
		},
		"denies deleting": {
			broken{remove: func(broken, context.Context, string) error { return denied }},
			[]probe.ID{probe.DeleteDenied, probe.LeftBehind},
		},
		"fails to delete": {
			broken{remove: func(broken, context.Context, string) error { return errors.New("no") }},
			[]probe.ID{probe.DeleteFails, probe.LeftBehind},
		},
		"deletes nothing": {
			broken{remove: func(broken, context.Context, string) error { return nil }},
			[]probe.ID{probe.LeftBehind, probe.ListAfterDelete},
		},
		"locks": {
			broken{remove: func(_ broken, _ context.Context, name string) error { return &backends.LockedError{Name: name} }},
			[]probe.ID{probe.LeftBehind, probe.Locked},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // in which it takes no time to wait, and nothing else any
				m := mem.New()
				c.s.durable = durable{m}
				r := run(t, c.s)
				if got := ids(r); !slices.Equal(got, c.want) {
					t.Fatalf("%v, want %v: %+v", got, c.want, r.Findings)
				}
				for _, f := range r.Findings {
					if f.Seen == "" || f.Means == "" || f.Severity == probe.Fatal && f.Do == "" {
						t.Errorf("not explained: %+v", f)
					}
				}
				left := names(t, durable{m})
				if !slices.Equal(left, r.Left) && c.s.hide == nil {
					t.Errorf("left %q, and said %q", left, r.Left)
				}
			})
		})
	}
}

// manyWinners lets all who put a name within some time win.
func manyWinners() func(s broken, ctx context.Context, name string, data []byte) error {
	var mu sync.Mutex
	first := map[string]time.Time{}
	return func(s broken, ctx context.Context, name string, data []byte) error {
		mu.Lock()
		at, taken := first[name]
		if !taken {
			first[name] = clock.Now()
		}
		mu.Unlock()
		if !bytes.Contains([]byte(name), []byte("-race-")) {
			return s.durable.Put(ctx, name, data)
		}
		if taken && clock.Since(at) > time.Minute {
			return backends.ErrExist
		}
		s.Tamper(name, data)
		return nil
	}
}

func TestRun_StoreThatFails_IsAFinding(t *testing.T) {
	for _, op := range []fault.Op{fault.Put, fault.List} {
		f := fault.New(durable{mem.New()})
		f.Inject(fault.On(op).Always().Before(errors.New("on fire")))
		r := run(t, f)
		if got := ids(r); !slices.Contains(got, probe.Failed) || r.Worst() != probe.Fatal {
			t.Errorf("%s: %v", op, got)
		}
		if n := len(f.Calls()); op == fault.List && n > 1 {
			t.Errorf("%d requests to a store of which the first failed, and nothing was put", n)
		}
	}
}

// An answer that got lost is no rule broken.
func TestRun_UnclearRacers_AreNoFinding(t *testing.T) {
	f := fault.New(durable{mem.New()})
	lost := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("cut")}
	f.Inject(fault.On(fault.Put).Prefix("probe/").Nth(12).Times(30).After(lost))
	r, err := probe.CreateOnlyAt(t.Context(), f, probe.Options{})
	if err != nil || len(r.Findings) > 0 || f.Fired() == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestRun_Interrupted_CleansUp(t *testing.T) {
	m := mem.New()
	f := fault.New(durable{m})
	ctx, cancel := context.WithCancel(t.Context())
	f.Inject(fault.On(fault.Put).Nth(12).Hook(func(context.Context, fault.Call) error {
		cancel()
		return nil
	}))
	if _, err := probe.Run(ctx, f, probe.Options{}, probe.Events{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if left := names(t, m); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestRun_LeftoversOfTheDead_AreRemovedAndOthersStay(t *testing.T) {
	c := clock.NewFake(clock.Now().Add(-25 * time.Hour))
	m := mem.NewWithClock(c)
	put := func(name string) {
		if err := m.Put(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	put("probe/0000000000000000-dead")
	others := []string{"probe/0000-x", "probe/0000000000000000", "probe/000000000000000g-x", "probe/results.csv"}
	for _, name := range others {
		put(name)
	}
	c.Advance(25 * time.Hour)
	put("probe/1111111111111111-alive")
	r := run(t, durable{m})
	if len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	want := append(others, "probe/1111111111111111-alive")
	slices.Sort(want)
	if got := names(t, m); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestRun_WhatTheStoreSaysOfItself_IsTold(t *testing.T) {
	c := clock.NewFake(clock.Now().Add(3 * time.Hour))
	r := run(t, telling{durable{mem.NewWithClock(c)}})
	want := []probe.ID{probe.Clock, probe.Locked, probe.NotDurable, probe.Versions}
	if got := ids(r); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if r.Worst() != probe.Warning {
		t.Errorf("%v", r.Worst())
	}
}

type telling struct{ durable }

func (telling) Caps() backends.Caps { return backends.Caps{CreateOnly: true} }
func (telling) LockDays() int       { return 30 }
func (telling) Kept() backends.Kept { return backends.Kept{Objects: 3, Why: "versions stay."} }
func (telling) ExtendLock(context.Context, string) (bool, error) {
	return false, nil
}

func TestCreateOnlyAt_FewRequests(t *testing.T) {
	f := fault.New(durable{mem.New()})
	r, err := probe.CreateOnlyAt(t.Context(), f, probe.Options{})
	if err != nil || len(r.Findings) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := len(f.Calls()); n > 30 {
		t.Errorf("%d requests", n)
	}
	r, err = probe.CreateOnlyAt(t.Context(), broken{durable: durable{mem.New()}, put: overwrite}, probe.Options{})
	if err != nil || !r.Has(probe.CreateOnly) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRun_SingleWriter_DoesWithoutCreateOnlyAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := broken{durable: durable{mem.New()}, put: overwrite}
		r, err := probe.Run(t.Context(), s, probe.Options{SingleWriter: true, Large: -1}, probe.Events{})
		if err != nil || len(r.Findings) > 0 || r.Up != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		s.hide = func(backends.Info) bool { return true }
		r, err = probe.Run(t.Context(), s, probe.Options{SingleWriter: true, Large: -1}, probe.Events{})
		if err != nil || !r.Has(probe.ListAfterPut) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
