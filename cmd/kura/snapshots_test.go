package main

import (
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// What repair could save takes a place in a policy only where the snapshot that it was made of is no longer to be had.
func TestRetainable_RepairedSnapshot_TakesThePlaceOfOneThatIsGone(t *testing.T) {
	t.Parallel()
	original, other := object.SessionID{1}, object.SessionID{2}
	twin := &repo.Snapshot{ID: object.SessionID{3}, Manifest: repo.Manifest{Suspect: 1, Original: original[:]}, Entry: &log.Snapshot{}}
	copied := &repo.Snapshot{ID: other, Manifest: repo.Manifest{CopyOf: original[:]}, Entry: &log.Snapshot{}}
	for name, c := range map[string]struct {
		entry *log.Snapshot // of the original; nil: this repository has none
		list  []*repo.Snapshot
		want  bool
	}{
		"live":                   {&log.Snapshot{}, []*repo.Snapshot{twin}, false},
		"forgotten":              {&log.Snapshot{Forgotten: 7}, []*repo.Snapshot{twin}, true},
		"gone":                   {nil, []*repo.Snapshot{twin}, true},
		"a copy of it is there":  {nil, []*repo.Snapshot{copied, twin}, false},
		"and it itself is not":   {&log.Snapshot{Forgotten: 7}, []*repo.Snapshot{copied, twin}, false},
		"suspect, of no other":   {nil, []*repo.Snapshot{{ID: twin.ID, Manifest: repo.Manifest{Suspect: 1}, Entry: twin.Entry}}, false},
		"cut off, and forgotten": {nil, []*repo.Snapshot{{ID: twin.ID, Manifest: twin.Manifest, Entry: &log.Snapshot{Partial: true}}}, false},
	} {
		st := &log.State{Snapshots: map[object.SessionID]*log.Snapshot{}}
		if c.entry != nil {
			st.Snapshots[original] = c.entry
		}
		got := retainable(c.list, inItsPlace(st, c.list))
		if sound := got[len(got)-1].Sound; sound != c.want {
			t.Errorf("%s: sound %t", name, sound)
		}
	}
}
