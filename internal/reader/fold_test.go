package reader_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/reader"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// world is what random entries are made of.
type world struct {
	st      *log.State
	sids    []object.SessionID
	packs   []object.Ref
	signers [][8]byte     // writer, writer, maintainer, owner, unknown
	keys    []seal.Signer // those, and three that may be added
}

func signer(n byte, role seal.Role) seal.Signer {
	public := slices.Repeat([]byte{n}, 32)
	return seal.Signer{ID: seal.SignerID(public), Role: role, Public: public, Slot: make([]byte, 1216)}
}

// TestFold_RandomEntries_AgreesWithTheLog: the reader's fold and package log's give
// the same state after any entries, and find the same ones void.
func TestFold_RandomEntries_AgreesWithTheLog(t *testing.T) {
	void, counted := map[log.Kind]int{}, map[log.Kind]int{}
	rapid.Check(t, func(t *rapid.T) {
		w, roles := &world{}, map[string]int{}
		signers := seal.Signers{}
		w.keys = nil
		for i, role := range []seal.Role{seal.Writer, seal.Writer, seal.Maintainer, seal.Owner} {
			s := signer(byte(i+1), role)
			signers[s.ID] = s
			w.signers, w.keys = append(w.signers, s.ID), append(w.keys, s)
			roles[string(s.ID[:])] = int(role)
		}
		for i := range byte(3) {
			w.keys = append(w.keys, signer(10+i, seal.Role(1+i)))
		}
		w.signers = append(w.signers, [8]byte{0xff})
		for i := range 24 {
			sid := object.SessionID{byte(i), 0x51}
			w.sids = append(w.sids, sid)
			for j := range 2 {
				class := []object.Class{object.DataPack, object.TreePack}[j]
				w.packs = append(w.packs, object.Ref{Class: class, Session: sid, Hash: object.Hash{byte(i), byte(j)}})
			}
		}
		state, err := log.EncodeState(&log.State{N: 1, Signers: signers, Epoch: seal.Epoch{Number: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if w.st, err = log.DecodeState(state); err != nil {
			t.Fatal(err)
		}
		r := reader.NewFold(roles)
		for range 40 {
			e, signer := w.entry(t)
			payload, err := log.EncodeEntry(w.st.N+1, w.st.Hash, e)
			if err != nil {
				t.Fatal(err)
			}
			next, why := w.st.Apply(e, signer, object.Hash{})
			w.st = next
			if ok := r.ApplyPayload(payload, string(signer[:])); ok != (why == nil) {
				t.Fatalf("%v entry: reader says effective=%t, log says %v", e.Kind, ok, why)
			}
			if why == nil {
				counted[e.Kind]++
			} else {
				void[e.Kind]++
			}
			var packs, sids []string
			for _, p := range w.packs {
				packs = append(packs, ref(p))
			}
			for _, s := range w.sids {
				sids = append(sids, string(s[:]))
			}
			if diff := cmp.Diff(w.describe(), r.Describe(packs, sids)); diff != "" {
				t.Fatalf("after %v entry %d (-log +reader):\n%s", e.Kind, w.st.N, diff)
			}
		}
	})
	t.Logf("void %v, effective %v", void, counted)
	for _, k := range []log.Kind{log.KindSnapshot, log.KindForget, log.KindUnforget, log.KindTag, log.KindPin, log.KindKeys, log.KindCollect} {
		if void[k] < 20 || counted[k] < 20 {
			t.Errorf("%v: %d void and %d effective entries show nothing", k, void[k], counted[k])
		}
	}
}

func ref(r object.Ref) string {
	return string([]byte{byte(r.Class)}) + string(r.Session[:]) + string(r.Hash[:])
}

// some draws up to two of what is good, or now and then of what is there at all.
func some[T any](t *rapid.T, what string, all []T, good func(T) bool) []T {
	if rapid.IntRange(0, 14).Draw(t, what+" at random") > 0 {
		all = slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !good(x) })
	}
	if len(all) == 0 {
		return nil
	}
	return rapid.SliceOfN(rapid.SampledFrom(all), 0, 2).Draw(t, what)
}

func (w *world) entry(t *rapid.T) (*log.Entry, [8]byte) {
	kind := rapid.SampledFrom([]log.Kind{log.KindSnapshot, log.KindSnapshot, log.KindForget, log.KindUnforget, log.KindTag, log.KindPin, log.KindKeys, log.KindCollect}).Draw(t, "kind")
	e := &log.Entry{Kind: kind, Session: w.sids[0]}
	signer := w.signers[rapid.IntRange(0, 3).Draw(t, "signer")]
	if rapid.IntRange(0, 19).Draw(t, "stranger") == 0 {
		signer = w.signers[4]
	}
	if own := some(t, "session", w.sids, w.st.Open); len(own) > 0 {
		e.Session = own[0]
	}
	forgotten := func(s object.SessionID) bool { x := w.st.Snapshots[s]; return x != nil && !x.Live() }
	live := func(s object.SessionID) bool { x := w.st.Snapshots[s]; return x != nil && x.Live() }
	switch kind {
	case log.KindForget:
		e.Snapshots = some(t, "forget", w.sids, func(s object.SessionID) bool { return live(s) && !w.st.Snapshots[s].Pinned })
		return e, signer
	case log.KindUnforget:
		e.Snapshots = some(t, "unforget", w.sids, forgotten)
		return e, signer
	case log.KindTag, log.KindPin:
		e.Snapshots = some(t, "pin", w.sids, func(s object.SessionID) bool { return live(s) || forgotten(s) })
		if e.Pinned = kind == log.KindPin && rapid.Bool().Draw(t, "pinned"); kind == log.KindTag {
			e.TagsOf, e.Tags = make([]uint32, len(e.Snapshots)), make([]log.SealedTags, 1)
		}
		return e, signer
	}
	if kind == log.KindKeys {
		signer = w.signers[rapid.IntRange(2, 3).Draw(t, "by")]
		there := func(s seal.Signer) bool { _, ok := w.st.Signers[s.ID]; return ok }
		e.Signers = some(t, "new keys", w.keys, func(s seal.Signer) bool { return !there(s) })
		for _, s := range some(t, "old keys", w.keys, func(s seal.Signer) bool { return there(s) && s.Role < seal.Owner }) {
			e.Withdraw = append(e.Withdraw, s.ID)
		}
		if rapid.IntRange(0, 3).Draw(t, "rotates") == 0 {
			e.Epoch.Number = w.st.Epoch.Number + uint32(rapid.SampledFrom([]int{1, 1, 1, 0, 2}).Draw(t, "epoch"))
			if e.ForgedEpoch = rapid.IntRange(0, 9).Draw(t, "forged") == 0; !e.ForgedEpoch {
				e.EpochSignature = []byte{1}
			}
		}
		return e, signer
	}
	for _, p := range some(t, "add", w.packs, w.st.Addable) {
		e.Add = append(e.Add, log.PackRef{Ref: p, Size: int64(100 * w.st.N)})
	}
	segment := object.Ref{Class: object.Index, Session: e.Session, Hash: object.Hash{byte(w.st.N)}}
	if rapid.IntRange(0, 29).Draw(t, "foreign segment") == 0 {
		segment.Session = w.sids[len(w.sids)-1]
	}
	e.Index = []log.PackRef{{Ref: segment, Size: 7}}
	if kind == log.KindSnapshot {
		e.Manifest = log.SealedManifest{Origin: seal.Origin{}}
		e.Partial = rapid.Bool().Draw(t, "partial")
		e.Run = w.sids[rapid.IntRange(0, 1).Draw(t, "run")]
		e.Supersede = some(t, "supersede", w.sids, func(s object.SessionID) bool {
			return live(s) && w.st.Snapshots[s].Partial && !w.st.Snapshots[s].Pinned && w.st.Snapshots[s].Run == e.Run && w.st.Snapshots[s].Signer == signer
		})
		return e, signer
	}
	e.Revoke = some(t, "revoke", w.sids, func(s object.SessionID) bool { return w.st.Open(s) && s != e.Session && s[0]%4 == 0 })
	e.Gone = some(t, "gone", w.sids, forgotten)
	var valid []object.Ref
	for r := range w.st.Index {
		valid = append(valid, r)
	}
	slices.SortFunc(valid, func(a, b object.Ref) int { return slices.Compare([]byte(ref(a)), []byte(ref(b))) })
	all := slices.Concat(w.packs, valid, []object.Ref{segment})
	e.Drop = some(t, "drop", all, w.st.Live)
	e.Replace = some(t, "replace", all, func(r object.Ref) bool { return slices.Contains(valid, r) })
	return e, signer
}

// describe is as [reader.Repository.Describe].
func (w *world) describe() (lines []string) {
	for sid, s := range w.st.Snapshots {
		lines = append(lines, fmt.Sprintf("snapshot %x: forgotten %t, partial %t, pinned %t, n %d", sid[:], !s.Live(), s.Partial, s.Pinned, s.N))
	}
	for r, p := range w.st.Packs {
		lines = append(lines, fmt.Sprintf("live %x, %d bytes", ref(r), p.Size))
	}
	for r, size := range w.st.Index {
		lines = append(lines, fmt.Sprintf("live %x, %d bytes", ref(r), size))
	}
	for _, p := range w.packs {
		if w.st.Addable(p) {
			lines = append(lines, fmt.Sprintf("addable %x", ref(p)))
		}
	}
	for _, s := range w.sids {
		if w.st.Open(s) {
			lines = append(lines, fmt.Sprintf("open %x", s[:]))
		}
	}
	for id := range w.st.Signers {
		lines = append(lines, fmt.Sprintf("signer %x in epoch %d", id[:], w.st.Epoch.Number))
	}
	slices.Sort(lines)
	return lines
}
