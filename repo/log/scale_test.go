package log

import (
	"encoding/binary"
	"flag"
	"runtime"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

var packsFlag = flag.Int("log.packs", 100_000, "live packs in the state of the benchmarks of scale, of which each tenth has a session, and a snapshot, of its own")

// manyPacks is a state with many packs.
func manyPacks(packs int) *State {
	st := newState()
	st.N, st.Hash[0] = uint64(packs/10+1), 1
	st.Signers[[8]byte{1}] = seal.Signer{ID: [8]byte{1}, Role: seal.Owner, Public: make([]byte, 32), Slot: make([]byte, slotKeySize)}
	var session object.SessionID
	for i := range packs {
		number := binary.LittleEndian.AppendUint64(nil, uint64(i))
		hash := object.Sum(number)
		if i%10 == 0 {
			session = object.SessionID(hash[16:])
			st.closed[session] = struct{}{}
			st.Index[object.Ref{Class: object.Index, Session: session, Hash: hash}] = 1 << 16
			st.Snapshots[session] = &Snapshot{
				ID: session, N: uint64(i / 10), Clock: int64(i), Run: session,
				Manifest: SealedManifest{Origin: seal.Origin{Kind: seal.Meta, Epoch: 1, Suite: 1, Sealed: make([]byte, 80)}, Ciphertext: make([]byte, 300)},
			}
		}
		st.Packs[object.Ref{Class: object.DataPack, Session: session, Hash: hash}] = Pack{Size: 16 << 20, Added: uint64(i / 10)}
	}
	return st
}

// heap is the memory that is in use.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkState says what a state costs that has many packs: in memory, to write down, to read, and to add an entry to.
func BenchmarkState(b *testing.B) {
	before := heap()
	st := manyPacks(*packsFlag)
	perPack := (heap() - before) / float64(*packsFlag)
	payload, err := EncodeState(st)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := EncodeState(st); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(perPack, "B-in-memory/pack")
		b.ReportMetric(float64(len(payload))/float64(*packsFlag), "B-stored/pack")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeState(payload); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("add an entry", func(b *testing.B) {
		b.ReportAllocs()
		e := snapshotEntry(1)
		for b.Loop() {
			if _, err := st.Apply(e, [8]byte{1}, object.Hash{2}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
