package runbook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kura-backup/kura/internal/durable"
)

// errDead is what everything returns to a process that was killed.
var errDead = errors.New("killed")

// tester is what tests and properties have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// exitError is a program that ended badly.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e exitError) ExitCode() int { return int(e) }

// fakeWorld is a machine with services and commands that count, in which the process can be killed before and after everything that
// has an effect.
type fakeWorld struct {
	t     tester
	dir   string
	units map[string]string
	did   map[string]int // how often a command has had its effect
	order []string       // of the effects
	fails map[string]bool
	asked []string
	says  map[string]bool // answers; all others are yes
	alone bool            // there is nobody to ask

	noMoves bool // of the plan's folders

	ops, killAt int // 0: never
	dead        bool

	host    Host
	over    bool   // what the last run has said
	folder  string // that services of this machine use: nobody may touch it while they run
	undoing bool
	also    map[string]func() // what happens when a command has its effect
	dryRun  string            // what kura says of a restore that is only looked at
}

func newWorld(t tester, dir string) *fakeWorld {
	return &fakeWorld{t: t, dir: dir, units: map[string]string{}, did: map[string]int{}, fails: map[string]bool{}, says: map[string]bool{}}
}

// tick is a moment in which the process can be killed.
func (w *fakeWorld) tick() bool {
	w.ops++
	if w.ops == w.killAt {
		w.dead = true
	}
	return w.dead
}

// revive starts the next process, which is killed at some moment.
func (w *fakeWorld) revive(killAt int) { w.dead, w.ops, w.killAt = false, 0, killAt }

// effect does something, unless the process is dead.
func (w *fakeWorld) effect(do func() error) error {
	if w.tick() {
		return errDead
	}
	err := do()
	if w.tick() {
		return errDead
	}
	return err
}

func (w *fakeWorld) world() *World {
	return &World{
		Exec: w.exec,
		OpenDir: func(path string) (durable.FS, error) {
			if w.noMoves {
				return nil, syscall.EBUSY
			}
			return w.open(path)
		},
		Kura:      func(args ...string) []string { return append([]string{"kura"}, args...) },
		CheckKura: func(_, _ []string) error { return nil },
		Uses:      func() []string { return nil },
		Find:      func(string) error { return nil },
		Resolve: func(_ context.Context, wants []Want) (pins []Pin, err error) {
			for _, want := range wants {
				id := want.Snapshot.ID
				if id == "latest" {
					id = fmt.Sprintf("id%d", w.did["resolve"])
					w.did["resolve"]++
				}
				pins = append(pins, Pin{ID: id, Text: "snapshot " + id})
			}
			return pins, nil
		},
		Ask: func(_ context.Context, question string) (bool, error) {
			switch {
			case w.dead:
				return false, errDead
			case w.alone:
				return false, ErrNobody
			}
			w.asked = append(w.asked, question)
			for part, yes := range w.says {
				if strings.Contains(question, part) {
					return yes, nil
				}
			}
			return true, nil
		},
		CanAsk: func() bool { return !w.alone },
		Getenv: func(string) string { return "" },
		Now:    func() time.Time { return time.Unix(1_800_000_000, 0) },
		Host:   w.host,
	}
}

func (w *fakeWorld) exec(_ context.Context, c Exec) error {
	argv := c.Argv
	if argv[0] == "systemctl" {
		return w.systemctl(argv[1:], c.Out)
	}
	if argv[0] == "kura" && slices.Contains(argv, "--dry-run") {
		fmt.Fprintln(c.Out, w.dryRun)
		if !strings.Contains(w.dryRun, "summary") {
			return exitError(1)
		}
		return nil
	}
	if argv[0] == "kura" {
		return w.effect(func() error {
			if err := w.restore(argv[1:]); err != nil || !w.fails["kura "+argv[1]] {
				return err
			}
			return exitError(1)
		})
	}
	line := argv[len(argv)-1]
	if argv[1] == "-n" { // the shell only looks whether it understands the line
		return nil
	}
	verb, name, _ := strings.Cut(line, " ")
	if verb == "is" { // a question, which has no effect
		if w.tick() {
			return errDead
		}
		if w.did[name] == 0 {
			return exitError(1)
		}
		return nil
	}
	return w.effect(func() error {
		if w.fails[line] {
			return exitError(3)
		}
		fmt.Fprintln(c.Out, "output of", line)
		switch verb {
		case "do":
			w.did[name]++
		case "undo":
			w.did[name]--
		}
		w.order = append(w.order, line)
		if also := w.also[line]; also != nil {
			also()
		}
		return nil
	})
}

func (w *fakeWorld) systemctl(args []string, out io.Writer) error {
	unit := unitName(args[len(args)-1])
	switch args[0] {
	case "is-active":
		if w.tick() {
			return errDead
		}
		fmt.Fprintln(out, w.units[unit])
		if w.units[unit] != "active" {
			return exitError(3)
		}
		return nil
	case "show":
		state := "loaded"
		if w.units[unit] == "" {
			state = "not-found"
		}
		fmt.Fprintln(out, state)
		return nil
	}
	return w.effect(func() error {
		if w.fails[args[0]+" "+unit] {
			return exitError(1)
		}
		if args[0] == "start" && w.undoing && w.folder != "" && has(w.folder+".old-1") {
			w.t.Errorf("%s is started before the old folder is back: %v", unit, w.order)
		}
		w.units[unit] = map[string]string{"start": "active", "stop": "inactive"}[args[0]]
		w.order = append(w.order, args[0]+" "+unit)
		return nil
	})
}

// restore must never write into what was there before.
func (w *fakeWorld) restore(args []string) error {
	target := args[slices.Index(args, "--target")+1]
	if _, err := os.Stat(filepath.Join(target, "old")); err == nil {
		w.t.Errorf("restored over what was in %s", target)
	}
	for unit, state := range w.units {
		if w.folder != "" && state == "active" {
			w.t.Errorf("restored under %s, which runs: %v", unit, w.order)
		}
	}
	w.order = append(w.order, "restore "+args[1])
	return errors.Join(os.MkdirAll(target, 0o755), os.WriteFile(filepath.Join(target, "new"), []byte(args[1]), 0o644))
}

// open opens a folder of the machine, without waiting for the disk.
func (w *fakeWorld) open(path string) (durable.FS, error) {
	dir, err := durable.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return mortalFS{dir, w}, nil
}

// state opens the state folder.
func (w *fakeWorld) state() *State {
	w.t.Helper()
	path := filepath.Join(w.dir, "state")
	if err := os.MkdirAll(path, 0o700); err != nil {
		w.t.Fatal(err)
	}
	fsys, err := w.open(path)
	if err != nil {
		w.t.Fatal(err)
	}
	killAt := w.killAt
	w.killAt = 0 // a process that has not got so far has done nothing
	s, err := newState(path, fsys, w.world().Now)
	w.killAt, w.ops = killAt, 0
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// mortalFS fails from the moment on in which its process was killed.
type mortalFS struct {
	durable.FS
	w *fakeWorld
}

func (m mortalFS) CreateExcl(name string, perm os.FileMode) (f durable.File, err error) {
	err = m.w.effect(func() error {
		f, err = m.FS.CreateExcl(name, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return hastyFile{f}, nil
}

func (m mortalFS) RenameNoReplace(from, to string) error {
	return m.w.effect(func() error { return m.FS.RenameNoReplace(from, to) })
}

func (m mortalFS) Rename(from, to string) error {
	return m.w.effect(func() error { return m.FS.Rename(from, to) })
}

func (m mortalFS) Mkdir(name string, perm os.FileMode) error {
	return m.w.effect(func() error { return m.FS.Mkdir(name, perm) })
}

func (m mortalFS) Unlink(name string) error {
	return m.w.effect(func() error { return m.FS.Unlink(name) })
}

func (m mortalFS) SyncDir(string) error {
	if m.w.dead {
		return errDead
	}
	return nil
}

// hastyFile does not wait for the disk.
type hastyFile struct{ durable.File }

func (hastyFile) Sync() error { return nil }

// must reads a plan.
func must(t tester, text string) *Plan {
	t.Helper()
	p, err := Parse("plan.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return p
}

// follow is a process that follows a plan.
func (w *fakeWorld) follow(p *Plan, o Options) error {
	s := w.state()
	defer s.Close()
	r, err := Prepare(context.Background(), p, s, w.world(), o)
	if err != nil {
		return err
	}
	w.over, err = r.Go(context.Background())
	return err
}

// undo is one that takes it back.
func (w *fakeWorld) undo(p *Plan) error { return w.undoFrom(p, "") }

func (w *fakeWorld) undoFrom(p *Plan, from string) error {
	s := w.state()
	defer s.Close()
	u, err := PrepareUndo(p, s, w.world(), from)
	if err != nil {
		return err
	}
	w.undoing = true
	defer func() { w.undoing = false }()
	return u.Go(context.Background())
}
