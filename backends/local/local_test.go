package local_test

import (
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backends/storetest"
)

func open(t testing.TB, dir string) *local.Store {
	t.Helper()
	s, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) backends.Store { return open(t, t.TempDir()) })
}
