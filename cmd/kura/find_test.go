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

// There can be hundreds of thousands of folders in a pack that is lost.
func TestSearch_ManyFoldersLost_FirstAreListedAndAllCount(t *testing.T) {
	for lost, want := range map[int]string{
		1:           "1 folder or snapshot could not be looked through",
		maxLost:     "1000 folders or snapshots could not be looked through",
		maxLost + 5: "1005 folders or snapshots (the first 1000 are listed) could not be looked through",
	} {
		var out strings.Builder
		s := &search{a: &app{term: ui.NewPlain(io.Discard, &out)}}
		for range lost {
			s.lose("/d", errors.New("its page is lost"))
		}
		if listed := strings.Count(out.String(), "/d: its page is lost\n"); listed != min(lost, maxLost) {
			t.Errorf("%d lost: %d are listed", lost, listed)
		}
		if err := s.end(nil); exitCode(t.Context(), err) != exitDamage || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%d lost: %v", lost, err)
		}
	}
}

// What a newer kura wrote is no damage, but beside some it does not hide that.
func TestSearch_WrittenByANewerKura_IsNoDamage(t *testing.T) {
	newer, lost := error(&repo.DamageError{Object: "tree/x", Err: wire.ErrNewer}), error(&repo.DamageError{Object: "tree/y", Err: repo.ErrNotFound})
	for name, c := range map[string]struct {
		met  []error
		want int
	}{
		"nothing": {nil, exitOK},
		"newer":   {[]error{newer, newer}, exitError},
		"lost":    {[]error{lost}, exitDamage},
		"both":    {[]error{newer, lost}, exitDamage},
	} {
		s := &search{a: &app{term: ui.NewPlain(io.Discard, io.Discard)}, found: true}
		for _, err := range c.met {
			s.lose("/d", plain{err})
		}
		if err := s.end([]*repo.Snapshot{{}}); exitCode(t.Context(), err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
