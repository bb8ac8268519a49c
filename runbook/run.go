package runbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kura-backup/kura/internal/durable"
)

// Options say how a plan is followed.
type Options struct {
	Set      map[string]string // variables
	Continue bool              // go on with the run that is not over
	New      bool              // begin another, whatever became of it
	From     string            // begin with this step, and take those before it for done
	Only     string            // do this step alone
}

// Run is one attempt to follow a plan. It is not safe for concurrent use.
type Run struct {
	plan    *Plan
	state   *State
	w       *World
	o       Options
	journal *journal
	dir     string // below the state's
	steps   []Step // with everything filled in
	todo    []task
	writing bool // something is left to be written
	vars    map[string]string
	pins    map[string]Pin
}

// task is a step to be done.
type task struct {
	place  int
	again  bool     // it was done, and is asked whether that still holds
	chosen bool     // the user has named it
	units  []string // stop, start: it is about these alone, unless nil
}

// action is what the task does of a step.
func (t task) action(s *Step) action {
	k, _ := findKind(s.Kind)
	if t.units == nil {
		return k.make(s)
	}
	part := *s
	part.Units = t.units
	return k.make(&part)
}

// Prepare finds out what is to be done, and whether it can be: which snapshots, which steps, and what is in the way. It changes
// nothing. With a PreflightError, the Run is returned as well, to be shown.
func Prepare(ctx context.Context, plan *Plan, state *State, w *World, o Options) (*Run, error) {
	r := &Run{plan: plan, state: state, w: w, o: o}
	for _, name := range []string{o.From, o.Only} {
		if name != "" {
			if _, err := plan.Find(name); err != nil {
				return nil, err
			}
		}
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	if err := r.fill(); err != nil {
		return nil, err
	}
	if err := r.choose(); err != nil {
		return nil, err
	}
	r.guard(ctx)
	look := preflight{w: w}
	if err := r.resolve(ctx); err != nil {
		missing := (*PreflightError)(nil)
		if !errors.As(err, &missing) {
			return nil, err
		}
		look.problems = missing.Problems
	}
	return r, look.look(ctx, r, r.todo)
}

// open finds the run to go on with, if that is asked for.
func (r *Run) open() error {
	j, dir, err := r.state.last(r.plan.Name)
	if err != nil {
		return err
	}
	if !r.o.Continue {
		switch {
		case j == nil:
			return nil
		case j.over() == "" && !r.o.New:
			return fmt.Errorf("%w: %s, begun %s", ErrOpenRun, dir, j.run().At.Local().Format("2006-01-02 15:04"))
		}
		return r.state.quiet(j, dir)
	}
	switch {
	case j == nil:
		return fmt.Errorf("%w to go on with: the plan %s was not begun, by what %s says", ErrNoRun, r.plan.Name, r.state.dir)
	case j.over() != "":
		return fmt.Errorf("%w to go on with: the last one of %s is over (%s)", ErrNoRun, r.plan.Name, j.over())
	case j.undoing():
		return fmt.Errorf("%w: the last run of %s is being taken back", ErrChoice, r.plan.Name)
	}
	if err := j.ours(r.plan, r.w.Host); err != nil {
		return err
	}
	r.journal, r.dir = j, dir
	return r.state.quiet(j, dir)
}

// placeholder is in the place of a snapshot's id that is not known yet.
const placeholder = "snapshot-not-known-yet"

// fill fills in variables, and the ids of the snapshots that the run has chosen before.
func (r *Run) fill() (err error) {
	var before map[string]string
	r.pins = map[string]Pin{}
	if r.journal != nil {
		vars, pins := r.journal.values()
		before = vars
		maps.Copy(r.pins, pins)
	}
	if r.vars, err = r.plan.values(r.o.Set, before, r.w.Getenv); err != nil {
		return err
	}
	// What is now chosen in another way is not what was pinned.
	for _, s := range r.plan.Snapshots {
		choice, err := r.choice(s)
		if err != nil {
			return err
		}
		if r.pins[s.Name].Choice != choice {
			delete(r.pins, s.Name)
		}
	}
	return r.refill()
}

// refill fills in what is known.
func (r *Run) refill() (err error) {
	values := maps.Clone(r.vars)
	for _, s := range r.plan.Snapshots {
		values[snapshotPrefix+s.Name] = placeholder
		if pin, ok := r.pins[s.Name]; ok {
			values[snapshotPrefix+s.Name] = pin.ID
		}
	}
	if r.steps, err = r.plan.filled(values); err != nil {
		return err
	}
	for i := range r.steps {
		if name, _ := r.steps[i].source(); name != "" {
			r.steps[i].Snapshot = values[snapshotPrefix+name]
		}
	}
	return nil
}

// chosen is a snapshot's choice with variables filled in.
func (r *Run) chosen(s Snapshot) (Snapshot, error) {
	var err error
	s.texts(func(text string) string {
		out, ferr := fill(text, r.vars, false)
		err = errors.Join(err, ferr)
		return out
	})
	return s, err
}

// choice is the text of that, to compare.
func (r *Run) choice(s Snapshot) (string, error) {
	s, err := r.chosen(s)
	if err != nil {
		return "", err
	}
	s.Line = 0
	b, err := json.Marshal(s)
	return string(b), err
}

// choose finds out which steps are to be done.
func (r *Run) choose() error {
	if only := r.only(); only != "" {
		if r.o.From != "" {
			return fmt.Errorf("%w: this is about the step %s alone", ErrChoice, only)
		}
		i := index(r.steps, only)
		if i < 0 {
			return fmt.Errorf("%w: the run is about the step %s, which the plan has not got any more", ErrChanged, only)
		}
		r.todo = []task{{place: i, chosen: r.o.Only != ""}}
		return nil
	}
	from := 0
	if r.o.From != "" {
		from = index(r.steps, r.o.From)
	} else if err := r.unchanged(); err != nil {
		return err
	}
	for i := from; i < len(r.steps); i++ {
		s := &r.steps[i]
		p := r.past(s.Name)
		switch {
		case r.o.From != "":
			r.todo = append(r.todo, task{place: i, chosen: i == from})
		case !p.finished():
			r.todo = append(r.todo, task{place: i})
		case p.result != ResultPassed && !s.Done.IsZero() && !s.guards():
			r.todo = append(r.todo, task{place: i, again: true})
		}
	}
	return nil
}

// only is the one step that this is about, or nothing.
func (r *Run) only() string {
	if r.o.Only == "" && r.journal != nil {
		return r.journal.run().Only
	}
	return r.o.Only
}

// past is what the run so far says of a step.
func (r *Run) past(step string) past {
	if r.journal == nil {
		return past{}
	}
	return r.journal.past(step)
}

// unchanged refuses to go on if what was done is not what the plan says now.
func (r *Run) unchanged() error {
	if r.journal == nil {
		return nil
	}
	var changed []string
	for _, l := range r.journal.lines {
		if l.What != lineEnd || slices.Contains(changed, l.Step) {
			continue
		}
		p := r.journal.past(l.Step)
		if p.result != ResultDone && p.result != ResultAlready {
			continue
		}
		if i := index(r.steps, l.Step); i < 0 || r.steps[i].print() != p.print {
			changed = append(changed, l.Step)
		}
	}
	if len(changed) > 0 {
		return fmt.Errorf("%w: what was done is not what it says now of %s", ErrChanged, strings.Join(changed, ", "))
	}
	return nil
}

// resolve finds the snapshots that are needed and not known yet, and looks whether the others are still there.
func (r *Run) resolve(ctx context.Context) error {
	needed := map[string][]string{} // paths by name
	uses := map[string][]Use{}
	now := true // nothing is done yet that changes the machine
	for _, t := range r.todo {
		s := &r.steps[t.place]
		if name, path := s.source(); name != "" {
			needed[name] = append(needed[name], path)
			uses[name] = append(uses[name], Use{Step: s.Name, Path: path, Args: verbAction{s}.args(), Now: now})
		}
		now = now && s.onlyLooks()
		r.plan.Steps[t.place].texts(func(_, text string, _ bool) string {
			for _, ref := range references(text) {
				if name, ok := strings.CutPrefix(ref, snapshotPrefix); ok {
					needed[name] = append(needed[name], "")
				}
			}
			return text
		})
	}
	var wants []Want
	for _, s := range r.plan.Snapshots {
		paths, ok := needed[s.Name]
		if !ok {
			continue
		}
		s, err := r.chosen(s)
		if err != nil {
			return err
		}
		if pin, ok := r.pins[s.Name]; ok {
			s = Snapshot{Name: s.Name, ID: pin.ID, Line: s.Line}
		}
		slices.Sort(paths)
		paths = slices.DeleteFunc(slices.Compact(paths), func(p string) bool { return p == "" })
		wants = append(wants, Want{Snapshot: s, Sort: r.sort(s.Name), Paths: paths, Uses: uses[s.Name]})
	}
	if len(wants) == 0 {
		return nil
	}
	pins, missing := r.w.Resolve(ctx, wants)
	if missing != nil && !errors.As(missing, new(*PreflightError)) {
		return missing
	}
	for i, pin := range pins {
		name := wants[i].Snapshot.Name
		if pin.ID == "" {
			continue
		}
		var err error
		if pin.Choice, err = r.choice(r.plan.snapshot(name)); err != nil {
			return err
		}
		r.pins[name] = pin
	}
	return errors.Join(missing, r.refill())
}

// sort is what a snapshot is of, by the steps that use it.
func (r *Run) sort(name string) string {
	for i := range r.steps {
		if n, _ := r.steps[i].source(); n == name {
			return sortOf(r.steps[i].Kind)
		}
	}
	return SortFiles
}

// Go does what Prepare has found, and reports whether the run is over then: it is not if one step alone was to be done, and others are
// Unfinished. The state must be open to be written.
func (r *Run) Go(ctx context.Context) (over bool, err error) {
	if err := r.fenced(ctx); err != nil {
		return false, err
	}
	if err := r.begin(ctx); err != nil {
		return false, err
	}
	for _, t := range r.todo {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		if err := r.do(ctx, t); err != nil {
			return false, err
		}
	}
	if len(r.Unfinished()) > 0 {
		return false, nil
	}
	if err := r.standing(ctx); err != nil {
		return false, err
	}
	if err := r.journal.add(ctx, line{What: lineOver, Result: ResultDone}); err != nil {
		return false, err
	}
	return true, nil
}

// Unfinished are the names of the steps that the run has not done yet.
func (r *Run) Unfinished() (steps []string) {
	only := ""
	if r.journal != nil {
		only = r.journal.run().Only
	}
	for i := range r.steps {
		name := r.steps[i].Name
		if p := r.past(name); !p.finished() && (only == "" || only == name) {
			steps = append(steps, name)
		}
	}
	return steps
}

// begin writes down that the run begins, or goes on, with which values.
func (r *Run) begin(ctx context.Context) (err error) {
	if r.journal == nil {
		first := line{Only: r.o.Only, Machine: r.w.Host.Machine, Host: r.w.Host.Name}
		if r.journal, r.dir, err = r.state.begin(ctx, r.plan, first); err != nil {
			return err
		}
	} else {
		_, err := durable.Sweep(ctx, r.state.fsys, r.dir)
		if err != nil {
			return err
		}
		if err := durable.WriteReplace(ctx, r.state.fsys, r.dir+"/"+planName, r.plan.Source); err != nil {
			return err
		}
	}
	vars, pins := r.journal.values()
	if vars == nil || !maps.Equal(vars, r.vars) || !maps.Equal(pins, r.pins) {
		if err := r.journal.add(ctx, line{What: lineValues, Vars: r.vars, Snapshots: r.pins}); err != nil {
			return err
		}
	}
	if r.o.From == "" {
		return nil
	}
	for i := range r.steps[:index(r.steps, r.o.From)] {
		if p := r.past(r.steps[i].Name); !p.finished() {
			if err := r.journal.add(ctx, line{What: lineEnd, Step: r.steps[i].Name, Result: ResultPassed}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Dir is the folder of the run: its journal, the plan, and the logs.
func (r *Run) Dir() string { return r.state.dir + "/" + r.dir }

// Left are the steps that are to be done, with the commands that they run.
func (r *Run) Left() (steps []StepEvent) {
	for _, t := range r.todo {
		s := &r.steps[t.place]
		e := StepEvent{Place: t.place + 1, Total: len(r.steps), Step: s, Commands: t.action(s).commands(r.w)}
		if t.again {
			e.Result = ResultDone
		}
		steps = append(steps, e)
	}
	return steps
}

// Snapshots are those that the run uses, by their names in the plan.
func (r *Run) Snapshots() map[string]Pin { return maps.Clone(r.pins) }
