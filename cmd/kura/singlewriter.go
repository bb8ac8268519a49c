package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/lease"
	"github.com/kura-backup/kura/backends/limit"
	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/backends/probe"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/internal/object"
)

// opener is [location.Location.Open] or Create.
type opener = func(context.Context, location.Options) (backends.Store, error)

// openSingleWriter opens or creates a store in which only one client at a time may change anything: with the
// first change it takes a lease.
func (a *app) openSingleWriter(ctx context.Context, do opener) (backends.Store, error) {
	rates, o, store, err := a.openBare(ctx, do)
	if err != nil {
		return nil, err
	}
	inner := store
	if w, ok := store.(interface{ Unwrap() backends.Store }); ok {
		// The lease is looked at before each attempt, and not only before the first of several that follow
		// each other over minutes, or over the days for which a machine was asleep.
		inner = w.Unwrap()
	}
	host, _ := os.Hostname() // only to be shown
	leased := lease.New(inner, lease.Options{Own: store, Host: host, PID: os.Getpid(), Unique: uniqueName})
	return limited(retry.New(leased, o.Retry), rates), nil
}

// openOverwriting opens or creates a store without asking it to refuse names that are taken.
func (a *app) openOverwriting(ctx context.Context, do opener) (backends.Store, error) {
	rates, _, store, err := a.openBare(ctx, do)
	if err != nil {
		return nil, err
	}
	return limited(store, rates), nil
}

// openBare is openOverwriting without the limits of rates, which it returns with the store's other settings.
func (a *app) openBare(ctx context.Context, do opener) (limit.Rates, location.Options, backends.Store, error) {
	rates, o, err := a.storeSettings()
	if err != nil {
		return rates, o, nil, err
	}
	o.S3.NoCreateOnly, o.SFTP.NoCreateOnly = true, true
	store, err := do(ctx, o)
	if err != nil {
		return rates, o, nil, err
	}
	if err := checkLocks(store, o); err != nil {
		return rates, o, nil, errors.Join(err, store.Close())
	}
	return rates, o, store, nil
}

// uniqueName reports whether only the client that made up a name ever puts it: it has a random id in it, mostly
// beside a hash. Others are numbers, which every client counts on.
func uniqueName(name string) bool {
	for _, prefix := range []string{object.LogPrefix, object.CheckpointsPrefix, object.ConfigName} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// makeStore opens the store for a new repository, and makes its place where it is missing. What can not be told
// from the outside is tried: whether several clients can write there.
func (a *app) makeStore(ctx context.Context, p *place) (backends.Store, error) {
	if p.singleWriter {
		return a.openSingleWriter(ctx, p.Create)
	}
	store, err := a.openStore(ctx, p.Create)
	if err != nil {
		return nil, err
	}
	if err := a.demandCreateOnly(ctx, p, store); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

func (a *app) demandCreateOnly(ctx context.Context, p *place, store backends.Store) error {
	if store.Caps().Local {
		return nil // the backend sees to it
	}
	if _, err := store.Get(ctx, object.ConfigName, 0, 1, nil); err == nil {
		return nil // a repository, which is not made again
	}
	report, err := probe.CreateOnlyAt(ctx, store, probe.Options{
		Second: func(ctx context.Context) (backends.Store, error) { return a.openStore(ctx, p.Open) },
	})
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		switch f.ID {
		case probe.CreateOnly, probe.CreateOnlyRace, probe.NoCreateOnly:
			return withHint(fmt.Errorf("%v does not keep writers apart: %s", p, f.Seen),
				"several clients that write there would destroy each other's entries; use another store if you can",
				"kura init --single-writer makes a repository there into which one client at a time can write (docs/single-writer.md)",
				fmt.Sprintf("kura doctor -r %v looks more closely", p))
		}
		if f.Severity == probe.Fatal {
			return withHint(fmt.Errorf("%v: %s", p, f.Seen), fmt.Sprintf("kura doctor -r %v looks more closely", p))
		}
	}
	return nil
}
