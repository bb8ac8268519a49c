package fuzz

import (
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// FuzzObjects opens any bytes as an object of each class that has a decoder of its own, and once more sealed
// and signed with the right keys, so that the search reaches what is in them: a thief with a writer's key
// gets that far.
func FuzzObjects(f *testing.F) {
	k := sealKeyring(f)
	f.Add([]byte{}, uint64(1))
	f.Add([]byte("KURA"), uint64(1))
	if payload, err := log.EncodeEntry(1, object.Hash{}, &log.Entry{Kind: log.KindInit}); err == nil {
		f.Add(payload, uint64(1))
	}
	if payload, err := log.EncodeState(&log.State{N: 1}); err == nil {
		f.Add(payload, uint64(1))
	}
	f.Add(packDirectory(f), uint64(200))
	id := k.RepoID()
	if payload, err := wire.Marshal(map[int]any{1: id[:], 2: 7}); err == nil {
		f.Add(payload, uint64(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, n uint64) {
		openObjects(k, n, data, data, data, data)
		signed := func(class object.Class, bind []byte) []byte {
			body, err := k.SignBody(class, bind, data)
			if err != nil {
				t.Fatal(err)
			}
			obj, err := k.Seal(class, nil, bind, body)
			if err != nil {
				t.Fatal(err)
			}
			return obj
		}
		repoBind := seal.BindRepo(id)
		openObjects(k, n,
			signed(object.Config, repoBind),
			signed(object.LogEntry, seal.BindLog(id, 1, object.Hash{})),
			signed(object.Checkpoint, seal.BindCheckpoint(id, n)),
			data)
	})
}

func openObjects(k *seal.Keyring, n uint64, config, entry, checkpoint, obj []byte) {
	_, _ = repo.DecodeConfig(k, config)
	_, _ = log.OpenEntry(k, &log.State{Signers: known(k)}, entry)
	_, _ = log.OpenCheckpoint(k, n, checkpoint)
	_, _ = index.Decode(k, obj)
	_, _ = index.DecodeIDs(k, obj)
	_, _ = index.IDsEnd(obj)
	for _, class := range []object.Class{object.DataPack, object.TreePack} {
		_, _ = pack.OpenDirectory(k, class, obj)
		half := int(n % uint64(len(obj)+1))
		_, _ = pack.OpenDirectoryParts(k, class, obj[:half], obj[half:], int64(n%pack.MaxPackSize))
	}
	var tail [pack.TailSize]byte
	copy(tail[:], obj)
	_, _, _ = pack.DirectoryRange(int64(n%(1<<40)), tail)
}

// FuzzIndexObject opens index segments whose parts are sealed as they should be, and whose lengths are not.
func FuzzIndexObject(f *testing.F) {
	k := sealKeyring(f)
	f.Add([]byte{}, []byte{}, uint32(16), uint32(16), uint32(16))
	f.Add(make([]byte, 64), []byte{0xa0}, uint32(80), uint32(17), uint32(16))
	f.Fuzz(func(t *testing.T, ids, places []byte, a, b, c uint32) {
		clear := make([]byte, 0, 12)
		for _, n := range []uint32{a, b, c} {
			clear = append(clear, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
		}
		env, err := k.NewEnvelope(object.Index, clear, seal.BindRepo(k.RepoID()))
		if err != nil {
			t.Fatal(err)
		}
		obj := env.SealPart(env.Header(), 0, ids)
		obj = env.SealPart(obj, 1, places)
		obj = env.SealPart(obj, 2, nil)
		if _, err := index.Decode(k, obj); err == nil && len(ids)%len(object.BlobID{}) != 0 {
			t.Fatal("half an id")
		}
		_, _ = index.DecodeIDs(k, obj)
		_, _ = index.IDsEnd(obj)
	})
}

// FuzzHeader reads the header and the kind of slots, for which nobody needs a key.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("KURA\x02\x01\x01\x00"))
	f.Add(make([]byte, seal.HeaderSize))
	f.Fuzz(func(t *testing.T, obj []byte) {
		h, err := seal.ParseHeader(obj)
		if err != nil {
			checkSealError(t, err)
		} else if h.ClearLength > seal.MaxClear || h.Class == 0 {
			t.Fatalf("%+v", h)
		}
		if _, err := seal.ParseSlot(obj); err != nil {
			checkSealError(t, err)
		}
	})
}

// FuzzKeyFile reads key files: what is read is written in a way that is read the same.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("# kura\n kura-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"))
	f.Add([]byte("kura-key-1:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		secret, err := seal.DecodeKeyFile(text)
		if err != nil {
			if secret != [32]byte{} {
				t.Fatal("a secret and an error")
			}
			return
		}
		if again, err := seal.DecodeKeyFile(seal.EncodeKeyFile(secret)); err != nil || again != secret {
			t.Fatalf("read, written, and not read: %v", err)
		}
	})
}

// FuzzObjectNames parses what a listing of a store may return: what parses has that very name.
func FuzzObjectNames(f *testing.F) {
	sid := object.SessionID{1, 0xab, 15: 0xff}
	for class := object.DataPack; class <= object.Record; class++ {
		if class != object.Sign {
			f.Add(object.Ref{Class: class, Session: sid}.Name())
		}
	}
	for _, name := range []string{
		object.LogName(7), object.CheckpointName(1 << 60), object.SignName(sid, 3), object.SlotName("00112233aabbccdd", true),
		object.QuarantineName(object.Ref{Class: object.Index}), "log/1", "data/../x", "data/" + sid.String(), "",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if r, err := object.ParseRef(name); err == nil && r.Name() != name {
			t.Errorf("%q is %q", name, r.Name())
		}
		if r, err := object.ParseQuarantineName(name); err == nil && object.QuarantineName(r) != name {
			t.Errorf("%q is %q", name, object.QuarantineName(r))
		}
		if n, err := object.ParseNumbered(object.LogPrefix, name); err == nil && object.LogName(n) != name {
			t.Errorf("%q is %q", name, object.LogName(n))
		}
		if id, second, err := object.ParseSlotName(name); err == nil && object.SlotName(id, second) != name {
			t.Errorf("%q is %q", name, object.SlotName(id, second))
		}
		if sid, k, err := object.ParseSignName(name); err == nil && object.SignName(sid, k) != name {
			t.Errorf("%q is %q", name, object.SignName(sid, k))
		}
		if id, err := object.ParseBlobID(name); err == nil && id.String() != name {
			t.Errorf("%q is %v", name, id)
		}
		if id, err := object.ParseSessionID(name); err == nil && id.String() != name {
			t.Errorf("%q is %v", name, id)
		}
	})
}
