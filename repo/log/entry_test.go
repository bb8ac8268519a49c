package log

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

func TestEntry_EveryKind_SurvivesEncoding(t *testing.T) {
	collect := &Entry{
		Kind: KindCollect, Session: sid(4), Clock: 4,
		Drop: []object.Ref{ref(object.DataPack, 2, 1), ref(object.TreePack, 2, 3)}, Add: []PackRef{{ref(object.TreePack, 4, 9), 7}},
		Revoke: []object.SessionID{sid(8)}, Gone: []object.SessionID{sid(2)},
		Replace: []object.Ref{ref(object.Index, 2, 2)}, Index: []PackRef{{ref(object.Index, 4, 4), 3}},
	}
	partial := snapshotEntry(5)
	partial.Partial, partial.Supersede = true, []object.SessionID{sid(2), sid(3)}
	named := signer(1, seal.Writer)
	named.Name = "web1"
	entries := []*Entry{
		snapshotEntry(2), partial, collect,
		{Kind: KindForget, Session: sid(6), Clock: -1, Snapshots: []object.SessionID{sid(2)}},
		{Kind: KindUnforget, Session: sid(7), Snapshots: []object.SessionID{sid(2), sid(5)}},
		{Kind: KindInit, Session: sid(1), Signers: []seal.Signer{signer(0, seal.Owner)}, Epoch: seal.Epoch{Number: 1, ID: [16]byte{1}}},
		tagEntry(8, sid(2), sid(3)),
		{Kind: KindPin, Session: sid(9), Snapshots: []object.SessionID{sid(2)}, Pinned: true},
		{Kind: KindPin, Session: sid(10), Snapshots: []object.SessionID{sid(2), sid(3)}},
		{Kind: KindKeys, Session: sid(11), Clock: 5, Signers: []seal.Signer{named}, Withdraw: [][8]byte{{1}, {2}}},
		{Kind: KindKeys, Session: sid(12), Epoch: seal.Epoch{Number: 2, ID: [16]byte{2}}, EpochSignature: bytes.Repeat([]byte{3}, 64)},
	}
	golden := map[string]string{}
	for i, e := range entries {
		prev := object.Hash{1, 2}
		payload, err := EncodeEntry(uint64(i+1), prev, e)
		if err != nil {
			t.Fatal(err)
		}
		n, gotPrev, got, err := DecodeEntry(payload)
		if err != nil || n != uint64(i+1) || gotPrev != prev {
			t.Fatalf("%v: n=%d, %v", e.Kind, n, err)
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Errorf("%v:\n%s", e.Kind, d)
		}
		for cut := range payload {
			if _, _, _, err := DecodeEntry(payload[:cut]); err == nil {
				t.Errorf("%v: %d of %d bytes decode", e.Kind, cut, len(payload))
			}
		}
		golden[fmt.Sprintf("%d %v", i, e.Kind)] = fmt.Sprintf("%x", payload)
	}
	checkGolden(t, "entries.json", golden)
}

func TestState_Checkpoint_SurvivesEncoding(t *testing.T) {
	l, _ := makeLog(t, mem.New())
	for n := byte(2); n < 6; n++ {
		commit(t, l, snapshotEntry(n))
	}
	commit(t, l, &Entry{Kind: KindForget, Session: sid(20), Snapshots: []object.SessionID{sid(2), sid(3)}})
	commit(t, l, &Entry{
		Kind: KindCollect, Session: sid(21), Drop: []object.Ref{ref(object.DataPack, 2, 1)}, Gone: []object.SessionID{sid(2)},
		Revoke: []object.SessionID{sid(99)}, Add: []PackRef{{ref(object.DataPack, 50, 1), 5}},
	})
	commit(t, l, &Entry{Kind: KindCollect, Session: sid(22), Drop: []object.Ref{ref(object.DataPack, 50, 1)}}) // 50 is still open
	if len(l.State().dropped) != 1 {
		t.Fatalf("dropped: %v", l.State().dropped)
	}
	commit(t, l, pinEntry(23, true, sid(4)))
	commit(t, l, tagEntry(24, sid(3), sid(5)))
	named := signer(9, seal.Writer)
	named.Name = "web1"
	commit(t, l, &Entry{Kind: KindKeys, Session: sid(25), Clock: 9, Signers: []seal.Signer{named}})
	payload, err := EncodeState(l.State())
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeState(payload)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, l.State(), got)
}

func TestDecodeEntry_TagsThatAreNotThere_IsAnError(t *testing.T) {
	for name, harm := range map[string]func(e *Entry){
		"number beyond the tags": func(e *Entry) { e.TagsOf[1] = 2 },
		"one number too few":     func(e *Entry) { e.TagsOf = e.TagsOf[:1] },
		"one number too many":    func(e *Entry) { e.TagsOf = append(e.TagsOf, 0) },
		"no tags":                func(e *Entry) { e.Tags = nil },
	} {
		e := tagEntry(8, sid(2), sid(3))
		harm(e)
		payload, err := EncodeEntry(1, object.Hash{}, e)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := DecodeEntry(payload); err == nil {
			t.Errorf("%s: decodes", name)
		}
	}
}

func TestDecodeState_PacksThatAreNone_AreRefused(t *testing.T) {
	packs := map[object.Ref]Pack{ref(object.DataPack, 1, 1): {Size: 7, Added: 3}, ref(object.TreePack, 2, 2): {Size: 1 << 30, Added: 1 << 40}}
	joined := joinPacks(packs)
	if got, err := splitPacks(joined); err != nil || !maps.Equal(got, packs) {
		t.Fatalf("%v, %v", got, err)
	}
	sizeAt := refSize
	for name, b := range map[string][]byte{
		"cut":          joined[:len(joined)-1],
		"of no class":  append([]byte{byte(object.Index)}, joined[1:]...),
		"of no bytes":  slices.Concat(joined[:sizeAt], make([]byte, 4), joined[sizeAt+4:]),
		"of too many":  slices.Concat(joined[:sizeAt], []byte{255, 255, 255, 255}, joined[sizeAt+4:]),
		"one too many": append(slices.Clone(joined), joined[:refSize]...),
	} {
		if _, err := splitPacks(b); err == nil {
			t.Errorf("packs %s were taken", name)
		}
	}
}

func TestEncodeState_MoreThanCanBeRead_IsRefused(t *testing.T) {
	l, _ := makeLog(t, mem.New())
	if _, err := encodeState(l.State(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := encodeState(l.State(), 100); !errors.Is(err, ErrTooLarge) {
		t.Errorf("err = %v", err)
	}
}

func TestCheckpointDue_OfEachSize_GrowsWithIt(t *testing.T) {
	for _, c := range []struct {
		size    int64
		entries uint64
		bytes   int64
		want    bool
	}{
		{0, 1, 1, true}, // there is none
		{smallCheckpoint, 1, 1, true},
		{1 << 20, 63, 100 << 10, false},
		{1 << 20, 64, 100 << 10, true},
		{1 << 20, 1, 256 << 10, true},
		{256 << 20, 64, 100 << 10, false},
		{256 << 20, 4095, 4 << 20, false},
		{256 << 20, 4096, 4 << 20, true},
		{256 << 20, 10, 64 << 20, true},
	} {
		if got := (checkpointInfo{1, c.size}).due(c.entries, c.bytes); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
