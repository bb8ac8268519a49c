package main

import (
	"fmt"
	"slices"
	"strings"
)

// step is something that every tool does, measured by itself.
type step struct {
	name, title string
	needs       []string // steps that come before it
	data        *dataset // that it reads or restores, or nil
	readsData   bool     // what it reads is the data set; otherwise it is the repository
	restores    bool     // its target is made before, and compared in the first round
	stores      bool     // it changes the repository, by how much is a result
	calls       func(t *tool, p place, path string) [][]string
}

// newSteps makes the steps of the data sets, in the order in which they are run.
func newSteps(sets []*dataset) []*step {
	steps := []*step{{
		name: "init", title: "make a repository", stores: true,
		calls: func(t *tool, p place, _ string) [][]string { return t.init(p) },
	}}
	last := ""
	for _, d := range sets {
		backup := "backup-" + d.name
		steps = append(steps, &step{
			name: backup, title: d.title + ", first backup", needs: []string{"init"},
			data: d, readsData: true, stores: true,
			calls: func(t *tool, p place, path string) [][]string { return t.backup(p, path, backup) },
		})
		last = backup
		if d.unchanged {
			name := "unchanged-" + d.name
			steps = append(steps, &step{
				name: name, title: d.title + ", unchanged", needs: []string{backup},
				data: d, readsData: true, stores: true,
				calls: func(t *tool, p place, path string) [][]string { return t.backup(p, path, name) },
			})
			last = name
		}
		steps = append(steps, &step{
			name: "restore-" + d.name, title: d.title + ", restore", needs: []string{backup},
			data: d, restores: true,
			calls: func(t *tool, p place, path string) [][]string { return t.restore(p, path, backup) },
		})
	}
	return append(
		steps,
		&step{
			name: "snapshots", title: "list snapshots", needs: []string{"init"},
			calls: func(t *tool, p place, _ string) [][]string { return t.snapshots(p) },
		},
		&step{
			name: "prune", title: "forget the newest snapshot, prune", needs: []string{last}, stores: true,
			calls: func(t *tool, p place, _ string) [][]string { return t.forget(p, last) },
		},
	)
}

func stepNames(steps []*step) []string {
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

// chooseSteps keeps the named steps and those that they need, in their order; with no names all.
func chooseSteps(steps []*step, names []string) ([]*step, error) {
	if len(names) == 0 {
		return steps, nil
	}
	all := stepNames(steps)
	wanted := make(map[string]bool)
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("-steps: there is no %q; there are %s", name, strings.Join(all, ", "))
		}
		wanted[name] = true
	}
	// A step only needs earlier ones, so one pass from the end finds them all.
	var chosen []*step
	for _, s := range slices.Backward(steps) {
		if !wanted[s.name] {
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
