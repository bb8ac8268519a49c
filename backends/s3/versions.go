package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
)

// version is a version of an object. In a bucket without versions, and for what everybody sees, its id is
// empty.
type version struct{ name, id string }

// versions is what is known of the bucket's versions.
type versions struct {
	known  bool // whether the bucket has them was found out
	has    bool
	denied string // why versions can not be deleted, if so
	kept   int    // deletions that have only hidden
}

// versioned says whether the bucket has versions, or had them once. It asks when it needs to know for the
// first time. Where that is not permitted it says no: then the first deletion shows.
func (s *Store) versioned(ctx context.Context) (bool, error) {
	s.mu.Lock()
	v := s.versions
	s.mu.Unlock()
	if v.known {
		return v.has, nil
	}
	conf, err := s.core.GetBucketVersioning(ctx, s.bucket)
	if err != nil && !s.refused(err) {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions.known = true
	s.versions.has = s.versions.has || err == nil && (conf.Enabled() || conf.Suspended())
	return s.versions.has, nil
}

// refused says whether the server will not answer a question about the bucket, now or later.
func (s *Store) refused(err error) bool {
	r := minio.ToErrorResponse(err)
	if r.Code == minio.NoSuchBucket || r.StatusCode < 400 || r.StatusCode >= 500 && r.StatusCode != http.StatusNotImplemented {
		return false
	}
	kind, _ := s.judgeAnswer(request{op: "delete"}, r) // credentials that have just expired, say, are no answer
	return kind == backends.Permanent || r.Code == "400 Bad Request"
}

// foundVersions notes that the bucket has versions.
func (s *Store) foundVersions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions.known, s.versions.has = true, true
}

// Kept tells what was deleted and goes on taking up room; see [backends.Keeper].
func (s *Store) Kept() backends.Kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions.kept == 0 {
		return backends.Kept{}
	}
	return backends.Kept{Objects: s.versions.kept, Why: "the bucket has versions, and " + s.versions.denied}
}

// deletable says whether deleting versions was not refused yet.
func (s *Store) deletable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions.denied == ""
}

func (s *Store) setDenied(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions.denied == "" {
		s.versions.denied = why
	}
}

// history is what versions an object has.
type history struct {
	data    []version
	markers []version
	deleted bool // the newest is a marker: nobody sees the object
}

// deleteVersions deletes all versions of objects, or hides the objects where that is not permitted. A marker
// goes after what it hides: otherwise an object that can not be deleted would be back. hidden says that the
// objects were there, and have just got one.
func (s *Store) deleteVersions(ctx context.Context, names []string, hidden bool, report func(name string, err error)) {
	histories := map[string]*history{}
	if s.deletable() {
		var err error
		histories, err = s.histories(ctx, names)
		if minio.ToErrorResponse(err).StatusCode == http.StatusForbidden && s.refused(err) {
			s.setDenied("the credentials may not list them (s3:ListBucketVersions)")
		} else if err != nil {
			for _, name := range names {
				report(name, err)
			}
			return
		}
	}
	if !s.deletable() {
		s.hide(ctx, names, hidden, report)
		return
	}
	var data []version
	for _, name := range names {
		if h := histories[name]; h != nil {
			data = append(data, h.data...)
		}
	}
	var refused []removed
	s.remove(ctx, data, func(r removed) {
		if r.err != nil && minio.ToErrorResponse(r.err).Code != minio.NoSuchVersion {
			refused = append(refused, r)
		}
	})
	s.each(len(refused), func(i int) { refused[i].err = s.whyKept(ctx, refused[i].version, refused[i].err) })
	failed := map[string]error{}
	for _, r := range refused {
		failed[r.name] = r.err
	}
	s.settleVersions(ctx, names, hidden, histories, failed, report)
}

// settleVersions hides what could not be deleted for want of a permission, removes the markers that hide
// nothing any more, and reports.
func (s *Store) settleVersions(ctx context.Context, names []string, hidden bool, histories map[string]*history, failed map[string]error, report func(name string, err error)) {
	var markers []version
	var hide []string
	for _, name := range names {
		h, err := histories[name], failed[name]
		switch {
		case errors.Is(err, errMayNot) && h.deleted && !hidden:
			report(name, backends.ErrNotExist)
		case errors.Is(err, errMayNot):
			hide = append(hide, name)
		case err != nil:
			report(name, err)
		case !hidden && (h == nil || h.deleted):
			report(name, backends.ErrNotExist)
		default:
			report(name, nil)
		}
		if err == nil && h != nil {
			markers = append(markers, h.markers...)
		}
	}
	// A marker without anything behind it takes up no room and hides nothing: who fails to remove it has
	// deleted the object all the same.
	s.remove(ctx, markers, func(removed) {})
	if len(hide) > 0 {
		s.setDenied("the credentials may not delete them (s3:DeleteObjectVersion)")
		s.hide(ctx, hide, hidden, report)
	}
}

// hide makes objects invisible, unless they are so already, and counts them.
func (s *Store) hide(ctx context.Context, names []string, hidden bool, report func(name string, err error)) {
	count := func(r removed) {
		if r.err == nil {
			s.mu.Lock()
			s.versions.kept++
			s.mu.Unlock()
		}
		report(r.name, r.err)
	}
	if !hidden {
		s.remove(ctx, s.current(names), count)
		return
	}
	for _, v := range s.current(names) {
		count(removed{version: v})
	}
}

// errMayNot is a version that the credentials may not delete.
var errMayNot = errors.New("s3: not permitted to delete a version")

// whyKept finds out why a version can not be deleted: it is locked, or the credentials may not.
func (s *Store) whyKept(ctx context.Context, v version, err error) error {
	r := minio.ToErrorResponse(err)
	saysLocked := strings.Contains(r.Code, "ObjectLocked") || strings.Contains(strings.ToLower(r.Message), "object lock") || strings.Contains(r.Message, "WORM")
	if !saysLocked && (r.StatusCode != http.StatusForbidden || !s.refused(err)) {
		return err
	}
	l, herr := s.lockOf(ctx, v)
	switch {
	case herr == nil && l.hold:
		return &backends.LockedError{Name: v.name} // until somebody ends it
	case herr == nil && !l.until.IsZero():
		return &backends.LockedError{Name: v.name, Until: l.until}
	case saysLocked:
		return &backends.LockedError{Name: v.name}
	}
	return errMayNot
}

// skipAfter is how many versions nobody asked for are read before the list is started anew further on.
const skipAfter = maxBatch

// histories lists the versions of objects. The names must be in order. Neighbours come with one request; a
// new one is made where the next is far away.
func (s *Store) histories(ctx context.Context, names []string) (map[string]*history, error) {
	found := make(map[string]*history, len(names))
	alone := false // whether only the first name is listed
	for len(names) > 0 {
		first := names[0]
		opts := minio.ListObjectsOptions{WithVersions: true, Recursive: true, Prefix: s.base}
		if alone = alone || len(names) == 1; alone {
			opts.Prefix += first
		} else {
			// All of a name but its last character is before it, and hardly ever is much between.
			opts.StartAfter = s.base + first[:len(first)-1]
		}
		left, err := s.scan(ctx, opts, names, found)
		if err != nil {
			return nil, err
		}
		switch {
		case alone:
			alone, names = false, names[1:]
		case len(left) > 0 && left[0] == first:
			alone = true // there was much between after all
		default:
			names = left
		}
	}
	return found, nil
}

// scan adds the versions of names in a list, until it has passed the last of them or the next seems far
// away. It returns the names that may be further on.
func (s *Store) scan(ctx context.Context, opts minio.ListObjectsOptions, names []string, found map[string]*history) ([]string, error) {
	between := 0
	for object := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
		if object.Err != nil {
			return nil, object.Err
		}
		name, ours := strings.CutPrefix(object.Key, s.base)
		if !ours {
			return nil, fmt.Errorf("%w: it lists versions of %q for what begins with %q", ErrServer, object.Key, opts.Prefix)
		}
		for len(names) > 0 && names[0] < name {
			names = names[1:]
		}
		switch {
		case len(names) == 0 || between >= skipAfter:
			return names, nil
		case names[0] == name:
			add(found, name, object)
			between = 0
		default:
			between++
		}
	}
	return nil, ctx.Err() // with which the client stops without a word
}

func add(found map[string]*history, name string, object minio.ObjectInfo) {
	h := found[name]
	if h == nil {
		h = &history{}
		found[name] = h
	}
	v := version{name: name, id: object.VersionID}
	if object.IsDeleteMarker {
		h.markers = append(h.markers, v)
		h.deleted = h.deleted || object.IsLatest
		return
	}
	h.data = append(h.data, v)
}
