package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"sync/atomic"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/sshrun"
)

// defaultConnections are as many as make use of a line on which each connection has its limit.
const defaultConnections = 5

// Options are how a server is reached. The zero value is right for most.
type Options struct {
	Command     string // in place of ssh with its arguments: anything that speaks SFTP on its input and output
	Args        string // further arguments of ssh, as in "-i /root/.ssh/backup -J gate"
	Connections int    // how many there may be at once; 0: 5

	// NoCreateOnly lets Put rename where nothing better is offered, though that may replace what has the name.
	// The caller MUST then see to it that there is a single writer.
	NoCreateOnly bool
}

// Store is a folder of objects on a server. It is safe for concurrent use, and any number of Stores in any
// number of processes may use one folder.
type Store struct {
	folder *local.Store
	pool   *pool
	caps   backends.Caps
	grace  time.Duration // how long an operation may go on after its context has ended
}

var (
	_ backends.Store   = (*Store)(nil)
	_ backends.Sweeper = (*Store)(nil)
)

// Open opens the store in an existing folder of a server. The error wraps [backends.ErrNoStore] when there is no
// such folder. An empty folder is a store without objects; nothing in it is changed.
func Open(ctx context.Context, l Location, o Options) (*Store, error) {
	return connect(ctx, l, o, func(r *remote) error {
		info, err := r.follow(l.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: the server has no folder %s", backends.ErrNoStore, l.Path)
		case err == nil && !info.IsDir():
			return fmt.Errorf("%w: %s is not a folder of the server", backends.ErrNoStore, l.Path)
		}
		return err
	})
}

// Create opens the store in a folder, which it makes first, with those above it, where it is missing.
func Create(ctx context.Context, l Location, o Options) (*Store, error) {
	return connect(ctx, l, o, func(r *remote) error {
		// The nearest folder above that is there, through whatever links it takes.
		above, rest := l.Path, "."
		for {
			_, err := r.follow(above)
			if err == nil {
				break
			}
			if up := path.Dir(above); errors.Is(err, fs.ErrNotExist) && up != above {
				above, rest = up, path.Join(path.Base(above), rest)
				continue
			}
			return err
		}
		if rest == "." {
			return nil
		}
		top := newRemote(r.pool, above)
		top.syncDirs = top.trySyncDir(".") == nil
		return durable.MkdirAll(top, rest, 0o700)
	})
}

func connect(ctx context.Context, l Location, o Options, prepare func(r *remote) error) (*Store, error) {
	if o.Connections < 0 {
		return nil, fmt.Errorf("%w: %d connections", ErrOptions, o.Connections)
	}
	if o.Connections == 0 {
		o.Connections = defaultConnections
	}
	if _, err := o.argv(l, true); err != nil {
		return nil, err
	}
	s := &Store{grace: grace, pool: newPool(o.Connections, func(mayAsk bool) (*sshrun.Process, func(), error) {
		argv, err := o.argv(l, mayAsk)
		if err != nil {
			return nil, nil, err
		}
		return sshrun.StartProcess(argv, mayAsk)
	})}
	err := s.within(ctx, func(*turn) error {
		r := newRemote(s.pool, l.Path)
		if err := prepare(r); err != nil {
			return err
		}
		err := r.trySyncDir(".")
		if _, isLost := lost(err); isLost {
			return err
		}
		r.syncDirs, r.mayReplace = err == nil, o.NoCreateOnly
		s.folder = local.New(r)
		s.caps = backends.Caps{CreateOnly: !o.NoCreateOnly, Durable: s.folder.Caps().Durable}
		return nil
	})
	if err != nil {
		return nil, errors.Join(&backends.Error{Op: "open", Name: l.String(), Kind: kindOf("open", err), Err: err}, s.pool.close())
	}
	return s, nil
}

// grace is time enough for an answer that is on its way.
var grace = 2 * time.Second

// turn says whether an operation waits for the server, or for whoever uses it.
type turn struct{ theirs atomic.Bool }

// within does an operation. When ctx ends and the operation does not, soon after, the connections that keep it
// waiting are broken; others that use them have to try again.
func (s *Store) within(ctx context.Context, op func(t *turn) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	defer s.pool.begin(ctx)()
	var t turn
	done, stopped := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ticker := time.NewTicker(s.grace)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if !t.theirs.Load() {
					s.pool.shake()
				}
			}
		}
	})
	err := op(&t)
	close(done)
	if !stop() {
		<-stopped
		if err != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
	return err
}

// kindOf says what may be done after an operation failed.
func kindOf(op string, err error) backends.Kind {
	if _, ok := errors.AsType[*durable.UnclearError](err); ok {
		return backends.Unclear
	}
	broken, ok := lost(err)
	if !ok {
		return backends.Permanent
	}
	_, inPlace := errors.AsType[*durable.SyncError](err)
	if op == "delete" || inPlace {
		return backends.Unclear
	}
	return broken.kind()
}

// do does an operation of the folder, and says of its errors what they mean here.
func (s *Store) do(ctx context.Context, op, name string, f func() error) error {
	err := s.within(ctx, func(*turn) error { return cause(f()) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, durable.ErrNoExclusive):
		err = fmt.Errorf("%w: %w", backends.ErrNoCreateOnly, err)
	}
	return &backends.Error{Op: op, Name: name, Kind: kindOf(op, err), Err: err}
}

// cause takes off the dressing of the folder's errors.
func cause(err error) error {
	if e, ok := err.(*backends.Error); ok {
		return e.Err
	}
	return err
}

// Put creates an object; see [backends.Store].
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	return s.do(ctx, "put", name, func() error { return s.folder.Put(ctx, name, data) })
}

// Get reads from an object; see [backends.Store].
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) (data []byte, err error) {
	err = s.do(ctx, "get", name, func() error {
		data, err = s.folder.Get(ctx, name, offset, length, buf)
		return err
	})
	return data, err
}

// List yields the objects; see [backends.Store].
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		err := s.within(ctx, func(t *turn) (failed error) {
			for info, err := range s.folder.List(ctx, prefix, after) {
				if err != nil {
					return cause(err)
				}
				t.theirs.Store(true)
				more := yield(info, nil)
				t.theirs.Store(false)
				if !more {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(backends.Info{}, &backends.Error{Op: "list", Name: prefix, Kind: kindOf("list", err), Err: err})
		}
	}
}

// Delete removes an object; see [backends.Store].
func (s *Store) Delete(ctx context.Context, name string) error {
	return s.do(ctx, "delete", name, func() error { return s.folder.Delete(ctx, name) })
}

// Caps says what the server can do. On one where nothing can be created without the risk of replacing another,
// Put fails with [backends.ErrNoCreateOnly], unless that was allowed.
func (s *Store) Caps() backends.Caps { return s.caps }

// Sweep removes the temporary files of dead writers; see [backends.Sweeper].
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	err = s.do(ctx, "sweep", "", func() error {
		removed, err = s.folder.Sweep(ctx)
		return err
	})
	return removed, err
}

// Close ends the connections, and returns when no process of theirs is left.
func (s *Store) Close() error { return s.folder.Close() }
