package crashtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/log"
)

// wantSnapshots reads every live snapshot. Those of before are what they were, and all that must be there
// are; complete ones that the command made have all of the source, partial ones nothing else.
func (p *process) wantSnapshots(r *repo.Repository) error {
	st := r.State()
	var errs []error
	for _, id := range sortedIDs(p.w.want) {
		if s := st.Snapshots[id]; !slices.Contains(p.w.victims, id) && (s == nil || !s.Live()) {
			errs = append(errs, fmt.Errorf("snapshot %s was lost", id.Short()))
		}
	}
	for _, id := range sortedIDs(st.Snapshots) {
		if s := st.Snapshots[id]; s.Live() {
			errs = append(errs, p.wantSnapshot(r, s))
		}
	}
	return errors.Join(errs...)
}

func (p *process) wantSnapshot(r *repo.Repository, s *log.Snapshot) error {
	got, entries, err := readSnapshot(p.ctx, r, s.ID)
	if err != nil {
		return err
	}
	old, known := p.w.want[s.ID]
	switch {
	case known && got != old:
		return fmt.Errorf("snapshot %s has changed", s.ID.Short())
	case known:
	case p.w.isCopy(got):
	case !s.Partial && got != p.w.now:
		return fmt.Errorf("snapshot %s, made by the command, is not its source", s.ID.Short())
	case s.Partial:
		for path, d := range entries {
			if want, ok := p.w.entry[path]; !ok || want != d {
				return fmt.Errorf("partial snapshot %s: %s is not what it was in the source", s.ID.Short(), path)
			}
		}
	}
	return nil
}

// isCopy reports whether what was read is a snapshot that was to be copied.
func (w *world) isCopy(d digest) bool {
	return slices.Contains(slices.Collect(maps.Values(w.copies)), d)
}

// wantClean is kura check --read-data, which must have nothing to say but that a key slot lacks one of its
// two copies, when whoever stored or deleted it came no further.
func (p *process) wantClean(r *repo.Repository) error {
	rep, err := check.Run(p.ctx, r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		return err
	}
	var errs []error
	for _, problem := range rep.Problems {
		if !problem.Hint || !strings.HasPrefix(problem.Object, object.KeysPrefix) || !errors.Is(problem.Err, backends.ErrNotExist) {
			errs = append(errs, fmt.Errorf("check: %v", problem))
		}
	}
	return errors.Join(errs...)
}

// wantNoGarbage compares the objects in the store with those that the state names.
func (p *process) wantNoGarbage(r *repo.Repository) error {
	st := r.State()
	var errs []error
	counts := map[string]int{}
	for info, err := range p.store.List(p.ctx, "", "") {
		if err != nil {
			return err
		}
		class, _, _ := strings.Cut(info.Name, "/")
		counts[class]++
		switch class {
		case object.ConfigName, object.ConfigCopyName, "keys", "log", "checkpoints", "records", "quarantine", "parity":
			continue
		}
		ref, err := object.ParseRef(info.Name)
		if _, valid := st.Index[ref]; err != nil || !valid && !st.Live(ref) {
			errs = append(errs, fmt.Errorf("left after two prunes: %s", info.Name))
		}
	}
	packs, logs := counts["data"]+counts["tree"], uint64(counts["log"])
	if packs != len(st.Packs) || counts["index"] != len(st.Index) || logs != st.N || counts["checkpoints"] > 2 {
		errs = append(errs, fmt.Errorf("the store has %v, the state %d packs, %d index segments, %d entries", counts, len(st.Packs), len(st.Index), st.N))
	}
	groups, err := r.Groups(p.ctx)
	if err != nil {
		return err
	}
	inGroup := map[object.Ref]int{}
	for _, g := range groups {
		for _, m := range g.Members {
			inGroup[m.Ref]++
			if !st.Live(m.Ref) || inGroup[m.Ref] > 1 {
				errs = append(errs, fmt.Errorf("%v is in the parity group %v, and dead or in another, too", m.Ref, g.Ref))
			}
		}
	}
	if counts["parity"] != len(groups) || p.w.groups && len(inGroup) != len(st.Packs) {
		errs = append(errs, fmt.Errorf("%d parity objects, %d groups of %d packs out of %d", counts["parity"], len(groups), len(inGroup), len(st.Packs)))
	}
	for id, s := range st.Snapshots {
		if !s.Live() {
			errs = append(errs, fmt.Errorf("forgotten snapshot %s is still held", id.Short()))
		}
	}
	return errors.Join(errs...)
}

// leftover describes what a command left, up to what is random in it: how many objects of each class are
// there more, or less, than before.
func leftover(before, after []backends.Info) string {
	counts := map[string]int{}
	for _, o := range before {
		class, _, _ := strings.Cut(o.Name, "/")
		counts[class]--
	}
	for _, o := range after {
		class, _, _ := strings.Cut(o.Name, "/")
		counts[class]++
	}
	return fmt.Sprint(counts) // sorted by key
}
