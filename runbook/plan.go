package runbook

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/process"
)

// Plan is what is to be done, in which order. It is not changed after it was read, and safe for concurrent use.
type Plan struct {
	Name      string
	Say       string
	File      string // where it was read from
	Vars      []Var
	Snapshots []Snapshot
	Steps     []Step
	Source    []byte // its text
}

// Var is something that differs from run to run.
type Var struct {
	Name    string
	Say     string
	Default *string // nil: it has to be given
	Env     string  // variable of the environment that gives it
	Line    int
}

// Snapshot chooses one, as the flags of kura's commands do. Which one that is, is found out once for a run.
type Snapshot struct {
	Name  string
	ID    string // "latest" or the beginning of an id
	Hosts []string
	Tags  []string
	Paths []string
	At    string
	Line  int
}

// Command is a command line for a shell, or a program with its arguments.
type Command struct {
	Line string   `json:"line,omitempty"`
	Argv []string `json:"argv,omitempty"`
}

// IsZero reports whether there is none.
func (c Command) IsZero() bool { return c.Line == "" && len(c.Argv) == 0 }

// String is the command as one would type it.
func (c Command) String() string {
	if c.Line != "" {
		return c.Line
	}
	return Quote(c.Argv)
}

// argv is what is executed.
func (c Command) argv() ([]string, error) {
	if c.Line != "" {
		return process.Shell(c.Line)
	}
	return c.Argv, nil
}

// Quote returns arguments as one would type them.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = a
		if a == "" || !isPlain(a) {
			words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// isPlain reports whether a shell takes a text as it is.
func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:@%+=,", r))
	})
}

// Step is one thing to do. Which fields count is said by its kind.
type Step struct {
	Name string
	Kind string
	Say  string `json:"-"`
	Line int    `json:"-"`

	Timeout time.Duration // 0: none
	Done    Command       // ends well if there is nothing to do
	Undo    Command       // takes it back, in the place of what the kind would do
	Again   bool          // it does no harm to do it twice
	Writes  bool          // it must be behind the fences

	Command Command  // run, fence, check
	Ask     string   // fence, confirm
	Units   []string // stop, start
	Missing bool     // stop: units may be missing
	Path    string   // move-aside
	From    string   // the restores: name of the snapshot, and perhaps :PATH
	// Snapshot is the id of that, once it is known.
	Snapshot string
	Target   string   // restore
	To       string   // device-restore
	Dir      string   // redis-restore
	Replace  bool     // mysql-restore, redis-restore
	Args     []string // the restores: further flags
	HTTP     string   // check
	Status   int      // check: 0 is any 2xx
	TCP      string   // check
	Within   time.Duration
	Every    time.Duration
}

// source is the snapshot that the step restores from, and the path in it.
func (s *Step) source() (name, path string) {
	name, path, _ = strings.Cut(s.From, ":")
	return name, path
}

// index returns the place of a step in a list, or -1.
func index(steps []Step, name string) int {
	return slices.IndexFunc(steps, func(s Step) bool { return s.Name == name })
}

// snapshot returns the one with a name.
func (p *Plan) snapshot(name string) Snapshot {
	return p.Snapshots[slices.IndexFunc(p.Snapshots, func(s Snapshot) bool { return s.Name == name })]
}

// Find returns the place of a step in the plan.
func (p *Plan) Find(name string) (int, error) {
	if i := index(p.Steps, name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("%w: it has no step %q", ErrChoice, name)
}
