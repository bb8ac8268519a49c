package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
)

// List yields the objects; see [backends.Store]. It is a request for each thousand.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		err := s.list(ctx, prefix, after, func(i backends.Info) bool { return yield(i, nil) })
		if err != nil {
			yield(backends.Info{}, s.fail(ctx, request{op: "list", name: prefix, action: "s3:ListBucket"}, err))
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, after string, yield func(backends.Info) bool) error {
	if prefix != "" && !backends.ValidName(prefix) && !backends.ValidName(prefix+"0") {
		return ctx.Err() // no name starts like this
	}
	no := false
	opts := minio.ListObjectsOptions{Prefix: s.base + prefix, Recursive: true, FetchOwner: &no}
	if after := clean(after); after != "" {
		opts.StartAfter = s.base + after
	}
	last := ""
	for object := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
		if object.Err != nil {
			return object.Err
		}
		name, ours := strings.CutPrefix(object.Key, s.base)
		if !ours { // then it does not list what it was asked for, and may leave that out
			return fmt.Errorf("%w: it lists %q for what begins with %q", ErrServer, object.Key, opts.Prefix)
		}
		if !strings.HasPrefix(name, prefix) || !backends.ValidName(name) || name <= after {
			continue
		}
		if name <= last {
			return fmt.Errorf("%w: it lists %s after %s", ErrServer, name, last)
		}
		last = name
		if !yield(backends.Info{Name: name, Size: object.Size, ModTime: object.LastModified}) {
			return nil
		}
	}
	return ctx.Err() // with which the client stops without a word
}

// clean is the beginning of a string that has nothing but what names are made of.
func clean(s string) string {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '/' {
			return s[:i]
		}
	}
	return s
}
