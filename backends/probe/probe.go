package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
)

// Class is what the names of all objects begin with that a probe makes.
const Class = "probe/"

const (
	class  = Class
	idSize = 8 // bytes of what a run is called

	defaultRounds = 5
	defaultRacers = 8
	defaultLarge  = 16 << 20
	defaultMany   = 20

	// patience is how long something may take to appear, to be told from what never does.
	patience = 3 * time.Second

	// cleaning is how long removing what was put may take.
	cleaning = time.Minute

	// stale is the age of what an earlier probe has left behind.
	stale = 24 * time.Hour
)

// prober is one run. Its checks run one after the other; what they start themselves they wait for.
type prober struct {
	store, second backends.Store
	o             Options
	ev            Events
	run           string
	report        Report
	timed         bool  // the store's clock was read
	failed        error // what ended the run

	mu  sync.Mutex
	put map[string]bool // names that may be in the store
}

// errStop ends a run after a finding that leaves nothing to try.
var errStop = errors.New("probe: stopped")

// Run tries a store out and removes what it has put. The error is that of ctx
// or of Second, or [backends.ErrNoStore]: everything else that the store does
// wrong, failing included, is a finding.
func Run(ctx context.Context, store backends.Store, o Options, ev Events) (*Report, error) {
	p, err := probe(ctx, store, o, ev, []check{
		{"looking for what earlier probes left", (*prober).leftovers},
		{"putting and reading", (*prober).putAndRead},
		{"putting a name twice", (*prober).twice},
		{"putting a name at once from several", (*prober).races},
		{"reading parts", (*prober).ranges},
		{"listing", (*prober).listing},
		{"putting a large object", (*prober).large},
		{"deleting", (*prober).deleting},
	})
	if err != nil {
		return nil, err
	}
	p.describe()
	return &p.report, nil
}

// CreateOnlyAt tries out only whether names are given once, with some twenty
// requests. The Report has findings if not. A store that fails is an error.
func CreateOnlyAt(ctx context.Context, store backends.Store, o Options) (*Report, error) {
	o.Rounds = 2
	p, err := probe(ctx, store, o, Events{}, []check{
		{"putting a name twice", (*prober).twice},
		{"putting a name at once from several", (*prober).races},
	})
	if err != nil {
		return nil, err
	}
	return &p.report, p.failed
}

type check struct {
	phase string
	do    func(*prober, context.Context) error
}

func probe(ctx context.Context, store backends.Store, o Options, ev Events, checks []check) (*prober, error) {
	p := &prober{store: store, second: store, o: o.withDefaults(), ev: ev, put: map[string]bool{}}
	var id [idSize]byte
	rand.Read(id[:]) // never fails
	p.run = class + hex.EncodeToString(id[:]) + "-"
	if o.Second != nil {
		s, err := o.Second(ctx)
		if err != nil {
			return nil, err
		}
		p.second = s
		defer s.Close()
	}
	err := p.all(ctx, checks)
	p.clean(ctx)
	return p, err
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v *int
		d int
	}{{&o.Rounds, defaultRounds}, {&o.Racers, defaultRacers}, {&o.Large, defaultLarge}, {&o.Many, defaultMany}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return o
}

// all does the checks. A store that fails ends them, with a finding.
func (p *prober) all(ctx context.Context, checks []check) error {
	for _, c := range checks {
		p.phase(c.phase)
		err := c.do(p, ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errStop) {
			return nil
		}
		if errors.Is(err, backends.ErrNoStore) {
			return err
		}
		if err != nil {
			p.failed = err
			p.found(Failed, "%v", err)
			return nil
		}
	}
	return nil
}

func (p *prober) phase(name string) {
	if p.ev.Phase != nil {
		p.ev.Phase(name)
	}
}

// found records a finding once, as it was seen first.
func (p *prober) found(id ID, format string, args ...any) {
	if p.report.Has(id) {
		return
	}
	e := explained[id]
	f := Finding{ID: id, Severity: e.severity, Seen: fmt.Sprintf(format, args...), Means: e.means, Do: e.do}
	p.report.Findings = append(p.report.Findings, f)
	if p.ev.Found != nil {
		p.ev.Found(f)
	}
}

// name returns a name of this run, which is removed in the end.
func (p *prober) name(what string) string {
	name := p.run + what
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put[name] = true
	return name
}

func (p *prober) gone(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.put, name)
}

// madeUp reports whether a name is like those that runs put: of 16 hexadecimal digits, and what for. The folder may be that of something
// else, in a bucket that has no repository yet.
func madeUp(name string) bool {
	run, _, ok := strings.Cut(strings.TrimPrefix(name, class), "-")
	return ok && len(run) == 2*idSize && strings.Trim(run, "0123456789abcdef") == ""
}

// leftovers removes what a probe that died left, unless it may still be running.
func (p *prober) leftovers(ctx context.Context) error {
	var old []backends.Info
	for info, err := range p.store.List(ctx, class, "") {
		if err != nil {
			return err
		}
		if madeUp(info.Name) {
			old = append(old, info)
		}
	}
	if len(old) == 0 {
		return nil
	}
	now, err := p.storeTime(ctx)
	if err != nil {
		return err
	}
	for _, info := range old {
		if now.Sub(info.ModTime) >= stale {
			p.mu.Lock()
			p.put[info.Name] = true
			p.mu.Unlock()
		}
	}
	return nil
}

// storeTime is the time by the store's clock.
func (p *prober) storeTime(ctx context.Context) (time.Time, error) {
	name := p.name("time")
	if err := p.store.Put(ctx, name, []byte(name)); err != nil {
		return time.Time{}, err
	}
	before := clock.Now()
	for info, err := range p.store.List(ctx, name, "") {
		if err != nil {
			return time.Time{}, err
		}
		p.report.Clock, p.timed = info.ModTime.Sub(before), true
		return info.ModTime, nil
	}
	p.found(ListAfterPut, "an object that was just put is not listed")
	return time.Time{}, errStop
}

// clean removes what was put, also after an interruption.
func (p *prober) clean(ctx context.Context) {
	if len(p.put) == 0 { // as where the first request failed: what else would, takes its time
		return
	}
	p.phase("removing what was put")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
	defer cancel()
	p.mu.Lock()
	var names []string
	for name := range p.put {
		names = append(names, name)
	}
	p.mu.Unlock()
	slices.Sort(names)
	var denied error
	_ = backends.DeleteMany(ctx, p.store, names, defaultRacers, func(name string, err error) {
		if err == nil || errors.Is(err, backends.ErrNotExist) {
			return
		}
		denied = err
		p.report.Left = append(p.report.Left, name)
	})
	if denied != nil {
		p.foundDelete(denied)
	} else {
		p.report.Left, _ = list(ctx, p.store, p.run, "") // a last look, which need not succeed
	}
	if len(p.report.Left) > 0 {
		slices.Sort(p.report.Left)
		p.found(LeftBehind, "%d objects of the probe, the first of them %s", len(p.report.Left), p.report.Left[0])
	}
}

// describe adds what is known of the store without trying.
func (p *prober) describe() {
	if !p.store.Caps().Durable {
		p.found(NotDurable, "the store can not promise that what was written survives a power failure")
	}
	const notable = time.Minute
	if c := p.report.Clock; c.Abs() > notable {
		p.found(Clock, "the store's clock is %v %s this machine's", c.Abs().Round(time.Second), map[bool]string{true: "ahead of", false: "behind"}[c > 0])
	}
	if l, ok := backends.As[backends.Locker](p.store); ok && l.LockDays() > 0 {
		p.found(Locked, "each object is locked against deletion for %d days", l.LockDays())
	}
	if k, ok := backends.As[backends.Keeper](p.store); ok {
		if kept := k.Kept(); kept.Objects > 0 {
			p.found(Versions, "%d objects were deleted and still take up room: %s", kept.Objects, strings.TrimSuffix(kept.Why, "."))
		}
	}
}
