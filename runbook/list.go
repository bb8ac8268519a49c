package runbook

import (
	"time"
)

// Status is how far a run has come.
type Status struct {
	Dir   string // of the run; empty if there was none
	Begun time.Time
	// Over is ResultDone or ResultUndone, or empty while something is left to do.
	Over    string
	Undoing bool
	// Earlier is when an earlier run began that is taken back next, the last one having been; or no time.
	Earlier time.Time
	Steps   []StepStatus
	Pins    map[string]Pin
}

// StepStatus is what is known of a step.
type StepStatus struct {
	Step *Step
	// Result is one of the results, StateCutOff, or empty if the step was not begun.
	Result string
	Error  string
}

// StateCutOff is that of a step that was begun, and did not end.
const StateCutOff = "cut off"

// Look returns how far the last run of a plan has come.
func Look(plan *Plan, state *State) (*Status, error) {
	j, dir, err := state.last(plan.Name)
	if err != nil {
		return nil, err
	}
	s := new(Status)
	if j != nil {
		s.Dir, s.Begun, s.Over, s.Undoing = state.dir+"/"+dir, j.run().At, j.over(), j.undoing()
		_, s.Pins = j.values()
	}
	next, _, earlier, err := state.toUndo(plan.Name)
	if err != nil {
		return nil, err
	}
	if earlier {
		s.Earlier = next.run().At
	}
	for i := range plan.Steps {
		st := StepStatus{Step: &plan.Steps[i]}
		if j != nil {
			p := j.past(st.Step.Name)
			st.Result, st.Error = p.result, p.err
			switch {
			case p.undone != "":
				st.Result, st.Error = p.undone, p.stays
			case p.unclear() || p.undo:
				st.Result = StateCutOff
			}
		}
		s.Steps = append(s.Steps, st)
	}
	return s, nil
}
