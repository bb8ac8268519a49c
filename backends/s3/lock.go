package s3

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
)

const day = 24 * time.Hour

// passing are the classes of objects that say something about a moment, or can be made again: to lock them
// would protect nothing, and fill the bucket.
var passing = []string{"sessions/", "checkpoints/", "lease/", "probe/"}

// LockDays is for how many days Put locks objects; see [backends.Locker].
func (s *Store) LockDays() int { return s.opts.LockDays }

// locks says whether Put locks an object.
func (s *Store) locks(name string) bool {
	for _, class := range passing {
		if strings.HasPrefix(name, class) {
			return false
		}
	}
	return s.opts.LockDays > 0
}

// lockedUntil is until when an object is locked that is locked now.
func (s *Store) lockedUntil() time.Time {
	return clock.Now().Add(time.Duration(s.opts.LockDays) * day)
}

// ExtendLock locks an object for longer; see [backends.Locker]. To credentials without
// s3:GetObjectRetention objects look as if they had no lock.
func (s *Store) ExtendLock(ctx context.Context, name string) (extended bool, err error) {
	r := request{op: "lock", name: name, action: "s3:GetObject"}
	if err := backends.CheckName(name); err != nil {
		return false, &backends.Error{Op: r.op, Name: name, Err: err}
	}
	if !s.locks(name) {
		return false, nil
	}
	old, err := s.lockOf(ctx, version{name: name})
	if err != nil {
		return false, s.fail(ctx, r, err)
	}
	if old.until.Sub(clock.Now()) >= time.Duration(s.opts.LockDays)*day/2 {
		return false, nil
	}
	mode := s.lockMode
	if old.mode == minio.Compliance {
		mode = old.mode // it can not be made weaker
	}
	r.action, r.write = "s3:PutObjectRetention", true
	to := s.lockedUntil()
	err = s.core.PutObjectRetention(ctx, s.bucket, s.base+name, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &to})
	return err == nil, s.fail(ctx, r, err)
}

// lock is what keeps a version from being deleted.
type lock struct {
	mode  minio.RetentionMode
	until time.Time // zero: nothing
	hold  bool      // until somebody ends it
}

// lockOf reads what locks there are from the headers of the object: the answers to the request that is made
// for it differ between servers.
func (s *Store) lockOf(ctx context.Context, v version) (lock, error) {
	info, err := s.core.StatObject(ctx, s.bucket, s.base+v.name, minio.StatObjectOptions{VersionID: v.id})
	if err != nil {
		return lock{}, err
	}
	l := lock{
		mode: minio.RetentionMode(info.Metadata.Get("X-Amz-Object-Lock-Mode")),
		hold: info.Metadata.Get("X-Amz-Object-Lock-Legal-Hold") == "ON",
	}
	if date := info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"); date != "" {
		if l.until, err = time.Parse(time.RFC3339, date); err != nil {
			return lock{}, fmt.Errorf("%w: it locks %s until %q", ErrServer, v.name, date)
		}
	}
	return l, nil
}
