package repo_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// beyond is a store for which it pays to look ahead.
type beyond struct{ *mem.Store }

func (beyond) Caps() backends.Caps { return backends.Caps{CreateOnly: true, Durable: true} }

func TestOpen_SingleWriter_ChangesOnlyThroughTheStoreThatKeepsOthersOut(t *testing.T) {
	for name, store := range map[string]func(*mem.Store) backends.Store{
		"near": func(m *mem.Store) backends.Store { return m },
		"far":  func(m *mem.Store) backends.Store { return beyond{m} },
	} {
		t.Run(name, func(t *testing.T) {
			m := mem.New()
			r, err := repo.Init(t.Context(), store(m), repo.InitOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t), SingleWriter: true})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Config().SingleWriter {
				t.Error("the config does not say so")
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			o := repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)}
			if _, err := repo.Open(t.Context(), store(m), o); !errors.Is(err, repo.ErrSingleWriter) {
				t.Fatalf("%v", err)
			}
			plain, guarded := fault.New(store(m)), fault.New(store(m))
			o.SingleWriter = func(context.Context) (backends.Store, error) { return guarded, nil }
			r, err = repo.Open(t.Context(), plain, o)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			plain.Reset()
			if _, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Owner, Credential: seal.KeyFile([32]byte{7})}); err != nil {
				t.Fatal(err)
			}
			if err := r.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(plain.Calls()) > 0 {
				t.Errorf("past the guard: %v", plain.Calls())
			}
			if guarded.Count(fault.Put, "log/") == 0 {
				t.Error("no entry was put")
			}
		})
	}
}

func TestOpen_NoSingleWriter_AsksForNoGuard(t *testing.T) {
	_, m := testrepo.New(t)
	r, err := repo.Open(t.Context(), m, repo.OpenOptions{
		Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t),
		SingleWriter: func(context.Context) (backends.Store, error) { return nil, errors.New("asked") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestInit_CutOffWithAnotherMode_IsRefused(t *testing.T) {
	m := mem.New()
	o := repo.InitOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t), SingleWriter: true}
	r, err := repo.Init(t.Context(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	m.Tamper("config", nil)
	other := o
	other.SingleWriter = false
	if _, err := repo.Init(t.Context(), m, other); err == nil || !strings.Contains(err.Error(), "--single-writer") {
		t.Fatalf("%v", err)
	}
	r, err = repo.Init(t.Context(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
