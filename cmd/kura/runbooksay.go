package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/runbook"
	"github.com/kura-backup/kura/ui"
)

// runbookStep is what --json tells of a step.
type runbookStep struct {
	MessageType string   `json:"message_type"` // "step"
	Place       int      `json:"place"`
	Total       int      `json:"total"`
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	Undo        bool     `json:"undo,omitempty"`
	State       string   `json:"state"` // todo, begun, cut off, done, already, passed, failed, undone or stays
	Commands    []string `json:"commands,omitempty"`
	Error       string   `json:"error,omitempty"`
	Seconds     float64  `json:"seconds,omitempty"`
	Log         string   `json:"log,omitempty"`
}

type runbookOutput struct {
	MessageType string `json:"message_type"` // "output"
	Step        string `json:"step"`
	Line        string `json:"line"`
}

// runbookSummary is the end of it.
type runbookSummary struct {
	MessageType string            `json:"message_type"` // "summary"
	Plan        string            `json:"plan"`
	Run         string            `json:"run,omitempty"`
	Result      string            `json:"result"` // done, undone, open, none or dry-run
	Steps       int               `json:"steps"`
	Snapshots   map[string]string `json:"snapshots,omitempty"`
	Seconds     float64           `json:"seconds,omitempty"`
}

func stepMessage(e runbook.StepEvent, state string) runbookStep {
	m := runbookStep{
		MessageType: "step", Place: e.Place, Total: e.Total, Name: e.Step.Name, Kind: e.Step.Kind, Undo: e.Undo, State: state,
		Commands: e.Commands, Seconds: e.Elapsed.Seconds(), Log: e.Log, Error: e.Why,
	}
	if e.Err != nil {
		m.Error = withoutPackages(e.Err.Error())
	}
	return m
}

// runbookEvents shows what a run does.
func (a *app) runbookEvents() runbook.Events {
	var beat heartbeat
	return runbook.Events{
		Step: func(e runbook.StepEvent) {
			beat.end()
			a.sayStep(e)
			if e.Result == "" {
				beat.begin(func(running time.Duration) {
					a.term.Info(fmt.Sprintf("  %s has been running for %v", e.Step.Name, running))
				})
			}
		},
		Output: func(step, line string) {
			if a.term.JSON {
				a.term.Message(runbookOutput{"output", step, line})
				return
			}
			a.term.Info("  | " + ui.Printable(line))
		},
		Info: func(text string) { a.term.Info("  " + text) },
	}
}

// heartbeatEvery is how often a step that takes long is said to be still running.
const heartbeatEvery = time.Minute

// heartbeat shows that a step that prints nothing is not dead.
type heartbeat struct {
	stop chan struct{}
	done sync.WaitGroup
}

func (h *heartbeat) begin(say func(running time.Duration)) {
	stop := make(chan struct{})
	h.stop = stop
	h.done.Go(func() {
		tick := time.NewTicker(heartbeatEvery)
		defer tick.Stop()
		for running := heartbeatEvery; ; running += heartbeatEvery {
			select {
			case <-stop:
				return
			case <-tick.C:
				say(running)
			}
		}
	})
}

func (h *heartbeat) end() {
	if h.stop != nil {
		close(h.stop)
		h.done.Wait()
		h.stop = nil
	}
}

// stepResults are results for people.
var stepResults = map[string]string{
	runbook.ResultDone: "done", runbook.ResultAlready: "there is nothing to do", runbook.ResultPassed: "taken for done",
	runbook.ResultFailed: "FAILED", runbook.ResultUndone: "taken back", runbook.ResultStays: "can not be taken back",
	runbook.StateCutOff: "cut off", "": "to do",
}

func (a *app) sayStep(e runbook.StepEvent) {
	if a.term.JSON {
		state := e.Result
		if state == "" {
			state = "begun"
		}
		a.term.Message(stepMessage(e, state))
		return
	}
	head := fmt.Sprintf("[%d/%d] %s", e.Place, e.Total, e.Step.Name)
	if e.Result != "" {
		line := head + ": " + stepResults[e.Result]
		if e.Why != "" {
			line += ": " + e.Why
		}
		if e.Elapsed >= time.Second {
			line += fmt.Sprintf(" (%v)", e.Elapsed.Round(time.Second))
		}
		a.term.Info(line)
		return
	}
	line := head + ": " + e.Step.Kind
	if e.Undo {
		line = head + ": taking back"
	}
	if e.Step.Say != "" {
		line += ": " + ui.Printable(e.Step.Say)
	}
	a.term.Info(line)
	for _, c := range e.Commands {
		a.term.Info("  $ " + ui.Printable(c))
	}
}

// pinned are the ids of snapshots.
func pinned(pins map[string]runbook.Pin) map[string]string {
	ids := map[string]string{}
	for name, p := range pins {
		ids[name] = p.ID
	}
	return ids
}

func (a *app) sayBegin(plan *runbook.Plan, run *runbook.Run) {
	what := ""
	if plan.Say != "" {
		what = " (" + ui.Printable(plan.Say) + ")"
	}
	a.term.Info(fmt.Sprintf("plan %s%s: %s to do", plan.Name, what, steps(len(run.Left()))))
	a.sayNames("done before", run.Progress().Done)
	a.sayPins(run.Snapshots(), a.term.Info)
}

// sayProgress says where a run stands that did not come to its end.
func (a *app) sayProgress(run *runbook.Run) {
	p := run.Progress()
	for _, part := range []struct {
		what  string
		names []string
	}{{"done", p.Done}, {"begun, and not done", p.Begun}, {"not begun", p.Left}, {"services that were stopped, and not started again", p.Stopped}} {
		a.sayNames(part.what, part.names)
	}
}

// sayNames lists names, if there are any.
func (a *app) sayNames(what string, names []string) {
	if len(names) > 0 {
		a.term.Info(what + ": " + strings.Join(names, ", "))
	}
}

func (a *app) sayPins(pins map[string]runbook.Pin, say func(string)) {
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		say(fmt.Sprintf("%s is %s", name, pins[name].Text))
	}
}

// sayDryRun shows what would be done.
func (a *app) sayDryRun(plan *runbook.Plan, run *runbook.Run) {
	left := run.Left()
	if a.term.JSON {
		for _, e := range left {
			a.term.Message(stepMessage(e, "todo"))
		}
		a.term.Message(runbookSummary{MessageType: "summary", Plan: plan.Name, Result: "dry-run", Steps: len(left), Snapshots: pinned(run.Snapshots())})
		return
	}
	a.sayPins(run.Snapshots(), a.term.Print)
	for _, e := range left {
		line := fmt.Sprintf("[%d/%d] %s: %s", e.Place, e.Total, e.Step.Name, e.Step.Kind)
		switch {
		case e.Result != "" && e.Step.Done.IsZero():
			line += ", again unless it still holds"
		case e.Result != "":
			line += ", again unless this ends well: " + e.Step.Done.String()
		case !e.Step.Done.IsZero():
			line += ", unless this ends well: " + e.Step.Done.String()
		}
		a.term.Print(a.term.Printable(line))
		for _, c := range e.Commands {
			a.term.Print("  $ " + a.term.Printable(c))
		}
	}
}

// sayAfterDryRun says what to type next.
func (a *app) sayAfterDryRun(o *runbookOptions, plan *runbook.Plan, state *runbook.State) error {
	if a.term.JSON {
		return nil
	}
	s, err := runbook.Look(plan, state)
	if err != nil {
		return err
	}
	var args []string
	if o.From != "" {
		args = append(args, "--from", o.From)
	}
	if o.Only != "" {
		args = append(args, "--only", o.Only)
	}
	switch open := s.Dir != "" && s.Over == ""; {
	case o.Continue:
		a.term.Info("nothing was changed; to go on with the run: " + o.anew(plan, append([]string{"--continue"}, args...)...))
	case open:
		a.term.Info("nothing was changed; this is what a new run would do, but there is one that is not over: " + o.again(plan, "--list") + " shows how far it has come")
	default:
		a.term.Info("nothing was changed; to carry it out: " + o.anew(plan, args...))
	}
	return nil
}

// sayEarlier says that there is another run to be taken back, if there is.
func (a *app) sayEarlier(o *runbookOptions, plan *runbook.Plan, state *runbook.State) error {
	s, err := runbook.Look(plan, state)
	if err == nil && !s.Earlier.IsZero() {
		a.term.Info(fmt.Sprintf("the run of %s, beside which that one was begun, is not over either; to take it back as well: %s", when(s.Earlier), o.again(plan, "--undo")))
	}
	return err
}

// when is a time for people.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// resultOpen is that of a run of which steps are left.
const resultOpen = "open"

// sayEnd says how it ended.
func (a *app) sayEnd(plan *runbook.Plan, dir, result string, n int, elapsed time.Duration) {
	if a.term.Quiet {
		return
	}
	if a.term.JSON {
		a.term.Message(runbookSummary{MessageType: "summary", Plan: plan.Name, Run: dir, Result: result, Steps: n, Seconds: elapsed.Seconds()})
		return
	}
	what := "carried out"
	switch result {
	case runbook.ResultUndone:
		what = "taken back"
	case resultOpen:
		what = "carried out in part"
	}
	a.term.Print(fmt.Sprintf("plan %s was %s: %s in %v; it is written down in %s", plan.Name, what, steps(n), elapsed.Round(time.Second), dir))
}

// sayUndo shows what will be taken back.
func (a *app) sayUndo(u *runbook.Undo, left []runbook.StepEvent, dryRun bool) {
	say := a.term.Info
	if dryRun {
		say = a.term.Print
	}
	which := "the last run"
	if u.Earlier() {
		which = "the last run was taken back before; the one before it, which was not over"
	}
	if !a.term.JSON {
		say(fmt.Sprintf("%s, begun %s: %s to take back", which, when(u.Begun()), steps(len(left))))
	}
	for _, e := range left {
		switch {
		case a.term.JSON && dryRun:
			state := "todo"
			if e.Result != "" {
				state = e.Result
			}
			a.term.Message(stepMessage(e, state))
		case a.term.JSON:
		case e.Result != "":
			say(fmt.Sprintf("%s can not be taken back: %s", e.Step.Name, a.term.Printable(e.Why)))
		case len(e.Commands) == 0 && e.Step.Kind == "restore":
			say(e.Step.Name + ": goes when the old folder is moved back")
		case len(e.Commands) == 0:
			say(e.Step.Name + ": has nothing that would have to be taken back")
		default:
			for _, c := range e.Commands {
				say(fmt.Sprintf("%s: $ %s", e.Step.Name, a.term.Printable(c)))
			}
		}
	}
}

// listRunbook shows how far the last run has come.
func (a *app) listRunbook(o *runbookOptions, plan *runbook.Plan, state *runbook.State) error {
	s, err := runbook.Look(plan, state)
	if err != nil {
		return err
	}
	result := s.Over
	switch {
	case s.Dir == "":
		result = "none"
	case result == "":
		result = "open"
	}
	for i, st := range s.Steps {
		if a.term.JSON {
			state := st.Result
			if state == "" {
				state = "todo"
			}
			a.term.Message(runbookStep{
				MessageType: "step", Place: i + 1, Total: len(s.Steps), Name: st.Step.Name, Kind: st.Step.Kind, State: state, Error: withoutPackages(st.Error),
			})
			continue
		}
		line := fmt.Sprintf("%3d  %-24s %-15s %s", i+1, st.Step.Name, st.Step.Kind, stepResults[st.Result])
		if st.Error != "" {
			line += ": " + withoutPackages(st.Error)
		}
		a.term.Print(a.term.Printable(line))
	}
	if a.term.JSON {
		a.term.Message(runbookSummary{MessageType: "summary", Plan: plan.Name, Run: s.Dir, Result: result, Steps: len(s.Steps), Snapshots: pinned(s.Pins)})
		return nil
	}
	if s.Dir == "" {
		a.term.Print("no run of this plan was begun")
		return nil
	}
	written := fmt.Sprintf("the run of %s is written down in %s", when(s.Begun), s.Dir)
	switch {
	case s.Over == runbook.ResultDone:
		a.term.Print("the run was carried out; to take it back: " + o.again(plan, "--undo"))
	case s.Over != "":
		a.term.Print("the run was taken back")
	case s.Undoing:
		a.term.Print("the run is being taken back; to go on with that: " + o.again(plan, "--undo"))
	default:
		a.term.Print("the run is not over; to go on with it: " + o.again(plan, "--continue"))
		a.term.Print("to take back what it has done: " + o.again(plan, "--undo"))
	}
	a.term.Print(written)
	return a.sayEarlier(o, plan, state)
}
