package runbook

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/durable"
)

// World is what a run acts upon, and whom it asks. All of it but Events has to be there.
type World struct {
	// Exec runs a program to its end.
	Exec func(ctx context.Context, c Exec) error
	// OpenDir opens a folder in which something is renamed.
	OpenDir func(path string) (durable.FS, error)
	// Kura returns this program's command line with arguments.
	Kura func(args ...string) []string
	// CheckKura looks whether the arguments can be understood, and whether those of them that the plan has added leave it what it is: something that
	// restores what and where the step says.
	CheckKura func(args, added []string) error
	// Uses are the files and folders that the commands of the plan need.
	Uses func() []string
	// Find looks for a program.
	Find func(program string) error
	// Resolve finds snapshots, and what their uses want of them. If some are not there it returns a PreflightError, and
	// no ids in their places.
	Resolve func(ctx context.Context, wants []Want) ([]Pin, error)
	// Ask asks a question that is answered with yes or no. Where there is nobody, it returns ErrNobody.
	Ask func(ctx context.Context, question string) (bool, error)
	// CanAsk reports whether there is somebody.
	CanAsk func() bool
	// Getenv is that of the environment.
	Getenv func(string) string
	// Now is the time.
	Now func() time.Time
	// Host is the machine.
	Host Host

	Events Events
}

// Host is a machine: a run goes on, and is taken back, only where it began.
type Host struct {
	Machine string // its id
	Name    string
	Boot    string // changes when it is started anew
}

// ThisHost is the machine that this program runs on. What can not be found out of it is empty.
func ThisHost() Host {
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	return Host{Machine: read("/etc/machine-id"), Name: name, Boot: read("/proc/sys/kernel/random/boot_id")}
}

// Exec is a program to be run.
type Exec struct {
	Argv []string
	// Out is where it prints to. If that is a file, the program and what it starts have it open themselves, so that its lock is held as
	// long as one of them is there.
	Out io.Writer
}

// Want is a snapshot that a run needs.
type Want struct {
	Snapshot Snapshot // with all variables filled in
	Sort     string   // what it is of
	Paths    []string // that must be in it
	Uses     []Use
}

// Use is a step that restores from a snapshot.
type Use struct {
	Step string
	Path string   // in the snapshot, or nothing
	Args []string // of kura, with anything in the place of the snapshot's id
	// Now is set if the step finds the machine as it is now: nothing that is done before it may change that.
	Now bool
}

// Events are called while a run goes on. Output may be called at the same time as the others. Those that are nil are not.
type Events struct {
	// Step tells that a step begins or has ended.
	Step func(StepEvent)
	// Output is a line that a step has printed.
	Output func(step, line string)
	// Info is something that a person should know.
	Info func(text string)
}

// StepEvent tells of a step.
type StepEvent struct {
	Place, Total int // 1 is the first
	Step         *Step
	Undo         bool
	Result       string   // empty: it begins
	Commands     []string // that it is about to run
	Err          error
	Elapsed      time.Duration
	Log          string
	Why          string // ResultStays: why it can not be taken back
}

func (e *Events) step(s StepEvent) {
	if e.Step != nil {
		e.Step(s)
	}
}

func (e *Events) output(step, line string) {
	if e.Output != nil {
		e.Output(step, line)
	}
}

func (e *Events) info(text string) {
	if e.Info != nil {
		e.Info(text)
	}
}
