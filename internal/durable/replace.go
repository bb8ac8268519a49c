package durable

import (
	"context"
	"path"
)

// WriteReplace puts data under name, in place of what was there: a reader, and
// a power failure, sees the old content or the new. It is meant for small files
// that one party owns, such as the manifest of a cache; of concurrent writers
// the last one wins. The folder must exist. The temporary file lies beside the
// name; [Sweep] on that folder removes those of dead writers.
func WriteReplace(ctx context.Context, fsys FS, name string, data []byte) error {
	dir := path.Dir(name)
	t, err := writeTemp(ctx, fsys, dir, data)
	if err != nil {
		return err
	}
	if err := fsys.Rename(t.name, name); err != nil {
		t.discard()
		return err
	}
	t.close()
	if err := syncIfCan(fsys, dir); err != nil {
		return &SyncError{name, err}
	}
	return nil
}
