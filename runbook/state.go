package runbook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/durable"
)

const (
	lockName    = ".lock" // which is no name of a plan
	journalName = "journal"
	planName    = "plan.toml"
	folderPerm  = 0o700 // variables and what commands print may be secret
)

// State is a folder in which runs are written down: below it a folder for each plan, and in that one for each run. While it is
// open to be written, nobody else has it open so. It is not safe for concurrent use.
type State struct {
	dir  string
	fsys durable.FS
	lock durable.File
	now  func() time.Time
}

// OpenState opens the folder, which is made if it is missing, and locks it.
func OpenState(dir string, now func() time.Time) (*State, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	fsys, err := durable.CreateDir(dir, folderPerm)
	if err != nil {
		return nil, err
	}
	s, err := newState(dir, fsys, now)
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	return s, nil
}

// newState locks a folder.
func newState(dir string, fsys durable.FS, now func() time.Time) (*State, error) {
	f, err := fsys.CreateExcl(lockName, 0o600)
	if errors.Is(err, fs.ErrExist) {
		f, err = fsys.Open(lockName)
	}
	if err != nil {
		return nil, err
	}
	if err := f.TryLock(); err != nil {
		if errors.Is(err, durable.ErrLocked) {
			err = fmt.Errorf("%w, with its state in %s", ErrBusy, dir)
		}
		return nil, errors.Join(err, f.Close())
	}
	return &State{dir: dir, fsys: fsys, lock: f, now: now}, nil
}

// LookAtState opens the folder to be read only. Where there is none, nothing is made, and no run is found.
func LookAtState(dir string, now func() time.Time) (*State, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	fsys, err := durable.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &State{dir: dir, now: now}, nil
	}
	if err != nil {
		return nil, err
	}
	return &State{dir: dir, fsys: fsys, now: now}, nil
}

// Close gives up the folder.
func (s *State) Close() error {
	var errs []error
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	if s.fsys != nil {
		errs = append(errs, s.fsys.Close())
	}
	return errors.Join(errs...)
}

// runs are the numbers of a plan's runs.
func (s *State) runs(plan string) (last int, err error) {
	if s.fsys == nil {
		return 0, nil
	}
	entries, err := s.fsys.ReadDir(plan)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "run-")); err == nil && n > 0 && e.Name() == runName(n) {
			last = max(last, n)
		}
	}
	return last, err
}

func runName(n int) string { return fmt.Sprintf("run-%04d", n) }

// last returns the journal of a plan's last run, and its folder, or nil if there is none.
func (s *State) last(plan string) (j *journal, dir string, err error) {
	err = s.newestFirst(plan, func(read *journal, in string) bool {
		j, dir = read, in
		return false
	})
	return j, dir, err
}

// toUndo returns the run that is taken back next: the last one, or if that was taken back, one before it that it was to replace: that was never over. One
// that was carried out is what the last one began with, and is not taken back any more: then the last one is returned.
func (s *State) toUndo(plan string) (j *journal, dir string, earlier bool, err error) {
	err = s.newestFirst(plan, func(read *journal, in string) bool {
		if j == nil || read.over() == "" {
			j, dir, earlier = read, in, j != nil
		}
		return read.over() == ResultUndone
	})
	return j, dir, earlier, err
}

// newestFirst shows the journals of a plan's runs, until it is told to stop.
func (s *State) newestFirst(plan string, show func(j *journal, dir string) bool) error {
	last, err := s.runs(plan)
	for n := last; n > 0 && err == nil; n-- {
		dir := path.Join(plan, runName(n))
		j, rerr := readJournal(s.fsys, path.Join(dir, journalName), s.now)
		switch {
		case errors.Is(rerr, fs.ErrNotExist): // its beginning was cut off: nothing was done
		case rerr != nil:
			return rerr
		case !show(j, dir):
			return nil
		}
	}
	return err
}

// begin makes the folder of a new run.
func (s *State) begin(ctx context.Context, plan *Plan, first line) (*journal, string, error) {
	n, err := s.runs(plan.Name)
	if err != nil {
		return nil, "", err
	}
	dir := path.Join(plan.Name, runName(n+1))
	if err := durable.MkdirAll(s.fsys, dir, folderPerm); err != nil {
		return nil, "", err
	}
	if err := durable.WriteReplace(ctx, s.fsys, path.Join(dir, planName), plan.Source); err != nil {
		return nil, "", err
	}
	first.What, first.Version = lineRun, journalVersion
	if first.Plan, err = filepath.Abs(plan.File); err != nil {
		return nil, "", err
	}
	j := &journal{fsys: s.fsys, name: path.Join(dir, journalName), now: s.now}
	return j, dir, j.add(ctx, first)
}

// ours refuses a run that another machine has begun, whose state was copied or is shared, or one of another plan of the same name.
func (j *journal) ours(plan *Plan, host Host) error {
	file, err := filepath.Abs(plan.File)
	if err != nil {
		return err
	}
	run := j.run()
	switch {
	case run.Machine != host.Machine || run.Host != host.Name:
		return fmt.Errorf("%w: the last run of %s was begun on %s (machine id %s), and this is %s (%s): nothing of it was done here; --new begins another",
			ErrChoice, plan.Name, run.Host, run.Machine, host.Name, host.Machine)
	case run.Plan != file:
		return fmt.Errorf("%w: the last run of %s is that of the plan %s, and this is %s: name that one, or another folder with --state",
			ErrChoice, plan.Name, run.Plan, file)
	}
	return nil
}

// quiet looks whether a command that a run has started, and not seen the end of, is still at work.
func (s *State) quiet(j *journal, dir string) error {
	seen := map[string]bool{}
	for _, l := range j.lines {
		if l.Step == "" || seen[l.Step] {
			continue
		}
		seen[l.Step] = true
		p := j.past(l.Step)
		if !p.mayRun() {
			continue
		}
		log := s.log(dir, l.Step)
		used, err := inUse(log)
		if used {
			err = ErrStillRunning
		}
		if err != nil {
			return &StepError{Step: l.Step, Undo: p.undo, Log: log, Err: err}
		}
	}
	return nil
}

// log is the file for what a step prints.
func (s *State) log(dir, step string) string {
	return filepath.Join(s.dir, filepath.FromSlash(dir), step+".log")
}
