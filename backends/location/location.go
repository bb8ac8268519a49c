package location

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/backends/sftp"
)

// ErrLocation is wrapped by the errors of Parse.
var ErrLocation = errors.New("location: not the location of a store")

// kind is a kind of store.
type kind struct {
	scheme string
	form   string // how its locations look, for messages
	open   func(ctx context.Context, rest string, o Options) (backends.Store, error)
	create func(ctx context.Context, rest string, o Options) (backends.Store, error)
	// canonical checks what follows the scheme, without any I/O, and returns its full form.
	canonical func(rest string) (string, error)
}

// Options are the settings of the kinds of stores that are not part of a location.
type Options struct {
	S3    s3.Options
	SFTP  sftp.Options
	Retry retry.Options
}

// kinds is every kind of store there is. The first is that of plain paths.
var kinds = []kind{
	{
		scheme: "local",
		form:   "/path or local:path",
		open: func(_ context.Context, path string, _ Options) (backends.Store, error) {
			return asStore(local.Open(path))
		},
		create: func(_ context.Context, path string, _ Options) (backends.Store, error) {
			return asStore(local.Create(path))
		},
		canonical: canonicalPath,
	},
	{
		scheme: "s3",
		form:   "s3:https://host/bucket/prefix",
		open: func(ctx context.Context, rest string, o Options) (backends.Store, error) {
			return inS3(ctx, rest, o, s3.Open)
		},
		create: func(ctx context.Context, rest string, o Options) (backends.Store, error) {
			return inS3(ctx, rest, o, s3.Create)
		},
		canonical: func(rest string) (string, error) {
			l, err := s3.ParseLocation(rest)
			return l.String(), err
		},
	},
	{
		scheme: "sftp",
		form:   "sftp:user@host:/path",
		open: func(ctx context.Context, rest string, o Options) (backends.Store, error) {
			return overSFTP(ctx, rest, o, sftp.Open)
		},
		create: func(ctx context.Context, rest string, o Options) (backends.Store, error) {
			return overSFTP(ctx, rest, o, sftp.Create)
		},
		canonical: func(rest string) (string, error) {
			l, err := sftp.ParseLocation(rest)
			if err != nil {
				return "", err
			}
			return l.String(), nil
		},
	},
}

func overSFTP(ctx context.Context, rest string, o Options, open func(context.Context, sftp.Location, sftp.Options) (*sftp.Store, error)) (backends.Store, error) {
	l, err := sftp.ParseLocation(rest)
	if err != nil {
		return nil, err
	}
	return asStore(open(ctx, l, o.SFTP))
}

func inS3(ctx context.Context, rest string, o Options, open func(context.Context, s3.Location, s3.Options) (*s3.Store, error)) (backends.Store, error) {
	l, err := s3.ParseLocation(rest)
	if err != nil {
		return nil, err
	}
	return asStore(open(ctx, l, o.S3))
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
			rest, err := k.canonical(rest)
			if err != nil {
				return Location{}, fmt.Errorf("%w: %w; supported: %s", ErrLocation, err, supported())
			}
			return Location{k, rest}, nil
		}
	}
	if strings.HasPrefix(rest, "//") { // which is no folder, and may have a password in it
		return Location{}, fmt.Errorf("%w: there are no %q stores, only %s", ErrLocation, scheme, supported())
	}
	return Location{}, fmt.Errorf("%w: there are no %q stores, only %s; if %q is a folder, write ./%s",
		ErrLocation, scheme, supported(), s, s)
}

func canonicalPath(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("the path is empty")
	case path == "~" || strings.HasPrefix(path, "~/"):
		return "", fmt.Errorf("%q starts with a ~ that no shell has replaced; write the whole path, or ./%s for a folder of that name", path, path)
	}
	return filepath.Abs(path)
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
func (l Location) Open(ctx context.Context, o Options) (backends.Store, error) {
	return patient(o)(l.kind.open(ctx, l.rest, o))
}

// Create opens a store and makes the place for it first where it is missing.
func (l Location) Create(ctx context.Context, o Options) (backends.Store, error) {
	return patient(o)(l.kind.create(ctx, l.rest, o))
}

// patient makes a store try again what may help.
func patient(o Options) func(backends.Store, error) (backends.Store, error) {
	return func(s backends.Store, err error) (backends.Store, error) {
		if err != nil {
			return nil, err
		}
		return retry.New(s, o.Retry), nil
	}
}
