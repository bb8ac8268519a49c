package thief_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/log"
)

// needed are the classes whose loss costs something. Of the others, and of second copies, there is enough.
var needed = []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.LogPrefix}

// TestOverwriting_AnyObject_IsNoticedAndNothingFalseIsRead gives the thief the rights to overwrite and delete, too. Then
// loss can not be prevented. Each object in turn is deleted, replaced by garbage, and by another of its class:
// what is read is what was written or an error, and check reports what costs something.
func TestOverwriting_AnyObject_IsNoticedAndNothingFalseIsRead(t *testing.T) {
	t.Setenv("TMPDIR", testsys.MemoryDir(t)) // for caches of clients without a folder for them
	w := newWorld(t)
	clean := w.store
	counts := map[string]int{}
	for info, err := range clean.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		class := info.Name[:strings.IndexByte(info.Name, '/')+1]
		w.store = clean
		for how, data := range w.replacements(info.Name, class) {
			counts[class+" "+how]++
			w.store = clean.Clone()
			w.store.Tamper(info.Name, data)
			w.wantNoLies(info.Name+" "+how, slices.Contains(needed, class))
		}
	}
	t.Logf("%v", counts)
}

func (w *world) replacements(name, class string) map[string][]byte {
	out := map[string][]byte{"deleted": nil, "garbage": []byte("garbage")}
	for _, other := range testrepo.Names(w.t, w.store, class) {
		if other != name && class != "" {
			obj, err := w.store.Get(w.t.Context(), other, 0, -1, nil)
			if err != nil {
				w.t.Fatal(err)
			}
			out["another's"] = obj
			break
		}
	}
	return out
}

// wantNoLies reads everything and checks the repository as somebody who has not seen it before.
func (w *world) wantNoLies(what string, must bool) {
	w.t.Helper()
	r, err := repo.Open(w.t.Context(), w.store, repo.OpenOptions{Credential: testrepo.Credential})
	if err != nil {
		return // noticed
	}
	defer r.Close()
	lost := 0
	for _, h := range w.honest {
		got, err := testrepo.ReadFile(w.t, r, h.snap)
		if err != nil {
			lost++
		} else if !bytes.Equal(got, bytes.Join(h.parts, nil)) {
			w.t.Errorf("%s: other bytes were read", what)
		}
	}
	rep, err := check.Run(w.t.Context(), r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		return
	}
	if (must || lost > 0) && rep.Damaged() == 0 {
		w.t.Errorf("%s: nobody noticed; %d snapshots are lost", what, lost)
	}
}

// TestOverwriting_OlderStateOfTheStore_IsNoticedByWhoeverSawTheNewer puts the whole store back. Whoever was there before
// notices; a client without memory can not.
func TestOverwriting_OlderStateOfTheStore_IsNoticedByWhoeverSawTheNewer(t *testing.T) {
	w := newWorld(t)
	old := w.store.Clone()
	cache := t.TempDir()
	open := func(store *mem.Store) error {
		r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cache})
		if err == nil {
			err = r.Close()
		}
		return err
	}
	w.backUp(testrepo.Random(50, 300<<10))
	w.backUp(testrepo.Random(51, 300<<10))
	if err := open(w.store); err != nil {
		t.Fatal(err)
	}
	if err := open(old); !errors.Is(err, log.ErrRollback) {
		t.Errorf("opened with %v, want ErrRollback", err)
	}
	testrepo.Open(t, old)
}
