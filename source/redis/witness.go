package redis

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// The number of keys in a file may differ from what the server says before and after, since it goes on working, but not by more than this.
const (
	keysFactor = 2
	keysSlack  = 1000
)

// A file says in whole seconds when it was begun, and a server takes them from time(2), whose clock advances with the ticks of the kernel:
// a few milliseconds after TIME has said a new second it may still say the last one.
const clockSlack = time.Second

// witness knows what a server said before and after it saved, and whether a file can be what it saved. Two servers may see the same path, each
// in its own container: the file that lies there for us need not be this one's.
type witness struct {
	path        string
	old         os.FileInfo // nil if there was none
	began       time.Time   // by the server's clock, as are those in files
	opened      time.Time   // not before the file was
	least, most uint64      // keys
	replication string      // id
}

// watch notes what there is before a save.
func watch(ctx context.Context, c *conn, path string) (w *witness, err error) {
	w = &witness{path: path}
	if w.began, err = c.time(ctx); err != nil {
		return nil, err
	}
	w.old, _ = os.Stat(path) // why it can not be read is said when it is to be
	w.least, err = c.keys(ctx)
	w.most = w.least
	return w, err
}

// saved notes what there is after it, when the file was opened: the server may have saved once more by then.
func (w *witness) saved(ctx context.Context, c *conn, d *Details) (err error) {
	if w.opened, err = c.time(ctx); err != nil {
		return err
	}
	n, err := c.keys(ctx)
	w.least, w.most = min(w.least, n), max(w.most, n)
	w.replication = d.ReplicationID
	return err
}

// objects returns an error if the file can not be what the server has saved.
func (w *witness) objects(f *openedFile, d *Details) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	other := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s %s", ErrOtherFile, w.path, fmt.Sprintf(format, args...))
	}
	// A server makes a new file, and gives it the name of the old one.
	if w.old != nil && os.SameFile(w.old, info) && w.old.ModTime().Equal(info.ModTime()) {
		return other("is the one that was there before")
	}
	if d.SavedAt == nil {
		if info.ModTime().Before(w.began.Add(-clockSlack)) {
			return other("was written at %v, before the backup", info.ModTime().Format(time.RFC3339))
		}
		return nil
	}
	switch at := *d.SavedAt; {
	case at.Before(w.began.Add(-clockSlack)):
		return other("was begun at %v, before the backup", at.Format(time.RFC3339))
	case at.After(w.opened):
		return other("was begun at %v, and opened before that", at.Format(time.RFC3339))
	}
	facts := d.RDB.Info.Facts
	if id := facts["repl-id"]; id != "" && w.replication != "" && id != w.replication {
		return other("is of the replication %s, and the server of %s", id, w.replication)
	}
	if n := d.RDB.Keys; n > w.most*keysFactor+keysSlack || n*keysFactor+keysSlack < w.least {
		return other("has %d keys, and the server between %d and %d", n, w.least, w.most)
	}
	return nil
}

// keys returns how many keys the server has in all databases.
func (c *conn) keys(ctx context.Context) (n uint64, err error) {
	info, err := c.info(ctx, "keyspace")
	if err != nil {
		return 0, err
	}
	for _, text := range info { // db0:keys=2,expires=0,…
		for part := range strings.SplitSeq(text, ",") {
			if digits, ok := strings.CutPrefix(part, "keys="); ok {
				keys, err := strconv.ParseUint(digits, 10, 48)
				if err != nil {
					return 0, fmt.Errorf("%w: to INFO keyspace", errProtocol)
				}
				n += keys
			}
		}
	}
	return n, nil
}
