package folderlock

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

// Temporary makes a folder with a name of its own behind the prefix, and holds it until it is released; removing it is up
// to the caller. Nobody does when the process is killed: so it first removes such folders of this user that nobody holds. One that was
// changed less than young ago stays, since it may be about to be held. What can not be removed does not matter.
func Temporary(root, prefix string, young time.Duration) (path string, release func(), err error) {
	sweep(root, prefix, young)
	if path, err = os.MkdirTemp(root, prefix); err != nil {
		return "", nil, err
	}
	return path, Hold(path), nil
}

func sweep(root, prefix string, young time.Duration) {
	entries, _ := os.ReadDir(root)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil || clock.Since(info.ModTime()) < young {
			continue
		}
		if uid, known := Owner(info); !known || uid != os.Geteuid() {
			continue
		}
		path := filepath.Join(root, e.Name())
		if release, err := Lock(path); err == nil {
			_ = os.RemoveAll(path)
			release()
		}
	}
}
