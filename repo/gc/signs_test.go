package gc_test

import (
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/seal"
)

// TestRun_SignCopiedFromADeadSession_IsNotBelieved has two sessions at work. One gives a sign by which its process is no
// more, and the store shows that under the names of the other one's signs, too.
func TestRun_SignCopiedFromADeadSession_IsNotBelieved(t *testing.T) {
	r, store := testrepo.New(t)
	begin := func() *repo.Session {
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		testrepo.Save(t, s, object.DataBlob, testrepo.Random(1, 1<<20))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	dead, alive := begin(), begin()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	sign, err := r.LoadSign(t.Context(), testrepo.Names(t, store, object.SessionsPrefix+dead.ID().String())[0])
	if err != nil {
		t.Fatal(err)
	}
	boot, _, ok := strings.Cut(sign.Process, ":")
	if !ok {
		t.Skip("processes can not be told here")
	}
	sign.Process = boot + ":" + strconv.Itoa(ended.Process.Pid) + ":0"
	plain, err := wire.Marshal(sign)
	if err != nil {
		t.Fatal(err)
	}
	const k = 7
	obj, err := r.Keys().Seal(object.Sign, nil, seal.BindSign(r.Keys().RepoID(), dead.ID(), k), plain)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{object.SignName(dead.ID(), k), object.SignName(dead.ID(), k+1), object.SignName(alive.ID(), k)}
	for i, name := range names {
		if err := store.Put(t.Context(), name, obj); err != nil {
			t.Fatal(err)
		}
		got, err := r.LoadSign(t.Context(), name)
		switch {
		case i == 0 && (err != nil || !got.Dead()):
			t.Fatalf("%+v, %v", got, err)
		case i > 0 && !errors.As(err, new(*repo.DamageError)):
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if err := store.Delete(t.Context(), names[1]); err != nil {
		t.Fatal(err)
	}
	res := run(t, r, gc.Options{})
	if !slices.Equal(res.Revoked, []object.SessionID{dead.ID()}) || len(res.Open) != 1 || res.Open[0].ID != alive.ID() {
		t.Errorf("revoked %v, open %+v", res.Revoked, res.Open)
	}
}
