package mysql

import (
	"context"
	"errors"
	"slices"
)

// Archived is an archive as one of its snapshots has it.
type Archived struct {
	Details *ArchiveDetails
	Open    Opener
}

// FindReplay is PrepareReplay for all archives of a server, at least one, the newest first. Of those that continue one another it takes the newest that
// may have all of it; if that has other logs, it goes on with those that these do not continue.
func FindReplay(ctx context.Context, archives []Archived, from Coordinates, until Until) (*Replay, error) {
	var read, unread []error // what was read says more
	for len(archives) > 0 {
		first := archives[0]
		other := func(a Archived) bool { return !a.Details.Began.Equal(first.Details.Began) }
		same := slices.DeleteFunc(slices.Clone(archives), func(a Archived) bool { return other(a) || a.Details.Reaches(from, until) != nil })
		archives = slices.DeleteFunc(slices.Clone(archives), func(a Archived) bool { return !other(a) })
		if len(same) == 0 {
			unread = append(unread, first.Details.Reaches(from, until))
			continue
		}
		r, err := findAmong(ctx, same, from, until)
		if err == nil || !errors.Is(err, ErrReach) {
			return r, err
		}
		read = append(read, err)
	}
	return nil, append(read, unread...)[0]
}

// findAmong finds a replay in archives that continue one another, the newest first. If what came later leaves it open where the moment is,
// the oldest decides that goes beyond it and has the transaction at which the replay ends: all that was committed before the moment is
// there, and what is not was committed after it, whatever time it says. A replay into the server itself notes such times again.
func findAmong(ctx context.Context, archives []Archived, from Coordinates, until Until) (*Replay, error) {
	r, err := PrepareReplay(ctx, archives[0].Details, from, until, archives[0].Open)
	if !errors.Is(err, ErrOrder) {
		return r, err
	}
	for low, high := 1, len(archives); low < high; { // those in front of low have that transaction, and those from high on do not
		mid := (low + high) / 2
		older, olderErr := PrepareReplay(ctx, archives[mid].Details, from, until, archives[mid].Open)
		switch {
		case olderErr == nil && !older.stopped, errors.Is(olderErr, ErrReach):
			high = mid
		case olderErr == nil, errors.Is(olderErr, ErrOrder):
			r, err, low = older, olderErr, mid+1
		default:
			return nil, olderErr
		}
	}
	return r, err
}
