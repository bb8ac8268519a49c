package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/durabletest"
)

func TestWriteReplace_OrderOfOperations(t *testing.T) {
	path, fsys := folder(t)
	for _, data := range []string{"one", "two"} {
		fsys.Reset()
		if err := durable.WriteReplace(t.Context(), fsys, "manifest", []byte(data)); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"create put-*", "lock put-*", "write put-*", "sync put-*",
			"rename put-* manifest", "close put-*", "syncdir .",
		}
		if diff := cmp.Diff(want, fsys.Ops()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if got, _ := content(t, filepath.Join(path, "manifest")); string(got) != data {
			t.Errorf("content %q, want %q", got, data)
		}
	}
}

func TestWriteReplace_EveryOperationFailsInTurn_OldOrNewContent(t *testing.T) {
	harmless := map[string]bool{"lock": true, "close": true}
	for _, when := range []durabletest.When{durabletest.Before, durabletest.After} {
		for target := 0; ; target++ {
			path, fsys := folder(t)
			manifest := filepath.Join(path, "manifest")
			if err := os.WriteFile(manifest, []byte("old one"), 0o600); err != nil {
				t.Fatal(err)
			}
			var failed string
			fsys.Fail = func(n int, op durabletest.Op) (durabletest.When, error) {
				if n == target {
					failed = op.Kind
					return when, errDisk
				}
				return 0, nil
			}
			err := durable.WriteReplace(t.Context(), fsys, "manifest", []byte("new"))
			if failed == "" {
				break
			}
			got, _ := content(t, manifest)
			if s := string(got); s != "new" && s != "old one" || err == nil && s != "new" {
				t.Errorf("when %d, %s: content %q, err %v", when, failed, got, err)
			}
			if harmless[failed] != (err == nil) {
				t.Errorf("when %d, %s: err %v", when, failed, err)
			}
			if failed != "create" && litter(t, path) != 1 {
				t.Errorf("when %d, %s: temporary file left", when, failed)
			}
		}
	}
}
