package main

import (
	"fmt"
	"slices"
	"strings"
)

// action is what a step does.
type action int

const (
	initialise action = iota
	backUpFirst
	backUpAgain // nothing has changed
	backUpNext  // a generation of the data set that comes after the first
	restoreNewest
	checkAll // with all data
	listSnapshots
	forgetNewest // and free its space
)

// stores says whether by how much the repository grows is a result.
func (a action) stores() bool {
	return a == initialise || a == backUpFirst || a == backUpAgain || a == backUpNext || a == forgetNewest
}

// readsData says whether what is read is the data set; otherwise it is the repository.
func (a action) readsData() bool { return a == backUpFirst || a == backUpAgain || a == backUpNext }

// step is something that every tool does, measured by itself.
type step struct {
	name   string
	row    string // of the table; of several steps with the same row the medians are shown
	title  string
	needs  []string // steps that come before it
	data   *dataset
	does   action
	series *series // of the data set's generations that are backed up one after the other, or nil
}

// times is how often the step is done in a round.
func (s *step) times(o *options) int {
	if s.series == nil {
		return 1
	}
	return s.series.count(o)
}

// newSteps makes the steps of the data sets, in the order in which they are run.
func newSteps(sets []*dataset) []*step {
	var steps []*step
	for _, d := range sets {
		steps = append(steps, d.steps()...)
	}
	return steps
}

// steps are those of one data set. What a repository holds before each of them is the same however many of
// them are run: all that a step needs is run, and what others add comes after.
func (d *dataset) steps() []*step {
	first, backup := "init-"+d.name, "backup-"+d.name
	steps := []*step{
		{name: first, row: "init", title: "make a repository", data: d, does: initialise},
		{name: backup, title: d.title + ", first backup", needs: []string{first}, data: d, does: backUpFirst},
	}
	add := func(verb, title string, does action, needs ...string) string {
		s := &step{name: verb + "-" + d.name, title: d.title + ", " + title, needs: needs, data: d, does: does}
		steps = append(steps, s)
		return s.name
	}
	newest := backup
	if d.unchanged {
		newest = add("unchanged", "unchanged", backUpAgain, backup)
	}
	if !d.grows {
		add("restore", "restore", restoreNewest, newest)
	}
	if d.checked {
		add("check", "check of all data", checkAll, newest)
	}
	for _, s := range d.series {
		newest = add(s.name, s.title, backUpNext, newest)
		steps[len(steps)-1].series = s
	}
	if d.grows {
		add("restore", "restore of the newest", restoreNewest, newest)
	}
	if d.listed {
		add("snapshots", "list snapshots", listSnapshots, newest)
		add("prune", "forget the newest snapshot, prune", forgetNewest, newest)
	}
	for _, s := range steps {
		s.row = or(s.row, s.name)
	}
	return steps
}

func stepNames(steps []*step) []string {
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

// chooseSteps keeps the named steps and those that they need, in their order; with no names all that are not
// left out unless they are named. A data set's name stands for all of its steps.
func chooseSteps(steps []*step, names []string) ([]*step, error) {
	wanted := make(map[string]bool)
	for _, name := range names {
		known := false
		for _, s := range steps {
			if s.name == name || s.data.name == name {
				wanted[s.name], known = true, true
			}
		}
		if !known {
			return nil, fmt.Errorf("-steps: there is no %q; there are %s", name, strings.Join(stepNames(steps), ", "))
		}
	}
	// A step only needs earlier ones, so one pass from the end finds them all.
	var chosen []*step
	for _, s := range slices.Backward(steps) {
		if !wanted[s.name] && (len(names) > 0 || s.data.onDemand) {
			continue
		}
		for _, need := range s.needs {
			wanted[need] = true
		}
		chosen = append(chosen, s)
	}
	slices.Reverse(chosen)
	return chosen, nil
}
