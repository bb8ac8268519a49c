package runbook

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrPlan is wrapped by the error of a plan that can not be followed.
	ErrPlan = errors.New("runbook: the plan can not be followed")
	// ErrChoice is wrapped by the error of options that do not go with the plan or the run.
	ErrChoice = errors.New("runbook: this does not go with the plan")
	// ErrBusy is returned while another run uses the state folder.
	ErrBusy = errors.New("runbook: another run is at work")
	// ErrOpenRun is returned when a new run is asked for while one is not over.
	ErrOpenRun = errors.New("runbook: there is a run that is not over")
	// ErrNoRun is returned when there is no run to go on with, or to take back.
	ErrNoRun = errors.New("runbook: there is no such run")
	// ErrChanged is returned when a step that is done is now another one.
	ErrChanged = errors.New("runbook: the plan has changed")
	// ErrUnclear is returned when nobody knows what a step has done, and nobody is there to ask.
	ErrUnclear = errors.New("runbook: it is not known what this step has done")
	// ErrStillRunning is returned when what an earlier run has started is still at work.
	ErrStillRunning = errors.New("runbook: what this step has started is still running")
	// ErrRefused is returned when somebody has said no.
	ErrRefused = errors.New("runbook: the answer was no")
	// ErrNobody is returned by whoever should ask a question where there is nobody to ask.
	ErrNobody = errors.New("runbook: there is nobody to ask")
	// ErrTimeout is wrapped by the error of a step that did not end in time.
	ErrTimeout = errors.New("runbook: it did not end in time and was stopped")
	// ErrJournal is wrapped by the error of a journal that can not be read.
	ErrJournal = errors.New("runbook: the journal is damaged")
	// ErrStays is wrapped by the error of an undo after which something stays as it is.
	ErrStays = errors.New("runbook: not everything could be taken back")
)

// LineError is something wrong in a plan.
type LineError struct {
	File string
	Line int
	Text string
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// Unwrap makes it an ErrPlan.
func (e *LineError) Unwrap() error { return ErrPlan }

// StepError is a step that failed.
type StepError struct {
	Step string
	Undo bool   // in taking it back
	Log  string // the file with what it has printed
	Err  error
}

func (e *StepError) Error() string {
	if e.Undo {
		return fmt.Sprintf("taking back step %s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("step %s: %v", e.Step, e.Err)
}

// Unwrap returns the reason.
func (e *StepError) Unwrap() error { return e.Err }

// PreflightError is what was found wrong before the first step. Nothing was done.
type PreflightError struct{ Problems []Problem }

// Problem is one such thing.
type Problem struct {
	Step string // or ""
	Err  error
}

func (p Problem) String() string {
	if p.Step == "" {
		return p.Err.Error()
	}
	return "step " + p.Step + ": " + p.Err.Error()
}

func (e *PreflightError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "the plan can not be carried out here: " + strings.Join(lines, "; ")
}

// Unwrap returns the reasons.
func (e *PreflightError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p.Err
	}
	return errs
}
