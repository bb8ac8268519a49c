package mysql

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
)

// counter makes a table that can be written.
func counter(t testing.TB, s *testserver.MariaDB) {
	t.Helper()
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.counter (id INT PRIMARY KEY AUTO_INCREMENT)")
}

// patient are limits that nothing comes to, however busy the machine is.
var patient = Limits{Wait: 5 * time.Minute, Hold: 5 * time.Minute, View: 5 * time.Minute, LongQuery: 5 * time.Minute}

const bump = "INSERT INTO shop.counter VALUES (NULL)"

func TestHold_TwoWriters_NothingIsCommitted(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	counter(t, s)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		w := open(t, configOf(s))
		go func() {
			for ctx.Err() == nil {
				if err := w.exec(t.Context(), bump); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	watcher := open(t, configOf(s))
	for s.Number(t, "SELECT COUNT(*) FROM shop.counter") == 0 { // until they are at work
		time.Sleep(10 * time.Millisecond)
	}
	var before, after Coordinates
	rows := 0
	held, err := Hold(t.Context(), configOf(s), patient, func(ctx context.Context, h *Held) (err error) {
		before = h.At
		rows = s.Number(t, "SELECT COUNT(*) FROM shop.counter")
		for range 20 {
			if n := s.Number(t, "SELECT COUNT(*) FROM shop.counter"); n != rows {
				t.Errorf("%d rows, then %d", rows, n)
			}
		}
		after, err = watcher.coordinates(ctx)
		return err
	})
	stop()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err != nil || before != after || before.Position == 0 || held.At != before || held.Time <= 0 {
		t.Errorf("%v: %+v, then %+v: %+v", err, before, after, held)
	}
	if n := s.Number(t, "SELECT COUNT(*) FROM shop.counter"); n < rows {
		t.Errorf("%d rows, then %d", rows, n)
	}
	held, err = Hold(t.Context(), configOf(s), patient, func(context.Context, *Held) error { return nil })
	t.Logf("held for %v while nothing was done, %v", held.Time, err)
}

// The lock is released in time though what it is for goes on, and even if that then ends well the run has failed.
func TestHold_TakesTooLong_ReleasedMeanwhile(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	counter(t, s)
	writer := open(t, configOf(s))
	written := false
	for hold := 300 * time.Millisecond; !written; hold *= 2 { // until there was time to begin
		_, err := Hold(t.Context(), configOf(s), Limits{Wait: patient.Wait, Hold: hold, LongQuery: patient.LongQuery}, func(ctx context.Context, _ *Held) error {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), ErrHeldTooLong) {
				t.Errorf("cancelled by %v", context.Cause(ctx))
			}
			if err := writer.exec(t.Context(), bump); err != nil { // would wait for ever if the lock were held
				t.Error(err)
			}
			written = true
			return nil
		})
		if !errors.Is(err, ErrHeldTooLong) {
			t.Fatalf("%v, written: %v", err, written)
		}
	}
}

func TestHold_WorkFailsOrIsCancelled_LockGoes(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	counter(t, s)
	failed := errors.New("failed")
	if _, err := Hold(t.Context(), configOf(s), patient, func(context.Context, *Held) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	s.SQL(t, bump)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	_, err := Hold(ctx, configOf(s), patient, func(ctx context.Context, _ *Held) error {
		cancel(interrupted)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, interrupted) {
		t.Errorf("%v", err)
	}
	s.SQL(t, bump)
}

// A server that ends the connection has released the lock, and what was done meanwhile is worth nothing.
func TestHold_ConnectionKilled_Fails(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	counter(t, s)
	var id string
	_, err := Hold(t.Context(), configOf(s), patient, func(context.Context, *Held) error {
		id = s.SQL(t, "SELECT id FROM information_schema.processlist WHERE command = 'Sleep' AND id <> CONNECTION_ID() ORDER BY id DESC LIMIT 1")
		s.SQL(t, "KILL "+id)
		s.SQL(t, bump)
		return nil
	})
	if !errors.Is(err, ErrLockLost) || !strings.Contains(err.Error(), ": connection "+id+" has ended: ") {
		t.Errorf("%v", err)
	}
}

func TestHold_LongQuery_RefusedBeforeAnybodyWaits(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	counter(t, s)
	sleeper := open(t, configOf(s))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := sleeper.query(ctx, "SELECT SLEEP(1000) FROM shop.counter UNION SELECT SLEEP(1000)")
		done <- err
	}()
	for s.Number(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(1000)%' AND time >= 2") == 0 {
		time.Sleep(50 * time.Millisecond)
	}
	called := false
	_, err := Hold(t.Context(), configOf(s), Limits{Wait: time.Second, LongQuery: time.Second}, func(context.Context, *Held) error {
		called = true
		return nil
	})
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "SELECT SLEEP(1000)") || called {
		t.Errorf("%v, called: %v", err, called)
	}
	stop()
	if err := <-done; err == nil {
		t.Error("the query ended by itself")
	}
}

func TestHold_AnotherHoldsIt_WaitIsBounded(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	counter(t, s)
	other := open(t, configOf(s))
	if err := other.exec(t.Context(), "BACKUP STAGE START"); err != nil {
		t.Fatal(err)
	}
	_, err := Hold(t.Context(), configOf(s), Limits{Wait: time.Second}, func(context.Context, *Held) error { return nil })
	if !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	if err := other.exec(t.Context(), "BACKUP STAGE END"); err != nil {
		t.Fatal(err)
	}
	if _, err := Hold(t.Context(), configOf(s), patient, func(context.Context, *Held) error { return nil }); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
