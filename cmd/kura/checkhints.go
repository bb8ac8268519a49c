package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/ui"
)

// damageFound is the error of a check that found damage, and says what can be done about it.
func damageFound(r *check.Report, choice check.Choice, noKey bool) error {
	n := r.Damaged()
	hints := damageHints(r)
	if !slices.ContainsFunc(r.Problems, func(p check.Problem) bool { return !p.Hint && !errors.Is(p.Err, wire.ErrNewer) }) {
		return notUnderstood(n, "problem")
	}
	switch {
	case noKey:
		hints = append(hints, "kura check, with a password, says which files it costs")
	case !choice.All:
		hints = append(hints, "kura check --read-data finds all of it")
	}
	return withHint(fmt.Errorf("%w: %s", errDamageFound, ui.Count(uint64(n), "problem")), hints...)
}

// damageKind is what is done about damage of a class of objects.
type damageKind int

const (
	damagedIndex damageKind = iota
	unlistedBlobs
	damagedCopy // of what exists twice
	damagedPack
	damagedGroup
	damagedLog
	damagedNote // costs time, or what is known of earlier checks
	lostContent // of files and folders, without an object that is damaged: repair has let go of it
	damageKinds
)

func kindOfDamage(p check.Problem) damageKind {
	switch in := func(prefix string) bool { return strings.HasPrefix(p.Object, prefix) }; {
	case errors.Is(p.Err, check.ErrUnlisted):
		return unlistedBlobs
	case in(object.IndexPrefix):
		return damagedIndex
	case p.Object == object.ConfigName, p.Object == object.ConfigCopyName, in(object.KeysPrefix):
		return damagedCopy
	case in(object.ParityPrefix):
		return damagedGroup
	case in(object.LogPrefix):
		return damagedLog
	case in(object.CheckpointsPrefix), in(object.RecordsPrefix):
		return damagedNote
	case p.Object == "" && p.Snapshot != "":
		return lostContent
	}
	return damagedPack // or a file or folder that lies in one
}

// newerHint is what to do about what a newer kura wrote.
const newerHint = "what a newer kura wrote is for that to check, repair and prune; if nobody has one, somebody with a stolen key may have made it look so, and kura forget ID ends a snapshot"

// damageHints says what to do about the damage, in the order in which it is to be done.
func damageHints(r *check.Report) []string {
	var mend, lost [damageKinds]bool
	newer := 0
	for _, p := range r.Problems {
		switch {
		case p.Hint:
		case errors.Is(p.Err, wire.ErrNewer):
			newer++
		case p.Mendable:
			mend[kindOfDamage(p)] = true
		default:
			lost[kindOfDamage(p)] = true
		}
	}
	noIndex := lost[damagedIndex]
	var hints []string
	add := func(when bool, hint string) {
		if when {
			hints = append(hints, hint)
		}
	}
	add(newer > 0, newerHint)
	add(noIndex, "kura repair index comes first: nothing can be restored before it has made the index again from the packs, which loses no data; then kura check says what else is damaged")
	add(lost[unlistedBlobs] && !noIndex, "kura repair index --read-all-packs makes the index again from the packs; no data is lost by this")
	add(r.Damaged() > r.Mendable()+newer && !noIndex, "keep the repository as it is until it is clear what is lost; kura restore still restores what is whole")
	add(lost[damagedLog], "put lost log entries back from another copy of the repository, if there is one")
	add(mend[damagedCopy], "copy the good one of the two over the bad one, or to the place of the missing one: config and config.copy, keys/ID and keys/ID.copy are the same bytes")
	add(mend[damagedIndex] && !noIndex, "kura repair index writes the index anew")
	switch {
	case lost[damagedPack]:
		add(true, "kura repair packs saves what can be read, and deletes nothing")
	case mend[damagedPack]:
		add(true, "kura repair packs writes anew what parity mends")
	}
	add(lost[lostContent] && !lost[damagedPack] && !noIndex && !lost[unlistedBlobs],
		"run the backups again: what they meet of the lost is stored again, which makes the old snapshots whole; then kura repair snapshots makes snapshots without the rest")
	add(mend[damagedGroup], "remove what is damaged in parity/, and kura prune --parity-groups makes it again")
	add(mend[damagedLog], "keep a copy of the repository: its log is mended whenever it is read, but not written anew")
	add(len(hints) == 0 && mend[damagedNote], "nothing has to be done, what is damaged only costs time")
	if r.Damaged() == r.Mendable() && len(hints) > 0 {
		hints[0] = "nothing is lost yet: " + hints[0]
	}
	return hints
}
