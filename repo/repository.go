package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/longlock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/caches"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Repository is an open repository. It is safe for concurrent use.
type Repository struct {
	store  backends.Store
	slot   string // id of the key slot that was opened; empty after Init; guarded by mu
	hasher *seal.BlobHasher
	config *Config
	log    *log.Log
	cache  *cache
	far    FarIndex // nil: the index is in the cache
	segs   *segmentCache
	trees  *treeCache // nil where the store is near, or nobody reads what would be in it
	bases  *baseCache // nil where the store is near and can be read, or nothing is kept for the next time

	bad    badPacks
	mended mendedPacks
	lost   lostBases
	groups groupIndex

	mu    longlock.Mutex // guards index and slot
	index *Index
	views *views
}

// OpenOptions say how to open a repository.
type OpenOptions struct {
	// Credential opens a key slot. It is required, but with Keys.
	Credential seal.Credential
	// Keys are used in place of those in a slot: a keyring that was lent (seal.Borrow). Whoever lends it keeps other writers
	// away where that is needed.
	Keys *seal.Keyring
	// Index is asked in place of a local one. Nil: the index is kept in the cache.
	Index FarIndex
	// CacheDir is the folder for the caches of all repositories. Empty means a throw-away
	// cache, which costs time at every opening and forgets what the log looked like.
	CacheDir string
	// SingleWriter returns the store again, wrapped so that no other client writes while this one does. It is
	// called where the config says that this is needed. Without it such repositories are not opened.
	SingleWriter func(context.Context) (backends.Store, error)
}

// Open opens the repository in store. The error is ErrNoRepository, ErrWrongKey, a DamageError, or
// one of package log's. The store is not closed with the Repository.
func Open(ctx context.Context, store backends.Store, o OpenOptions) (*Repository, error) {
	front, stop := lookAhead(ctx, store, o.Keys == nil)
	defer stop()
	if o.Keys != nil {
		return openLent(ctx, store, front, o)
	}
	var r *Repository
	leased := false
	err := openKeys(ctx, front, o.Credential, func(keys *seal.Keyring, slot string) error {
		config, err := loadConfig(ctx, front, keys)
		if err != nil {
			return notThis{err} // the slot of an init that was cut off
		}
		if config.SingleWriter && !leased {
			stop()
			if o.SingleWriter == nil {
				return ErrSingleWriter
			}
			if store, err = o.SingleWriter(ctx); err != nil {
				return err
			}
			front, leased = store, true
		}
		r, err = open(store, keys, config, &o, func(seen log.Mark) (*log.Log, error) {
			l, err := openLog(ctx, front, keys, seen)
			if errors.Is(err, log.ErrRollback) {
				stop() // what was asked for ahead is older than what another process has noted as seen since
				l, err = openLog(ctx, front, keys, seen)
			}
			return l, err
		})
		if errors.Is(err, log.ErrRotated) || errors.Is(err, log.ErrWithdrawn) {
			return notThis{err} // the rest of a rotation, or of a key, that was cut off
		}
		if err == nil {
			r.slot = slot
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// openLent is Open with a keyring that was lent.
func openLent(ctx context.Context, store, front backends.Store, o OpenOptions) (*Repository, error) {
	config, err := loadConfig(ctx, front, o.Keys)
	if err != nil {
		return nil, err
	}
	return open(store, o.Keys, config, &o, func(seen log.Mark) (*log.Log, error) { return openLog(ctx, front, o.Keys, seen) })
}

func openLog(ctx context.Context, store backends.Store, keys *seal.Keyring, seen log.Mark) (*log.Log, error) {
	l, err := log.Open(ctx, store, keys, seen)
	if err == nil && !l.State().Knows(keys) {
		err = log.ErrWithdrawn
	}
	return l, err
}

func open(store backends.Store, keys *seal.Keyring, config *Config, o *OpenOptions, openLog func(log.Mark) (*log.Log, error)) (_ *Repository, err error) {
	c, err := openCache(o.CacheDir, keys.RepoID())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	seen, err := c.seen()
	if err != nil {
		return nil, err
	}
	l, err := openLog(seen)
	if errors.Is(err, log.ErrRollback) {
		return nil, fmt.Errorf("%w. If the repository was put back from a copy on purpose, remove %s and run kura again", err, c.seenPath())
	}
	if err != nil {
		return nil, err
	}
	r := &Repository{
		store: store, hasher: keys.BlobHasher(), config: config, log: l, cache: c, far: o.Index,
		segs: newSegmentCache(segmentCacheSize), views: new(views),
	}
	lent := o.Keys != nil // to somebody who keeps nothing for the next time
	if !store.Caps().Local && (!lent || keys.CanRead(seal.Meta)) {
		r.trees = newTreeCache(c.treesDir())
	}
	if (!store.Caps().Local || !keys.CanRead(seal.Data)) && !lent {
		r.bases = newBaseCache(r, c.basesDir())
	}
	return r, r.remember()
}

// Close releases the caches. The store stays open.
func (r *Repository) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index = nil
	return errors.Join(r.views.close(), r.cache.close())
}

// remember notes how far the log certainly goes, so that a later opening notices a rollback.
func (r *Repository) remember() error { return r.cache.setSeen(r.log.Sure()) }

// CacheError says why the folder for caches can not be written, or is nil. Everything works without it; what
// costs is making the cache anew each time, and that nothing new is remembered of the log.
func (r *Repository) CacheError() error { return r.cache.unusable }

// NoteLocation remembers in the cache where the repository is, for people who look through their caches.
func (r *Repository) NoteLocation(location string) { caches.NoteLocation(r.cache.dir, location) }

// Config is the repository's configuration.
func (r *Repository) Config() Config { return *r.config }

// Store is where the repository's objects are. Changing it goes past the protocol.
func (r *Repository) Store() backends.Store { return r.store }

// Keys is the keyring that the credential opened, up to the epoch that counts now.
func (r *Repository) Keys() *seal.Keyring { return r.log.Keys() }

// Log is the repository's log.
func (r *Repository) Log() *log.Log { return r.log }

// State is the newest state known; Refresh looks for a newer one.
func (r *Repository) State() *log.State { return r.log.State() }

// Refresh folds what others have added to the log.
func (r *Repository) Refresh(ctx context.Context) error {
	if err := r.log.Refresh(ctx); err != nil {
		return err
	}
	return r.remember()
}

// Commit adds an entry to the log; see [log.Log.Commit]. It is for forget and the collector;
// snapshots are committed by a Session.
func (r *Repository) Commit(ctx context.Context, build log.Build) (*log.State, error) {
	st, err := r.log.Commit(ctx, build)
	if err != nil {
		return st, err
	}
	// The entry is in the log. Without the mark in the cache a rollback may go unnoticed once, without
	// the checkpoint the next opening takes longer: neither makes the commit a failure.
	_ = r.remember()
	_ = r.log.MaybeCheckpoint(ctx)
	return st, nil
}

// ErrMoved is returned by a build function that found the log to have moved on while it worked.
var ErrMoved = errors.New("repo: the log moved on")

// CommitReading is Commit for an entry whose making reads objects. Another collector can make them go, or the
// log can move on meanwhile (ErrMoved): then the entry is made again on the newer state, as long as there is
// a newer one.
func (r *Repository) CommitReading(ctx context.Context, build log.Build) (*log.State, error) {
	for {
		before := r.State()
		st, err := r.Commit(ctx, build)
		if err == nil || !errors.Is(err, ErrMoved) && !errors.Is(err, backends.ErrNotExist) {
			return st, err
		}
		if rerr := r.Refresh(ctx); rerr != nil {
			return st, rerr
		}
		if r.State() == before {
			return st, err
		}
	}
}

// BlobID names a blob.
func (r *Repository) BlobID(t object.BlobType, plaintext []byte) object.BlobID {
	return r.hasher.ID(t, plaintext)
}
