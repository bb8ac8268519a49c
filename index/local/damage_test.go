package local

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
)

// damaged makes a folder with two levels and lets harm change it.
func damaged(t *testing.T, harm func(t *testing.T, dir string, levels []string)) (*store, *DB, string) {
	s := newStore(testrand.New(t))
	sketched(s, 1000)
	dir := t.TempDir()
	db := open(t, dir)
	s.add(s.session(), s.ids(2000))
	s.sync(t, db, s.refs)
	s.add(s.session(), s.ids(100))
	s.sync(t, db, s.refs)
	levels := files(t, dir, levelPrefix)
	if len(levels) != 2 {
		t.Fatalf("%d levels", len(levels))
	}
	harm(t, dir, levels)
	return s, db, dir
}

func rewrite(t *testing.T, name string, edit func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, edit(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSync_DamagedFolder_Rebuilt(t *testing.T) {
	notShort(t)
	cases := map[string]func(t *testing.T, dir string, levels []string){
		"level removed":  func(t *testing.T, _ string, l []string) { os.Remove(l[0]) },
		"level cut":      func(t *testing.T, _ string, l []string) { os.Truncate(l[0], 8192) },
		"level empty":    func(t *testing.T, _ string, l []string) { os.Truncate(l[0], 0) },
		"level longer":   func(t *testing.T, _ string, l []string) { os.Truncate(l[0], 1<<20) },
		"newest removed": func(t *testing.T, _ string, l []string) { os.Remove(l[1]) },
		"level zeroed": func(t *testing.T, _ string, l []string) {
			rewrite(t, l[0], func(b []byte) []byte { clear(b); return b })
		},
		"meta pages torn": func(t *testing.T, _ string, l []string) {
			rewrite(t, l[0], func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b })
		},
		"another level's content": func(t *testing.T, _ string, l []string) {
			rewrite(t, l[0], func(b []byte) []byte {
				other, err := os.ReadFile(l[1])
				if err != nil {
					t.Fatal(err)
				}
				return append(other, make([]byte, len(b)-len(other))...)
			})
		},
		"level is a folder": func(t *testing.T, _ string, l []string) { os.Remove(l[0]); os.Mkdir(l[0], 0o700) },
		"manifest removed":  func(t *testing.T, dir string, _ []string) { os.Remove(filepath.Join(dir, manifestName)) },
		"manifest cut":      func(t *testing.T, dir string, _ []string) { os.Truncate(filepath.Join(dir, manifestName), 50) },
		"manifest empty":    func(t *testing.T, dir string, _ []string) { os.Truncate(filepath.Join(dir, manifestName), 0) },
		"manifest bit flip": func(t *testing.T, dir string, _ []string) {
			rewrite(t, filepath.Join(dir, manifestName), func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
		},
	}
	for name, harm := range cases {
		t.Run(name, func(t *testing.T) {
			s, db, _ := damaged(t, harm)
			loads := s.loads
			s.check(t, s.sync(t, db, s.refs), s.refs)
			if s.loads == loads {
				t.Error("nothing was loaded again")
			}
			loads = s.loads
			s.check(t, s.sync(t, db, s.refs), s.refs)
			if s.loads != loads {
				t.Error("loaded again after the repair")
			}
		})
	}
}

func TestLookup_FileCutOffInUse_ErrorInsteadOfACrash(t *testing.T) {
	s, db, _ := damaged(t, func(*testing.T, string, []string) {})
	v := s.sync(t, db, s.refs)
	if err := os.Truncate(v.levels[0].path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	for id := range s.facts(s.refs) {
		v.Lookup(id, nil)
	}
	if err := v.Err(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("error %v", err)
	}
	var err error
	for _, err = range v.All(t.Context()) {
		if err != nil {
			break
		}
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("iteration: error %v", err)
	}
	if _, err := v.Pack(0); !errors.Is(err, ErrDamaged) {
		t.Errorf("pack: error %v", err)
	}
	if err := v.Verify(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("verify: error %v", err)
	}
	s.check(t, s.sync(t, db, s.refs), s.refs) // the next Sync has it right
}

// Every page of a level in turn is overwritten with noise while the file keeps its size: the
// answers may be wrong then, but nothing crashes, and Verify finds it.
func TestView_NoiseInAnyPage_NoCrashAndVerifyFindsIt(t *testing.T) {
	notShort(t)
	s, db, _ := damaged(t, func(*testing.T, string, []string) {})
	v := s.sync(t, db, s.refs)
	name := v.levels[0].path
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	facts, sketches := s.facts(s.refs), s.sketches(s.refs)
	page := os.Getpagesize()
	for at := 0; at < len(good); at += page {
		bad := append([]byte(nil), good...)
		if s.rand.IntN(2) == 0 {
			fill(s.rand, bad[at:at+page])
		} else {
			for range 20 {
				bad[at+s.rand.IntN(page)] ^= 1 << s.rand.IntN(8)
			}
		}
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := v.levels[0].open(filepath.Dir(name))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			continue
		}
		noisy := newView([]*openLevel{o}, wantedOf(s.refs), 2)
		for id := range facts {
			for _, p := range noisy.Lookup(id, nil) {
				_, _ = noisy.Pack(p.Pack)
				_, _ = noisy.Origin(p.Origin)
			}
		}
		for _, sk := range sketches {
			noisy.Similar(sk[0], nil)
		}
		for range noisy.All(t.Context()) {
		}
		if err := noisy.Verify(t.Context()); !errors.Is(err, ErrDamaged) {
			t.Fatalf("noise at %d: verify says %v", at, err)
		}
		if err := noisy.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestView_Closed_LookupsFindNothingAndSaySo(t *testing.T) {
	s := newStore(testrand.New(t))
	s.add(s.session(), s.ids(10))
	v := s.sync(t, open(t, t.TempDir()), s.refs)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if got := v.Lookup(object.BlobID{}, nil); len(got) != 0 {
		t.Errorf("places %v", got)
	}
	if err := v.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
	if _, err := v.Pack(0); !errors.Is(err, ErrClosed) {
		t.Errorf("pack: error %v", err)
	}
	if err := v.Verify(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("verify: error %v", err)
	}
}
