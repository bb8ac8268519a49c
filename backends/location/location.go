package location

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
)

// ErrLocation is wrapped by the errors of Parse.
var ErrLocation = errors.New("location: not the location of a store")

// kind is a kind of store.
type kind struct {
	scheme string
	form   string // how its locations look, for messages
	open   func(ctx context.Context, rest string) (backends.Store, error)
	create func(ctx context.Context, rest string) (backends.Store, error)
}

// kinds is every kind of store there is. The first is that of plain paths.
var kinds = []kind{
	{
		scheme: "local",
		form:   "/path or local:path",
		open: func(_ context.Context, path string) (backends.Store, error) {
			return asStore(local.Open(path))
		},
		create: func(_ context.Context, path string) (backends.Store, error) {
			return asStore(local.Create(path))
		},
	},
}

// asStore keeps a nil pointer from becoming a Store that is not nil.
func asStore[S backends.Store](s S, err error) (backends.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Location names a store. It is a value; its string opens the same store from
// any working directory.
type Location struct {
	kind *kind
	rest string
}

// Parse understands a location. It looks at nothing but the string and, for a
// relative path, the working directory.
func Parse(s string) (Location, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || strings.Contains(scheme, "/") {
		scheme, rest = kinds[0].scheme, s
	}
	for i := range kinds {
		if k := &kinds[i]; k.scheme == scheme {
			return parsePath(k, rest)
		}
	}
	return Location{}, fmt.Errorf("%w: there are no %q stores, only %s; if %q is a folder, write ./%s",
		ErrLocation, scheme, supported(), s, s)
}

func parsePath(k *kind, path string) (Location, error) {
	switch {
	case path == "":
		return Location{}, fmt.Errorf("%w: the path is empty; supported: %s", ErrLocation, supported())
	case path == "~" || strings.HasPrefix(path, "~/"):
		return Location{}, fmt.Errorf("%w: %q starts with a ~ that no shell has replaced; write the whole path, or ./%s for a folder of that name",
			ErrLocation, path, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Location{}, err
	}
	return Location{k, path}, nil
}

func supported() string {
	forms := make([]string, len(kinds))
	for i, k := range kinds {
		forms[i] = k.form
	}
	return strings.Join(forms, ", ")
}

// String is the location in its full form.
func (l Location) String() string { return l.kind.scheme + ":" + l.rest }

// Open opens a store. The error wraps [backends.ErrNoStore] when there is none.
func (l Location) Open(ctx context.Context) (backends.Store, error) {
	return l.kind.open(ctx, l.rest)
}

// Create opens a store and makes the place for it first where it is missing.
func (l Location) Create(ctx context.Context) (backends.Store, error) {
	return l.kind.create(ctx, l.rest)
}
