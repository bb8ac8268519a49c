package repo_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo"
)

// TestManifest_Details_AreAnObjectOrRefused: those who show it as JSON rely on that. What a later version has made larger than this one would is
// read, and is kept in copies.
func TestManifest_Details_AreAnObjectOrRefused(t *testing.T) {
	r, _ := testrepo.New(t)
	root := object.BlobID{1}
	frame := len(`{"a":""}`)
	for details, ok := range map[string]bool{
		"": true, "{}": true, `{"a":[1,{"b":null}]}`: true, " {}": true, " \t\r\n{} \n": true, `{"a":"` + strings.Repeat("x", 1<<20-frame) + `"}`: true,
		"null": false, "[]": false, `"a"`: false, "1": false, `{"a":1`: false, `{"a":1}}`: false, " []": false, " ": false, "\v{}": false, "x": false,
		`{"a":"` + strings.Repeat("x", 1<<20-frame+1) + `"}`: false,
	} {
		plain, err := wire.Marshal(&repo.Manifest{Time: 1, Root: root[:], Details: details})
		if err != nil {
			t.Fatal(err)
		}
		m, err := repo.DecodeManifest(zst.Encode(nil, plain, zst.Default))
		if (err == nil) != ok || ok && m.Details != details {
			t.Errorf("%.20q: %v", details, err)
		}
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		written := testrepo.Manifest(t, s, []byte("x"))
		written.Details = details
		if _, err := s.Commit(repo.CommitOptions{Manifest: written}); (err == nil) != ok {
			t.Errorf("%.20q was committed: %v", details, err)
		}
	}
}

// TestManifest_ThatNobodyCouldRead_IsNotCommitted: it would be a snapshot that is there, can not be restored, and whose data
// collecting does not know to be needed.
func TestManifest_ThatNobodyCouldRead_IsNotCommitted(t *testing.T) {
	for name, change := range map[string]func(*repo.Manifest){
		"host":     func(m *repo.Manifest) { m.Host = "caf\xe9" },
		"user":     func(m *repo.Manifest) { m.User = "\xff" },
		"tag":      func(m *repo.Manifest) { m.Tags = []string{"a", "\xc3"} },
		"excludes": func(m *repo.Manifest) { m.Excludes = []string{"/srv/\xe9"} },
		"program":  func(m *repo.Manifest) { m.Program = "\x80" },
		"source":   func(m *repo.Manifest) { m.Source = "\x80" },
		"paths":    func(m *repo.Manifest) { m.Paths = [][]byte{make([]byte, 9<<20), make([]byte, 9<<20)} },
	} {
		r, _ := testrepo.New(t)
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m := testrepo.Manifest(t, s, []byte("x"))
		change(m)
		if err := m.Check(); !errors.Is(err, repo.ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, repo.ErrManifest) {
			t.Errorf("%s was committed: %v", name, err)
		}
	}
}
