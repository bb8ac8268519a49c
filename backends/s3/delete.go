package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
)

// maxBatch is how many objects one request can delete.
const maxBatch = 1000

// Delete removes an object; see [backends.Store]. That it was not there is only noticed in a bucket with
// versions.
func (s *Store) Delete(ctx context.Context, name string) error {
	var result error
	err := s.DeleteMany(ctx, []string{name}, func(_ string, err error) { result = err })
	if result == nil && err != nil {
		result = &backends.Error{Op: "delete", Name: name, Kind: backends.Unclear, Err: err}
	}
	return result
}

// DeleteMany removes objects, a thousand in a request; see [backends.BatchDeleter].
func (s *Store) DeleteMany(ctx context.Context, names []string, done func(name string, err error)) error {
	report := func(name string, err error) {
		done(name, s.fail(ctx, request{op: "delete", name: name, action: "s3:DeleteObject", write: true}, err))
	}
	var valid []string
	for _, name := range names {
		if err := backends.CheckName(name); err != nil {
			report(name, err)
			continue
		}
		valid = append(valid, name)
	}
	slices.Sort(valid)
	for batch := range slices.Chunk(slices.Compact(valid), maxBatch) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.deleteBatch(ctx, batch, report)
	}
	return context.Cause(ctx)
}

// deleteBatch deletes what one request can.
func (s *Store) deleteBatch(ctx context.Context, names []string, report func(name string, err error)) {
	versioned, err := s.versioned(ctx)
	if err != nil {
		for _, name := range names {
			report(name, err)
		}
		return
	}
	if versioned {
		s.deleteVersions(ctx, names, false, report)
		return
	}
	var hidden []string // the bucket has versions after all
	s.remove(ctx, s.current(names), func(r removed) {
		if r.marker {
			hidden = append(hidden, r.name)
			return
		}
		report(r.name, r.err)
	})
	if len(hidden) > 0 {
		s.foundVersions()
		s.deleteVersions(ctx, hidden, true, report)
	}
}

// current are the objects that everybody sees, whichever versions they have.
func (s *Store) current(names []string) []version {
	out := make([]version, len(names))
	for i, name := range names {
		out[i] = version{name: name}
	}
	return out
}

// removed is what became of a version.
type removed struct {
	version
	marker bool // it is only hidden
	err    error
}

// remove deletes versions, in as few requests as there can be, and reports each.
func (s *Store) remove(ctx context.Context, all []version, report func(removed)) {
	for batch := range slices.Chunk(all, maxBatch) {
		s.removeBatch(ctx, batch, report)
	}
}

func (s *Store) removeBatch(ctx context.Context, batch []version, report func(removed)) {
	left := make(map[version]bool, len(batch))
	objects := make([]minio.ObjectInfo, len(batch))
	for i, v := range batch {
		left[v] = true
		objects[i] = minio.ObjectInfo{Key: s.base + v.name, VersionID: v.id}
	}
	results, err := s.core.RemoveObjectsWithIter(ctx, s.bucket, slices.Values(objects), minio.RemoveObjectsOptions{})
	if err == nil {
		for r := range results {
			if r.ObjectName == "" {
				err = withStatus(r.Err)
				continue
			}
			v := version{name: strings.TrimPrefix(r.ObjectName, s.base), id: r.ObjectVersionID}
			if !left[v] {
				v.id = "" // some servers name a version that nobody asked for
			}
			if !left[v] {
				continue // said twice, or nothing of ours
			}
			if r.Err != nil && unsupported(r.Err) {
				err = r.Err
				break
			}
			delete(left, v)
			report(removed{version: v, marker: r.DeleteMarker && v.id == "", err: withStatus(r.Err)})
		}
	}
	var rest []removed
	for _, v := range batch {
		if left[v] {
			delete(left, v)
			rest = append(rest, removed{version: v, err: err})
		}
	}
	if err == nil || unsupported(err) {
		// The client says nothing of versions that the server does not know, and some servers delete only
		// one at a time.
		s.each(len(rest), func(i int) {
			r := &rest[i]
			r.err = s.core.RemoveObject(ctx, s.bucket, s.base+r.name, minio.RemoveObjectOptions{VersionID: r.id})
		})
	}
	for _, r := range rest {
		report(r)
	}
}

// each calls f for the numbers below n, as many at once as there are connections.
func (s *Store) each(n int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, s.opts.connections())
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			f(i)
			<-slots
		})
	}
	wg.Wait()
}

// unsupported says whether an error is that of a server that does not delete several objects in a request.
func unsupported(err error) bool {
	r := minio.ToErrorResponse(err)
	return r.StatusCode == http.StatusNotImplemented || r.StatusCode == http.StatusMethodNotAllowed
}

// withStatus completes the error of one object of many, which has only a code.
func withStatus(err error) error {
	r, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok || r.StatusCode != 0 {
		return err
	}
	switch r.Code {
	case minio.AccessDenied:
		r.StatusCode = http.StatusForbidden
	case minio.InternalError:
		r.StatusCode = http.StatusInternalServerError
	case "SlowDown", "ServiceUnavailable", "SlowDownWrite", "SlowDownRead":
		r.StatusCode = http.StatusServiceUnavailable
	case "OperationAborted", "ConditionalRequestConflict":
		r.StatusCode = http.StatusConflict
	case "TooManyRequests":
		r.StatusCode = http.StatusTooManyRequests
	case minio.MethodNotAllowed:
		r.StatusCode = http.StatusMethodNotAllowed
	}
	if r.Message == "" {
		r.Message = fmt.Sprintf("the server said %q to one of several deletions", r.Code)
	}
	return r
}
