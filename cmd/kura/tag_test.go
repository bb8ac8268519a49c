package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/ui"
)

// What a newer kura wrote is no damage, and what nobody can read is.
func TestPassedOver_Table(t *testing.T) {
	unreadable := func(err error) *repo.Snapshot {
		return &repo.Snapshot{Err: &repo.DamageError{Object: "log/1", Err: &repo.UnreadableError{Err: err}}}
	}
	sound, newer, forged := new(repo.Snapshot), unreadable(wire.ErrNewer), unreadable(errors.New("it is not compressed"))
	for name, c := range map[string]struct {
		list []*repo.Snapshot
		want int
		said int // lines
	}{
		"none":   {nil, exitOK, 0},
		"sound":  {[]*repo.Snapshot{sound}, exitOK, 0},
		"newer":  {[]*repo.Snapshot{sound, newer, newer}, exitError, 2},
		"forged": {[]*repo.Snapshot{forged, sound}, exitDamage, 1},
		"both":   {[]*repo.Snapshot{newer, forged}, exitDamage, 2},
	} {
		var out strings.Builder
		err := (&app{term: ui.NewPlain(io.Discard, &out)}).passedOver(c.list)
		if exitCode(t.Context(), err) != c.want || strings.Count(out.String(), "\n") != c.said {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
	}
}
