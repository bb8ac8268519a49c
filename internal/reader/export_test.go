package reader

import (
	"fmt"
	"maps"
	"slices"
)

// NewFold is a repository that has folded entry 1, with signers of these roles.
func NewFold(roles map[string]int) *Repository {
	r := &Repository{
		n: 1, began: make([]value, 1), signers: map[string]value{}, snapshots: map[string]*Snapshot{},
		live: map[string]int{}, dropped: map[string]bool{}, ended: map[string]bool{},
	}
	for id, role := range roles {
		r.signers[id] = value{map[int]any{1: int64(role)}}
	}
	return r
}

// ApplyPayload folds the payload of the next entry and tells if it took effect. The signature of an epoch is good if it
// is there.
func (r *Repository) ApplyPayload(payload []byte, signer string) bool {
	r.n++
	e, void := decode(payload), len(r.Void)
	r.apply(e.int(1), e.fixed(4, 16), signer, e.at(6), func(epoch value) bool { return epoch.has(3) })
	return len(r.Void) == void
}

// Describe lists what the fold says of snapshots, objects and these packs and sessions.
func (r *Repository) Describe(packs, sids []string) (lines []string) {
	for sid, s := range r.snapshots {
		lines = append(lines, fmt.Sprintf("snapshot %x: forgotten %t, partial %t, pinned %t, n %d", sid, s.Forgotten, s.Partial, s.pinned, s.N))
	}
	for ref := range maps.Keys(r.live) {
		lines = append(lines, fmt.Sprintf("live %x, %d bytes", ref, r.live[ref]))
	}
	for _, p := range packs {
		if r.live[p] > 0 || !r.dropped[p] && !r.ended[p[1:17]] {
			lines = append(lines, fmt.Sprintf("addable %x", p))
		}
	}
	for _, s := range sids {
		if !r.ended[s] {
			lines = append(lines, fmt.Sprintf("open %x", s))
		}
	}
	for id := range r.signers {
		lines = append(lines, fmt.Sprintf("signer %x in epoch %d", id, len(r.began)))
	}
	slices.Sort(lines)
	return lines
}

// Decode decodes a structure.
func Decode(b []byte) (err error) {
	defer new(Repository).rescue(&err)
	decode(b)
	return nil
}
