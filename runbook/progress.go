package runbook

import "slices"

// Progress is how far a run has come, by the names of its steps.
type Progress struct {
	Done    []string // with those that are taken for done
	Begun   []string // and failed, or cut off: what they have done is not known
	Left    []string // not begun
	Stopped []string // services that the run has stopped, and has not started again
}

// Progress looks how far the run has come.
func (r *Run) Progress() (p Progress) {
	for i := range r.steps {
		name := r.steps[i].Name
		switch past := r.past(name); {
		case past.finished():
			p.Done = append(p.Done, name)
		case past.begun:
			p.Begun = append(p.Begun, name)
		default:
			p.Left = append(p.Left, name)
		}
	}
	if r.journal != nil {
		p.Stopped = r.journal.stopped()
	}
	return p
}

// stopped are the services that a run has stopped, and of which it does not know that they run again.
func (j *journal) stopped() (units []string) {
	starting := map[string][]string{} // by step
	for _, l := range j.lines {
		switch {
		case l.What == lineBegin && l.Note.Kind == "stop":
			for _, unit := range l.Note.Units {
				if !slices.Contains(units, unitName(unit)) {
					units = append(units, unitName(unit))
				}
			}
		case l.What == lineBegin && l.Note.Kind == "start":
			starting[l.Step] = l.Note.Units
		case l.What == lineEnd && l.Result == ResultDone:
			units = slices.DeleteFunc(units, func(unit string) bool {
				return slices.ContainsFunc(starting[l.Step], func(u string) bool { return unitName(u) == unit })
			})
		}
	}
	return units
}
