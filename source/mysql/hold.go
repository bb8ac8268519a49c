package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

// Limits bound what a lock can do to a server.
type Limits struct {
	// Wait is for how long to wait for the lock, and before it for long queries to end. At least a second; 0 is 10 s.
	Wait time.Duration
	// Hold is for how long to hold it. What takes longer fails, and the lock is released meanwhile. 0 is 30 s.
	Hold time.Duration
	// View is for how long to hold it where that is only for two views to be of one moment. 0 is 10 s; it is never longer than Hold.
	View time.Duration
	// LongQuery is how long a query may have been running when the lock is asked for: the lock would wait for it, and everybody else for
	// the lock. 0 is 10 s; negative is any time.
	LongQuery time.Duration
}

func (l Limits) orDefaults() Limits {
	or := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	or(&l.Wait, 10*time.Second)
	or(&l.Hold, 30*time.Second)
	or(&l.View, 10*time.Second)
	or(&l.LongQuery, 10*time.Second)
	l.Wait = max(l.Wait, time.Second)
	return l
}

// spare is how many seconds later than the watchdog the server ends the connection.
const spare = 3

// Held is what became of a lock.
type Held struct {
	At       Coordinates
	Replicas []Replica
	Server   string // its version
	// Time is how long the lock was held, counted from when it was asked for.
	Time time.Duration
}

// Hold runs fn while nothing is committed on a server and no table is altered: a snapshot of all volumes that the server's data lies
// on, taken then, has what the coordinates say. MariaDB is held by BACKUP STAGE BLOCK_COMMIT, MySQL by FLUSH TABLES WITH READ LOCK and LOCK
// INSTANCE FOR BACKUP.
//
// The context of fn is cancelled when the lock was held for too long; then the lock is released without waiting for fn, and Hold
// returns an error wrapping ErrHeldTooLong whatever fn returns. The lock goes, however Hold ends; when this process is stopped, or its
// machine is gone, the server takes it back some seconds after that time.
func Hold(ctx context.Context, c Config, limits Limits, fn func(context.Context, *Held) error) (*Held, error) {
	var held Held
	h := holder{config: &c, limits: limits, guard: true}
	h.lock = func(ctx context.Context, s *Server) error { return s.holdStill(ctx) }
	h.unlock = func(ctx context.Context, s *Server) error { return s.release(ctx) }
	took, err := h.run(ctx, func(ctx context.Context, s *Server) (err error) {
		held.Server = s.Version
		if held.At, err = s.coordinates(ctx); err != nil {
			return err
		}
		if held.Replicas, err = s.replicas(ctx); err != nil {
			return err
		}
		held.Replicas = unmoved(held.Replicas, held.Replicas) // nothing moves
		return fn(ctx, &held)
	})
	held.Time = took
	return &held, err
}

// holder holds a lock on a connection of its own.
type holder struct {
	config       *Config
	limits       Limits
	guard        bool // waits for long queries first
	lock, unlock func(context.Context, *Server) error
}

// run runs fn under the lock, and returns for how long it was held.
func (h *holder) run(ctx context.Context, fn func(context.Context, *Server) error) (took time.Duration, err error) {
	limits := h.limits.orDefaults()
	s, err := Open(ctx, *h.config)
	if err != nil {
		return 0, err
	}
	// Whatever happens: the end of the connection is the end of its locks.
	defer func() { err = errors.Join(err, s.Close()) }()
	// The server ends a connection that has been silent for the latter, and with it the lock: this machine may die, or lose the network,
	// and the watchdog with it.
	timeouts := fmt.Sprintf("SET SESSION lock_wait_timeout = %d, SESSION wait_timeout = %d", int(limits.Wait.Seconds()), int(limits.Hold.Seconds())+spare)
	if err := s.exec(ctx, timeouts); err != nil {
		return 0, err
	}
	if h.guard && limits.LongQuery > 0 {
		if err := s.awaitLongQueries(ctx, limits); err != nil {
			return 0, err
		}
	}
	start := clock.Now()
	// The server's timeout counts each table and stage on its own; this one counts all of them.
	waiting, stop := context.WithTimeout(ctx, limits.Wait+time.Second)
	err = h.lock(waiting, s)
	stop()
	if err != nil {
		if number(err) == 1205 || waiting.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w: the lock was not had within %v: %w", ErrBusy, limits.Wait, err)
		}
		return 0, err
	}
	err = h.hold(ctx, s, limits.Hold, fn)
	return clock.Since(start), err
}

// hold runs fn for at most a while, and releases the lock.
func (h *holder) hold(ctx context.Context, s *Server, most time.Duration, fn func(context.Context, *Server) error) error {
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	begun := clock.Now()
	go func() { done <- fn(working, s) }()
	watchdog := time.NewTimer(most)
	defer watchdog.Stop()
	select {
	case err := <-done:
		unlocking, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer stop()
		if uerr := h.unlock(unlocking, s); uerr != nil && err == nil {
			why := ErrLockLost
			if clock.Since(begun) > most { // this process stood still, and found both when it went on
				why = ErrHeldTooLong
			}
			err = fmt.Errorf("%w: %w", why, uerr)
		}
		return err
	case <-watchdog.C:
		cancel(ErrHeldTooLong)
		err := s.Close() // before fn ends: others have waited long enough
		<-done
		return errors.Join(ErrHeldTooLong, err)
	}
}

// holdStill lets nothing be committed or altered any more.
func (s *Server) holdStill(ctx context.Context) error {
	statements := []string{"BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT"}
	switch {
	case s.MariaDB && s.since(10, 4, 1):
	case !s.MariaDB && s.since(8, 0, 0):
		statements = []string{"LOCK INSTANCE FOR BACKUP", "FLUSH TABLES WITH READ LOCK"}
	default:
		statements = []string{"FLUSH TABLES WITH READ LOCK"}
	}
	for _, q := range statements {
		if err := s.exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) release(ctx context.Context) error {
	switch {
	case s.MariaDB && s.since(10, 4, 1):
		return s.exec(ctx, "BACKUP STAGE END")
	case !s.MariaDB && s.since(8, 0, 0):
		return errors.Join(s.exec(ctx, "UNLOCK TABLES"), s.exec(ctx, "UNLOCK INSTANCE"))
	}
	return s.exec(ctx, "UNLOCK TABLES")
}

// awaitLongQueries waits until no query has been running for long. It returns an error wrapping ErrBusy that names those that do not end.
func (s *Server) awaitLongQueries(ctx context.Context, limits Limits) error {
	for deadline := clock.Now().Add(limits.Wait); ; {
		queries, err := s.longQueries(ctx, limits.LongQuery)
		if err != nil || len(queries) == 0 {
			return err
		}
		if clock.Now().After(deadline) {
			return fmt.Errorf("%w: queries run for longer than %v, and a lock would wait for them: %s", ErrBusy, limits.LongQuery, strings.Join(queries, "; "))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *Server) longQueries(ctx context.Context, longer time.Duration) (out []string, err error) {
	rows, err := s.query(ctx, "SHOW FULL PROCESSLIST")
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		var seconds int64
		_, _ = fmt.Sscan(r["time"], &seconds) // none: it does nothing
		if slices.Contains([]string{"Query", "Execute"}, r["command"]) && time.Duration(seconds)*time.Second > longer {
			text := r["info"]
			out = append(out, fmt.Sprintf("%s of %s for %d s: %.80s", r["id"], r["user"], seconds, text))
		}
	}
	return out, nil
}
