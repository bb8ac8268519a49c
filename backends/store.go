package backends

import (
	"context"
	"iter"
	"time"
)

// Store is a flat namespace of immutable objects. All methods are safe for
// concurrent use, and several Stores, in several processes and on several
// machines, may use one place at once.
//
// Every name given to Put, Get and Delete MUST satisfy [ValidName]; otherwise
// the error wraps [ErrName]. A class (the part before the slash) is never also
// the name of an object. Methods observe ctx: once it is done they return an
// error that wraps its cause as soon as they can. Errors tell through [KindOf]
// whether trying again can help.
type Store interface {
	// Put creates the object name with the bytes of data, which it neither
	// changes nor keeps. It MUST be create-only: of all concurrent callers
	// anywhere exactly one gets nil, the others an error wrapping [ErrExist],
	// as does everybody who comes later. An error wrapping ErrExist says
	// nothing about whose bytes the object has. Empty data is refused with
	// [ErrEmpty].
	//
	// When Put returns nil the object is durable and visible to all. After an
	// error of kind [Unclear] the object may exist now or appear later, with
	// all of its bytes; after any other error but ErrExist it was not created
	// by this call, unless the error says otherwise.
	Put(ctx context.Context, name string, data []byte) error

	// Get returns exactly length bytes of the object from offset on, or all
	// bytes from offset to the end when length is negative. It returns an
	// error wrapping [ErrNotExist] when there is no such object, one wrapping
	// [ErrTooLarge] for the whole of an object of more than [MaxObject] bytes, and a
	// [*RangeError] when the range is empty or not wholly inside the object. The
	// whole of an object that lost all of its bytes is no error: what is wrong
	// with it is for its reader to say.
	//
	// The result starts at the beginning of buf's memory when buf has the
	// capacity, whatever its length, and is newly allocated otherwise; buf may
	// be nil. Either way the memory belongs to the caller. After an error the
	// content of buf is undefined.
	Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error)

	// List yields the objects whose name starts with prefix and is greater
	// than after, in ascending byte order of their names. Both may be any
	// string. An object that exists from before the call until its end MUST be
	// yielded exactly once; one that is put or deleted meanwhile may be
	// yielded or not. After yielding an error List ends.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes the object. When there is none it returns nil or an error
	// wrapping [ErrNotExist]: not every store can tell. A deletion need not
	// survive a power failure.
	Delete(ctx context.Context, name string) error

	// Caps says what this store can do. It is probed, not guessed, and does
	// not change while the Store is open.
	Caps() Caps

	// Close releases what the Store holds. No method may be called during or
	// after it.
	Close() error
}

// Info describes an object.
type Info struct {
	Name    string
	Size    int64
	ModTime time.Time // when it was put, by the store's clock
}

// Caps says what a store can do.
type Caps struct {
	// CreateOnly: Put refuses a taken name atomically, whoever took it.
	// Without it a repository can only have a single writer.
	CreateOnly bool

	// Durable: what was put survives a power failure once Put returned nil.
	// False for stores in memory and file systems that cannot sync folders.
	Durable bool

	// Local: a request costs about as little as a system call, so that many
	// small reads are no worse than one large one.
	Local bool
}

// Sweeper is implemented by Stores that can leave litter behind when a process
// dies, such as the temporary files of interrupted Puts.
type Sweeper interface {
	// Sweep removes what no living process uses any more and returns how many
	// pieces it removed. It is safe at any time, beside any number of writers.
	Sweep(ctx context.Context) (removed int, err error)
}

// As returns the first of s and the Stores it wraps that is a T.
func As[T any](s Store) (T, bool) {
	for {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			var none T
			return none, false
		}
		s = w.Unwrap()
	}
}
