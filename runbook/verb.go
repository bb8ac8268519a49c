package runbook

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kura-backup/kura/internal/mounts"
)

// verbAction is one of kura's own commands.
type verbAction struct{ s *Step }

func newVerb(s *Step) action { return verbAction{s} }

// args are the command's arguments.
func (v verbAction) args() []string {
	_, path := v.s.source()
	snapshot := v.s.Snapshot
	if path != "" {
		snapshot += ":" + path
	}
	var args []string
	switch v.s.Kind {
	case "restore":
		args = []string{"restore", snapshot, "--target", v.s.Target}
	case "mysql-restore":
		args = []string{"mysql", "restore", snapshot}
	case "redis-restore":
		args = []string{"redis", "restore", snapshot, "--dir", v.s.Dir}
	case "device-restore":
		args = []string{"device", "restore", snapshot, "--to", v.s.To}
	}
	if v.s.Replace {
		args = append(args, "--yes")
	}
	return slices.Concat(args, v.s.Args)
}

func (v verbAction) preflight(ctx context.Context, a *attempt, p *preflight) (errs []error) {
	for _, path := range []string{v.s.Target, v.s.Dir, v.s.To} {
		if path != "" && !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("%q is no full path", path))
		}
	}
	if err := a.w.CheckKura(a.w.Kura(v.args()...)[1:], v.s.Args); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 && v.s.Kind == "mysql-restore" && !v.s.Replace {
		errs = v.overwrites(ctx, a, p)
	}
	return errs
}

// overwrites looks what a server has already of what is to be loaded into it, and not to be replaced. If a step before this one may change that,
// or start the server, it is only told.
func (v verbAction) overwrites(ctx context.Context, a *attempt, p *preflight) []error {
	if past := a.run.past(v.s.Name); past.finished() || !v.s.Done.IsZero() || v.s.Snapshot == placeholder {
		return nil
	}
	out, err := a.output(ctx, a.w.Kura(append(v.args(), "--dry-run", "--json")...))
	var said struct {
		Type       string   `json:"message_type"`
		Overwrites []string `json:"overwrites"`
	}
	last := ""
	for line := range strings.Lines(out) {
		last = strings.TrimSpace(line)
		if jerr := json.Unmarshal([]byte(last), &said); jerr == nil && said.Type == "summary" && len(said.Overwrites) > 0 {
			err = fmt.Errorf("the server has already %s: with replace = true that is overwritten", strings.Join(said.Overwrites, ", "))
			if !p.changes {
				return []error{err}
			}
			a.w.Events.info(fmt.Sprintf("step %s: %v; as it is now the step would fail", v.s.Name, err))
			return nil
		}
	}
	if err != nil && !p.changes {
		return []error{fmt.Errorf("asked what it would overwrite: %w: %s", err, last)}
	}
	return nil
}

// prepare knows what can be taken back: what lies where another step has made room goes when that one is taken back.
func (v verbAction) prepare(_ context.Context, a *attempt) (note, error) {
	switch v.s.Kind {
	case "restore":
		if a.run.journal.madeRoom(v.s.Target) {
			return note{Into: filepath.Clean(v.s.Target)}, nil
		}
		return note{Stays: "what was restored into " + v.s.Target + " stays, and what it has replaced is gone"}, nil
	case "redis-restore":
		return note{Stays: "what was restored into " + v.s.Dir + " stays; what was there was moved aside in it"}, nil
	case "device-restore":
		return note{Stays: "what was written to " + v.s.To + " stays"}, nil
	}
	return note{Stays: "what was loaded into the server stays"}, nil
}

// madeRoom reports whether a step has moved aside what was at a path, or above it.
func (j *journal) madeRoom(path string) bool {
	return slices.ContainsFunc(j.begun(), func(step string) bool {
		p := j.past(step)
		return p.result == ResultDone && slices.ContainsFunc(p.notes, func(n note) bool {
			return n.Path != "" && mounts.Within(filepath.Clean(path), n.Path)
		})
	})
}

func (v verbAction) run(ctx context.Context, a *attempt) error {
	return a.exec(ctx, a.w.Kura(v.args()...))
}

func (v verbAction) commands(w *World) []string { return []string{Quote(w.Kura(v.args()...))} }
