package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/kura-backup/kura/backends"
)

// Store is the objects below a prefix of a bucket. It is safe for concurrent use, and any number of Stores
// may use one place.
type Store struct {
	bucket    string
	base      string // of all keys: the prefix with a slash after it, or nothing
	loc       Location
	opts      Options
	region    string // empty: Amazon is asked for it
	lockMode  minio.RetentionMode
	core      minio.Core
	creds     *credentials.Credentials
	transport *http.Transport

	noChecksums atomic.Bool // the server has turned away their headers

	mu       sync.Mutex
	versions versions
}

var (
	_ backends.Store        = (*Store)(nil)
	_ backends.BatchDeleter = (*Store)(nil)
	_ backends.Keeper       = (*Store)(nil)
	_ backends.Locker       = (*Store)(nil)
)

// Open returns the store at a location. It finds credentials, and sends no request to the store: whether the
// bucket is there, and the credentials are good for it, shows with the first operation.
func Open(ctx context.Context, loc Location, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	lookup, err := o.lookup()
	if err != nil {
		return nil, err
	}
	mode, err := o.lockMode()
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	s := &Store{
		bucket: loc.Bucket, loc: loc, opts: o, region: findRegion(loc, o), lockMode: mode, transport: transport,
		creds: newCredentials(o),
	}
	if loc.Prefix != "" {
		s.base = loc.Prefix + "/"
	}
	client, err := minio.New(loc.Host, &minio.Options{
		Creds:        s.creds,
		Secure:       loc.Secure,
		Transport:    watched{transport},
		Region:       s.region,
		BucketLookup: lookup,
		MaxRetries:   1, // whoever wraps the Store knows when to try again
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	client.SetAppInfo("kura", "1")
	s.core = minio.Core{Client: client}
	cc := client.CredContext()
	cc.Context = ctx
	if _, err := s.creds.GetWithContext(cc); err != nil {
		s.transport.CloseIdleConnections()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return s, nil
}

// Create returns the store at a location whose bucket it makes first where it is missing, with Object Lock
// if objects are to be locked. Credentials that may not look at buckets are taken to have one.
func Create(ctx context.Context, loc Location, o Options) (*Store, error) {
	s, err := Open(ctx, loc, o)
	if err != nil {
		return nil, err
	}
	if err := s.makeBucket(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

const (
	createTries    = 8
	createPause    = 100 * time.Millisecond // doubled each time
	createMaxPause = 2 * time.Second
)

// makeBucket sees to it that there is a bucket. It tries that several times: there is no Store yet with which
// others could be patient.
func (s *Store) makeBucket(ctx context.Context) error {
	pause := createPause
	for try := 1; ; try++ {
		err := s.tryBucket(ctx)
		if err == nil || backends.KindOf(err) == backends.Permanent || try == createTries {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%v)", context.Cause(ctx), err)
		case <-time.After(pause):
			pause = min(2*pause, createMaxPause)
		}
	}
}

func (s *Store) tryBucket(ctx context.Context) error {
	exists, err := s.core.BucketExists(ctx, s.bucket)
	if a := minio.ToErrorResponse(err); a.StatusCode == http.StatusBadRequest || a.StatusCode == http.StatusMovedPermanently && a.Region == "" {
		exists, err = true, s.listsOne(ctx) // the answer to a HEAD has no text that says why
		if minio.ToErrorResponse(err).Code == minio.NoSuchBucket {
			exists, err = false, nil
		}
	}
	if err != nil {
		err = s.fail(ctx, request{op: "look at bucket", name: s.bucket, action: "s3:ListBucket"}, err)
		if errors.Is(err, backends.ErrDenied) {
			return nil
		}
		return err
	}
	if exists {
		return nil
	}
	err = s.core.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{ObjectLocking: s.opts.LockDays > 0})
	switch minio.ToErrorResponse(err).Code {
	case minio.BucketAlreadyOwnedByYou: // another has made it meanwhile
		return nil
	case minio.BucketAlreadyExists:
		return fmt.Errorf("s3: bucket %s belongs to somebody else: %w", s.bucket, err)
	}
	return s.fail(ctx, request{op: "make bucket", name: s.bucket, action: "s3:CreateBucket", write: true}, err)
}

// listsOne lists a single object, if there is one, to see what the server says of it.
func (s *Store) listsOne(ctx context.Context) error {
	no := false
	opts := minio.ListObjectsOptions{Prefix: s.base, Recursive: true, FetchOwner: &no, MaxKeys: 1}
	for object := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
		return object.Err
	}
	return ctx.Err()
}

// Caps says what the store can do. That Puts are create-only is taken for granted here: a server that does
// not know the header refuses it, and one that ignores it is found out by trying.
func (s *Store) Caps() backends.Caps {
	return backends.Caps{CreateOnly: !s.opts.NoCreateOnly, Durable: true}
}

// Close gives up the connections.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}
