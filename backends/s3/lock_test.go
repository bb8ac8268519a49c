package s3_test

import (
	"errors"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

const days = 24 * time.Hour

// near says whether a time is some days from now, as far as machines agree.
func near(t *testing.T, at time.Time, from time.Duration) {
	t.Helper()
	if off := time.Until(at) - from; off < -time.Hour || off > time.Hour {
		t.Errorf("%v is %v from now, want %v", at, time.Until(at), from)
	}
}

func TestLock_PutDeleteExtend(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		s := create(t, loc, s3.Options{LockDays: 10})
		if s.LockDays() != 10 {
			t.Errorf("LockDays: %d", s.LockDays())
		}
		put(t, s, "config", "data/aa", "data/ab", "sessions/1-1")

		for _, name := range []string{"data/aa", "config"} {
			err := s.Delete(t.Context(), name)
			locked, ok := errors.AsType[*backends.LockedError](err)
			if !ok || locked.Name != name || backends.KindOf(err) != backends.Permanent {
				t.Fatalf("Delete %s: %v", name, err)
			}
			near(t, locked.Until, 10*days)
			if got, err := s.Get(t.Context(), name, 0, -1, nil); err != nil || string(got) != name {
				t.Errorf("%s is hidden: %q, %v", name, got, err)
			}
		}
		// What is not locked goes.
		if err := s.Delete(t.Context(), "sessions/1-1"); err != nil {
			t.Errorf("a passing object: %v", err)
		}
		n := 0
		if err := s.DeleteMany(t.Context(), []string{"data/aa", "data/ab"}, func(name string, err error) {
			if n++; !errors.Is(err, backends.ErrLocked) {
				t.Errorf("%s: %v", name, err)
			}
		}); err != nil || n != 2 {
			t.Errorf("%d, %v", n, err)
		}

		if extended, err := s.ExtendLock(t.Context(), "data/aa"); extended || err != nil {
			t.Errorf("a new lock was extended: %v, %v", extended, err)
		}
		longer := open(t, loc, s3.Options{LockDays: 30})
		for _, want := range []bool{true, false} {
			if extended, err := longer.ExtendLock(t.Context(), "data/aa"); extended != want || err != nil {
				t.Errorf("extended: %v, %v, want %v", extended, err, want)
			}
		}
		locked, _ := errors.AsType[*backends.LockedError](s.Delete(t.Context(), "data/aa"))
		near(t, locked.Until, 30*days)
		if _, err := s.ExtendLock(t.Context(), "data/none"); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("ExtendLock of nothing: %v", err)
		}
		if s.Kept().Objects != 0 {
			t.Errorf("kept: %+v", s.Kept())
		}
	})
}

func TestLock_ObjectPutWithout_GetsOne(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		s := create(t, loc, s3.Options{LockDays: 10, LockMode: "compliance"})
		put(t, open(t, loc, s3.Options{}), "data/aa")
		if extended, err := s.ExtendLock(t.Context(), "data/aa"); !extended || err != nil {
			t.Fatalf("extended: %v, %v", extended, err)
		}
		info, err := client(t, srv).StatObject(t.Context(), loc.Bucket, "some/prefix/data/aa", minio.StatObjectOptions{})
		if mode := info.Metadata.Get("X-Amz-Object-Lock-Mode"); err != nil || mode != "COMPLIANCE" {
			t.Fatal(mode, err)
		}
		until, err := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if err != nil {
			t.Fatal(err)
		}
		near(t, until, 10*days)
	})
}

func TestLock_LegalHold_LockedWithoutEnd(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		create(t, loc, s3.Options{LockDays: 1})
		s := open(t, loc, s3.Options{})
		put(t, s, "data/aa")
		on := minio.LegalHoldEnabled
		if err := client(t, srv).PutObjectLegalHold(t.Context(), loc.Bucket, "some/prefix/data/aa", minio.PutObjectLegalHoldOptions{Status: &on}); err != nil {
			t.Fatal(err)
		}
		locked, ok := errors.AsType[*backends.LockedError](s.Delete(t.Context(), "data/aa"))
		if !ok || !locked.Until.IsZero() {
			t.Errorf("%v", locked)
		}
	})
}

func TestLock_BucketCanNot_PutSaysWhy(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		create(t, loc, s3.Options{})
		s := open(t, loc, s3.Options{LockDays: 10})
		err := s.Put(t.Context(), "data/aa", []byte("x"))
		if !errors.Is(err, s3.ErrNoLock) || backends.KindOf(err) != backends.Permanent {
			t.Errorf("%v", err)
		}
	})
}
