package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kura-backup/kura/source/mysql/binlog"
)

// outOfOrder is by how much times of transactions may be out of order: those that many clients commit at a moment are, a little, since
// a statement's time is that of its begin.
const outOfOrder = 10 * time.Second

// PrepareReplay finds out what of an archive's logs leads from a backup to a moment. It reads the logs in between, and later ones that
// have transactions of an earlier time. The error wraps ErrReach if the archive does not lead from the one to the other: it has
// to have the very place in the log at which the backup was made, with the same transactions before it. It wraps ErrOrder if times do not
// say where the moment is.
func PrepareReplay(ctx context.Context, d *ArchiveDetails, from Coordinates, until Until, open Opener) (*Replay, error) {
	if err := d.Reaches(from, until); err != nil {
		return nil, err
	}
	known, err := binlog.ParseState(from.GTID)
	if err != nil {
		return nil, fmt.Errorf("%w: the backup's GTID is %q", ErrReach, from.GTID)
	}
	p := &preparer{d: d, until: until, known: known, Replay: Replay{From: from, To: from, open: open}}
	first := d.index(from.File)
	for i := first; i < len(d.Logs) && !p.done(i); i++ {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := p.look(i, i == first); err != nil {
			return nil, fmt.Errorf("%s: %w", d.name(i), err)
		}
		if i == first {
			if err := p.begins(first); err != nil {
				return nil, err
			}
		}
	}
	return p.ends()
}

// preparer makes a Replay.
type preparer struct {
	Replay
	d     *ArchiveDetails
	until Until
	known *binlog.State // at the begin

	state   binlog.State
	undo    Replay // as it was before the last transaction, which started there
	started int64
	begun   bool      // the place of the backup was passed
	inside  bool      // the transaction that was asked for is at work
	base    time.Time // the latest of a transaction that the backup has, as far as is known
	opened  time.Time // of the first event of the first log that was looked at

	stop   *binlog.Event // the first that is not replayed any more
	late   int           // transactions behind it that began before the moment
	latest *binlog.Event // the first of them
}

var errDone = errors.New("done")

// done reports whether a log needs not be looked at.
func (p *preparer) done(i int) bool {
	if p.stop == nil {
		return false
	}
	l := p.d.Logs[i]
	return p.until.GTID != nil || !l.transactions() || !l.earliest().Before(p.until.Time)
}

// scan calls each for every event of a log.
func (p *preparer) scan(i int, each func(*binlog.Event) error) (err error) {
	f, err := p.open(p.d.name(i))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = binlog.Scan(f, each)
	if errors.Is(err, errDone) {
		err = nil
	}
	return err
}

// look looks at a log: whether it has the end of the replay, or transactions behind it that should be in front of it.
func (p *preparer) look(i int, first bool) error {
	name, began := p.d.name(i), p.stop == nil
	piece := piece{name: name}
	if first {
		piece.from = int64(p.From.Position)
	}
	err := p.scan(i, func(e *binlog.Event) error {
		if err := p.follow(e); err != nil {
			return err
		}
		if p.stop == nil && e.Before != nil && p.state.Dropped() { // behind the stop the state stands still
			p.takeBack()
		}
		switch {
		case first && !p.begun:
			if piece.head == 0 {
				piece.head = e.End
				p.opens(e)
			}
			return p.before(e)
		case p.stop != nil:
			return p.behind(e)
		case p.reached(e):
			p.stop = e
			return p.behind(e)
		}
		p.replay(e, name)
		piece.to = e.End
		return nil
	})
	if err == nil && began && piece.to > piece.from {
		p.pieces = append(p.pieces, piece)
	}
	return err
}

// takeBack takes back the last transaction, which is not complete: the server was killed. It is the end of the last piece.
func (p *preparer) takeBack() {
	if p.undo.open == nil {
		return // the backup has what was before it
	}
	last := &p.pieces[len(p.pieces)-1]
	last.to = p.started
	pieces := p.pieces
	p.Replay, p.inside = p.undo, false
	p.pieces = pieces
}

// follow looks whether an event follows those before.
func (p *preparer) follow(e *binlog.Event) error {
	if p.stop != nil {
		return nil // logs in between may not have been looked at
	}
	if err := p.state.Follow(e); err != nil {
		return fmt.Errorf("%w: %w", ErrReach, err)
	}
	return nil
}

// before is for events that the backup has.
func (p *preparer) before(e *binlog.Event) error {
	if e.GTID != nil {
		p.note(e)
	}
	at := int64(p.From.Position)
	if e.End < at {
		return nil
	}
	if e.End > at || !p.state.Equal(p.known) {
		return fmt.Errorf("%w: the backup is of %s:%d after GTID %q, and the archive has GTID %q and an event from %d to %d there: these are the logs of another server, or of another time",
			ErrReach, p.From.File, at, p.known, &p.state, e.Start, e.End)
	}
	p.begun = true
	return nil
}

// note takes note of a transaction that the backup has.
func (p *preparer) note(e *binlog.Event) {
	if e.Time.After(p.base) && p.plausible(e) {
		p.base = e.Time
	}
}

// opens takes note of when a log was begun. That time can be wrong, too; then it is only known that it was archived later.
func (p *preparer) opens(e *binlog.Event) {
	if p.opened = e.Time; !p.plausible(e) {
		p.opened = p.d.Began
	}
}

// plausible reports whether an event can be of the time that it says.
func (p *preparer) plausible(e *binlog.Event) bool { return !e.Time.After(p.d.Ends) }

// reached reports whether an event, as the begin of a transaction or the end of a log, lies behind the end of the replay.
func (p *preparer) reached(e *binlog.Event) bool {
	if p.until.GTID != nil {
		return p.inside && (e.GTID != nil || e.Before != nil || e.Last)
	}
	return e.GTID != nil && !e.Time.Before(p.until.Time) && p.plausible(e)
}

// replay is for events that are to be replayed.
func (p *preparer) replay(e *binlog.Event, name string) {
	if e.GTID != nil {
		p.undo, p.started = p.Replay, e.Start
		p.Transactions++
		p.Last, p.To.GTID = e.Time, e.GTID.String()
		p.inside = p.until.GTID != nil && *e.GTID == *p.until.GTID
	}
	p.To.File, p.To.Position = name, uint64(e.End)
}

// behind is for events behind the end. All of these were committed after it; that one began long before it says that a time is wrong.
func (p *preparer) behind(e *binlog.Event) error {
	if p.until.GTID != nil {
		return errDone
	}
	if e.GTID != nil && e.Time.Before(p.until.Time) && p.stop.Time.Sub(e.Time) > outOfOrder {
		if p.late++; p.late == 1 {
			p.latest = e
		}
	}
	return nil
}

// begins finds out whether the backup is of before the moment.
func (p *preparer) begins(first int) error {
	if !p.begun {
		return fmt.Errorf("%w: the archive has %s, but not what is at %d", ErrReach, p.From.File, p.From.Position)
	}
	if p.until.GTID != nil {
		return nil
	}
	// Without a transaction in this log, that was in an earlier one.
	for i := first - 1; i >= 0 && p.base.IsZero(); i-- {
		err := p.scan(i, func(e *binlog.Event) error {
			switch {
			case e.GTID != nil:
				p.note(e)
			case e.Start == binlog.Begin:
				p.opens(e)
			}
			if !p.d.Logs[i].transactions() {
				return errDone
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p.d.name(i), err)
		}
	}
	if !p.base.IsZero() && !p.base.Before(p.until.Time) {
		return fmt.Errorf("%w: the backup has what happened at %s, and %v was asked for", ErrReach, p.base.Format(time.RFC3339), p.until)
	}
	if p.base.IsZero() && p.until.Time.Before(p.opened) {
		return fmt.Errorf("%w: the archive does not say what happened before %s, and %v was asked for", ErrReach, p.opened.Format(time.RFC3339), p.until)
	}
	return nil
}

// ends makes the result.
func (p *preparer) ends() (*Replay, error) {
	switch {
	case p.until.GTID != nil && !p.inside:
		return nil, fmt.Errorf("%w: %v is not between the backup and the end of the archive", ErrReach, p.until)
	case p.late > 0:
		last := "none"
		if p.Transactions > 0 {
			last = p.To.GTID
		}
		return nil, fmt.Errorf("%w: GTID %v is of %s, and behind it there are %d transactions of earlier than %v, the first of them GTID %v of %s; the last one before all these is GTID %s",
			ErrOrder, p.stop.GTID, p.stop.Time.Format(time.RFC3339), p.late, p.until, p.latest.GTID, p.latest.Time.Format(time.RFC3339), last)
	}
	p.stopped = p.stop != nil
	return &p.Replay, nil
}
