package folderlock

import (
	"errors"
	"path/filepath"
	"testing"
)

// TestHold_WhileItIsFreed_WaitsForTheEnd begins to use a folder that somebody is about to free.
func TestHold_WhileItIsFreed_WaitsForTheEnd(t *testing.T) {
	path := t.TempDir()
	freeing, err := Lock(path)
	must(t, err)
	held := make(chan func())
	go func() { held <- Hold(path) }()
	freeing()
	release := <-held
	if _, err := Lock(path); !errors.Is(err, ErrInUse) {
		t.Errorf("it is not held: %v", err)
	}
	release()
}

func TestHold_MissingFolder_DoesNotMatter(t *testing.T) {
	Hold(filepath.Join(t.TempDir(), "none"))()
}
