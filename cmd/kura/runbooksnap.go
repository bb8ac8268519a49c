package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/runbook"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/device"
	"github.com/kura-backup/kura/source/mysql"
	"github.com/kura-backup/kura/source/redis"
	"github.com/kura-backup/kura/tree"
	"github.com/kura-backup/kura/ui"
)

// resolveSnapshots finds the snapshots that a plan needs, and looks for what its steps want of them.
func (a *app) resolveSnapshots(ctx context.Context, wants []runbook.Want) (pins []runbook.Pin, err error) {
	var missing []runbook.Problem
	err = a.withRepository(ctx, func(r *session) error {
		for _, w := range wants {
			pin, problems, err := a.resolveSnapshot(ctx, r, w)
			known := errors.Is(err, repo.ErrNotFound) || errors.Is(err, errWrongSort) || errors.Is(err, source.ErrNewer)
			if err != nil && !known || isDamage(err) {
				return err
			}
			if err != nil {
				missing = append(missing, runbook.Problem{Step: "", Err: fmt.Errorf("snapshot %s: %w", w.Snapshot.Name, err)})
			}
			missing = append(missing, problems...)
			pins = append(pins, pin)
		}
		return nil
	})
	if err == nil && len(missing) > 0 {
		err = &runbook.PreflightError{Problems: missing}
	}
	return pins, err
}

var errWrongSort = errors.New("it is of something else than the plan wants to restore")

// resolveSnapshot finds one snapshot. What its steps want and it has not got are problems.
func (a *app) resolveSnapshot(ctx context.Context, r *session, w runbook.Want) (pin runbook.Pin, problems []runbook.Problem, err error) {
	var snap *repo.Snapshot
	check := func(runbook.Use) error { return nil }
	switch w.Sort {
	case runbook.SortMySQL:
		snap, check, err = mysqlUses(ctx, r, w)
	case runbook.SortDevice:
		if snap, err = findDevices(ctx, r, w); err == nil {
			check = func(u runbook.Use) error { return a.checkDevice(ctx, r, snap, u) }
		}
	default:
		find := findSnapshot
		if w.Sort == runbook.SortRedis {
			find = findRedis
		}
		if snap, err = pick(ctx, r, w.Snapshot, find, nil); err == nil && w.Sort == runbook.SortRedis {
			err = checkRedis(snap)
		}
	}
	if err != nil {
		return pin, nil, err
	}
	for _, path := range w.Paths {
		if _, err := r.Find(ctx, snap, path); err != nil {
			return pin, nil, explainFind(err)
		}
	}
	for _, u := range w.Uses {
		err := check(u)
		var wrong *unfit
		if err != nil && !errors.As(err, &wrong) {
			return pin, nil, err
		}
		if err != nil {
			problems = append(problems, runbook.Problem{Step: u.Step, Err: inPlan(wrong.err)})
		}
	}
	return runbook.Pin{ID: snap.ID.String(), Text: ui.Describe(snap)}, problems, nil
}

// unfit is the error of a step that the snapshot does not suit, or the machine.
type unfit struct{ err error }

func (e *unfit) Error() string { return e.err.Error() }
func (e *unfit) Unwrap() error { return e.err }

// finder is what finds a snapshot by its name.
type finder func(ctx context.Context, r *session, name string, f repo.SnapshotFilter) (*repo.Snapshot, string, error)

// pick finds the snapshot that a plan chooses, of those that are wanted.
func pick(ctx context.Context, r *session, s runbook.Snapshot, find finder, wanted func(*repo.Snapshot) bool) (*repo.Snapshot, error) {
	f, err := (&filterOptions{hosts: s.Hosts, tags: s.Tags, paths: s.Paths, at: s.At}).filter()
	if err != nil {
		return nil, err
	}
	f.Where = wanted
	snap, _, err := find(ctx, r, s.ID, f)
	return snap, err
}

// checkRedis returns why a snapshot is none of a server.
func checkRedis(s *repo.Snapshot) error {
	_, err := redis.ReadDetails([]byte(s.Details))
	if errors.Is(err, redis.ErrNotSaved) {
		err = errWrongSort
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", s.ID.Short(), err)
	}
	return err
}

// mysqlUse is what a step says of what it restores.
type mysqlUse struct {
	sel    mysql.Selection
	users  bool
	moment *mysql.Until
}

// readMySQLUse reads it from the step's command line.
func readMySQLUse(u runbook.Use) (m mysqlUse, err error) {
	cmd, err := understand(u.Args)
	if err != nil {
		return m, nil // which is told of by who looks at command lines
	}
	var o mysqlChoice
	f := cmd.Flags()
	until := ""
	for _, read := range []func() error{
		func() (err error) { o.databases, err = f.GetStringArray("database"); return err },
		func() (err error) { o.rename, err = f.GetStringToString("rename-db"); return err },
		func() (err error) { m.users, err = f.GetBool("users"); return err },
		func() (err error) { until, err = f.GetString("until"); return err },
		func() (err error) { m.sel, err = o.selection(); return err },
	} {
		if err := read(); err != nil {
			return m, &unfit{err}
		}
	}
	if until != "" {
		if m.moment, err = parseUntil(until); err != nil {
			return m, &unfit{err}
		}
	}
	return m, nil
}

// mysqlUses finds the backup of a server that is meant, and returns what looks whether it has what a step wants.
func mysqlUses(ctx context.Context, r *session, w runbook.Want) (*repo.Snapshot, func(runbook.Use) error, error) {
	var moment *mysql.Until
	for _, u := range w.Uses {
		if m, err := readMySQLUse(u); err == nil && m.moment != nil {
			moment = m.moment
		}
	}
	s := w.Snapshot
	b, err := (&mysqlChoice{at: s.At, tags: s.Tags, hosts: s.Hosts, paths: s.Paths}).find(ctx, r, s.ID, ofSQL, moment)
	if err != nil {
		return nil, nil, err
	}
	manifest, err := b.manifest(ctx)
	if err != nil {
		return nil, nil, err
	}
	return b.snap, func(u runbook.Use) error {
		m, err := readMySQLUse(u)
		if err != nil {
			return err
		}
		_, err = manifest.Plan(m.sel)
		switch {
		case err != nil:
		case m.users && !manifest.Users:
			err = fmt.Errorf("snapshot %s has no accounts", b.snap.ID.Short())
		case m.moment != nil && !precedes(b.snap, b.details, m.moment):
			err = fmt.Errorf("snapshot %s is none of all databases from before the moment of --until", b.snap.ID.Short())
		}
		if err != nil {
			return &unfit{err}
		}
		return nil
	}, nil
}

// findDevices finds the snapshot that is meant: if a step names no path in it, one of devices, unless there is none.
func findDevices(ctx context.Context, r *session, w runbook.Want) (*repo.Snapshot, error) {
	named := true
	for _, u := range w.Uses {
		named = named && u.Path != ""
	}
	if named {
		return pick(ctx, r, w.Snapshot, findSnapshot, nil)
	}
	snap, err := pick(ctx, r, w.Snapshot, findSnapshot, hasDevices)
	if errors.Is(err, repo.ErrNotFound) && !isDamage(err) {
		return pick(ctx, r, w.Snapshot, findSnapshot, nil)
	}
	return snap, err
}

func hasDevices(s *repo.Snapshot) bool {
	d, err := device.ReadDetails([]byte(s.Details))
	return err != nil || len(d.Devices) > 0 // what can not be read is refused when it is chosen
}

// checkDevice looks whether a snapshot has what a step restores onto a device, and whether it could be written there. If a step
// before it may change the machine, that is told, and no problem yet.
func (a *app) checkDevice(ctx context.Context, r *session, snap *repo.Snapshot, u runbook.Use) error {
	path, err := devicePath(snap, u.Path)
	if errors.Is(err, source.ErrNewer) {
		return &unfit{err}
	}
	if err != nil {
		_, hints := explain(exitUsage, err)
		return &unfit{fmt.Errorf("%w: %s", err, strings.Join(hints, ", "))}
	}
	node, err := r.Find(ctx, snap, path)
	switch {
	case errors.Is(err, repo.ErrNotFound) && !isDamage(err):
		return &unfit{err}
	case err != nil:
		return err
	case node.Type != tree.File || node.Error != "":
		return &unfit{fmt.Errorf("%s is no file of snapshot %s", path, snap.ID.Short())}
	}
	cmd, err := understand(u.Args)
	if err != nil {
		return nil // which is told of by who looks at command lines
	}
	to, err := cmd.Flags().GetString("to")
	force, ferr := cmd.Flags().GetBool("force")
	if err := errors.Join(err, ferr); err != nil {
		return err
	}
	target, err := device.OpenTarget(to, node.Size, device.TargetOptions{DryRun: true, Force: force})
	switch {
	case err == nil:
		return target.Close()
	case u.Now:
		return &unfit{err}
	}
	a.term.Info(fmt.Sprintf("step %s could not be done as this machine is now; a step before it may change that: %v", u.Step, err))
	return nil
}
