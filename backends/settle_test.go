package backends_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/retry"
)

const settled = "log/0000000000000001"

// settle settles "own" on a store with rules, and checks that nobody ever put other bytes.
func settle(t *testing.T, ctx context.Context, inner *mem.Store, rules ...fault.Rule) (own bool, store *fault.Store, err error) {
	t.Helper()
	store = fault.New(inner)
	store.Inject(rules...)
	data := []byte("own")
	own, err = backends.Settle(ctx, store, settled, data, func(got []byte) bool { return bytes.Equal(got, data) })
	if string(data) != "own" {
		t.Error("the bytes were changed")
	}
	return own, store, err
}

func TestSettle_Table(t *testing.T) {
	lost := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("connection lost")}
	busy := &backends.Error{Op: "get", Kind: backends.Transient, Err: errors.New("busy")}
	full := &backends.Error{Op: "put", Err: errors.New("no space left")}
	for name, c := range map[string]struct {
		there      string // under the name before
		rules      []fault.Rule
		own        bool
		unsettled  bool
		err        error // that is wrapped
		puts, gets int
	}{
		"free":                        {own: true, puts: 1},
		"taken":                       {there: "other", puts: 1, gets: 1},
		"taken by an earlier put":     {there: "own", own: true, puts: 1, gets: 1},
		"answer lost":                 {rules: []fault.Rule{fault.On(fault.Put).After(lost)}, own: true, puts: 1, gets: 1},
		"put lost":                    {rules: []fault.Rule{fault.On(fault.Put).Times(5).Before(lost)}, own: true, puts: 6, gets: 5},
		"always lost":                 {rules: []fault.Rule{fault.On(fault.Put).Always().Before(lost)}, unsettled: true, err: lost, puts: 38, gets: 38},
		"said to be taken":            {rules: []fault.Rule{fault.On(fault.Put).Times(3).Before(backends.ErrExist)}, own: true, puts: 4, gets: 3},
		"always said to be taken":     {rules: []fault.Rule{fault.On(fault.Put).Always().Before(backends.ErrExist)}, unsettled: true, err: backends.ErrExist, puts: 38, gets: 38},
		"refused":                     {rules: []fault.Rule{fault.On(fault.Put).Before(full)}, err: full, puts: 1},
		"given up by the store":       {rules: []fault.Rule{fault.On(fault.Put).Before(busy)}, err: busy, puts: 1},
		"lost, then refused":          {rules: []fault.Rule{fault.On(fault.Put).Before(lost), fault.On(fault.Put).Before(full)}, unsettled: true, err: full, puts: 2, gets: 1},
		"lost, and can not be looked": {rules: []fault.Rule{fault.On(fault.Put).Before(lost), fault.On(fault.Get).Before(busy)}, unsettled: true, err: busy, puts: 1, gets: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := mem.New()
				if c.there != "" {
					inner.Tamper(settled, []byte(c.there))
				}
				start := time.Now()
				own, store, err := settle(t, t.Context(), inner, c.rules...)
				if own != c.own || errors.Is(err, backends.ErrUnsettled) != c.unsettled || !errors.Is(err, c.err) {
					t.Errorf("own %v, err %v", own, err)
				}
				if puts, gets := store.Count(fault.Put, ""), store.Count(fault.Get, ""); puts != c.puts || gets != c.gets {
					t.Errorf("%d puts, %d gets", puts, gets)
				}
				// What a store can not write for a while is tried for as long as what it can not read.
				if d := time.Since(start); d > 310*time.Second || c.puts > 30 && d < 5*time.Minute {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

// Who waits is told why, in the way of what the Store itself tries again.
func TestSettle_TriesAgain_IsTold(t *testing.T) {
	lost := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("connection lost")}
	synctest.Test(t, func(t *testing.T) {
		store := fault.New(mem.New())
		store.Inject(fault.On(fault.Put).Times(3).Before(lost))
		var told []time.Duration
		s := retry.New(store, retry.Options{Notify: func(op, name string, err error, pause time.Duration) {
			if op != "put" || name != settled || !errors.Is(err, lost) {
				t.Errorf("told of %s %s: %v", op, name, err)
			}
			told = append(told, pause)
		}})
		start := time.Now()
		own, err := backends.Settle(t.Context(), s, settled, []byte("own"), func([]byte) bool { return true })
		if !own || err != nil {
			t.Errorf("own %v, err %v", own, err)
		}
		var sum time.Duration
		for _, pause := range told {
			sum += pause
		}
		if len(told) != 3 || sum != time.Since(start) {
			t.Errorf("told of %v in %v", told, time.Since(start))
		}
	})
}

func TestSettle_StoreHangsEachTime_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, store, err := settle(t, t.Context(), mem.New(), fault.On(fault.Put).Always().Hook(func(context.Context, fault.Call) error {
			time.Sleep(5 * time.Minute)
			return &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("timeout")}
		}))
		if n := store.Count(fault.Put, ""); !errors.Is(err, backends.ErrUnsettled) || n != 3 {
			t.Errorf("%d puts in %v: %v", n, time.Since(start), err)
		}
	})
}

func TestSettle_CanceledMeanwhile_LooksOnce(t *testing.T) {
	enough := errors.New("enough")
	lost := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("connection lost")}
	cancelIn := func(cancel context.CancelCauseFunc, err error) fault.Rule {
		return fault.On(fault.Put).Hook(func(context.Context, fault.Call) error {
			cancel(enough)
			return err
		})
	}
	synctest.Test(t, func(t *testing.T) { // the look finds what was put
		ctx, cancel := context.WithCancelCause(t.Context())
		inner := mem.New()
		inner.Tamper(settled, []byte("own"))
		if own, _, err := settle(t, ctx, inner, cancelIn(cancel, lost)); !own || err != nil {
			t.Errorf("%v, %v", own, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the look finds nothing
		ctx, cancel := context.WithCancelCause(t.Context())
		_, store, err := settle(t, ctx, mem.New(), cancelIn(cancel, lost))
		if !errors.Is(err, backends.ErrUnsettled) || !errors.Is(err, enough) || store.Count(fault.Put, "") != 1 {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the look hangs
		ctx, cancel := context.WithCancelCause(t.Context())
		start := time.Now()
		_, _, err := settle(t, ctx, mem.New(), cancelIn(cancel, lost), fault.On(fault.Get).Hook(func(ctx context.Context, _ fault.Call) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}))
		if !errors.Is(err, backends.ErrUnsettled) || !errors.Is(err, enough) || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nothing was sent
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(enough)
		_, _, err := settle(t, ctx, mem.New())
		if err == nil || errors.Is(err, backends.ErrUnsettled) {
			t.Error(err)
		}
	})
}
