package s3

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
)

// Get reads from an object; see [backends.Store]. It is one request, unless the range is wrong or what
// arrives is not what was put.
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	r := request{op: "get", name: name, action: "s3:GetObject (and s3:ListBucket, or objects that are missing look forbidden)"}
	if err := backends.CheckName(name); err != nil {
		return nil, &backends.Error{Op: r.op, Name: name, Err: err}
	}
	rng, ok := byteRange(offset, length)
	if !ok {
		return nil, s.fail(ctx, r, s.rangeError(ctx, name, offset, length))
	}
	a, err := s.get(ctx, name, offset, length, rng, buf)
	if err == nil && a.altered() {
		// On its way, or where it is kept? What comes twice is what the store has, and what is wrong with
		// that is for its reader to say.
		first := a
		if a, err = s.get(ctx, name, offset, length, rng, a.data); err == nil && a.altered() {
			err = s.sameAgain(ctx, name, first, a)
		}
	}
	if minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
		err = s.rangeError(ctx, name, offset, length)
	}
	if err != nil {
		return nil, s.fail(ctx, r, err)
	}
	return a.data, nil
}

// byteRange is the header that asks for a range: none for a whole object. It is false for what no object
// can have.
func byteRange(offset, length int64) (header string, ok bool) {
	switch {
	case offset == 0 && length < 0:
		return "", true
	case offset < 0 || length == 0 || length > math.MaxInt64-offset:
		return "", false
	case length < 0:
		return fmt.Sprintf("bytes=%d-", offset), true
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+length-1), true
}

// rangeError says what is wrong with a range, for which it needs the object's size.
func (s *Store) rangeError(ctx context.Context, name string, offset, length int64) error {
	info, err := s.core.StatObject(ctx, s.bucket, s.base+name, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	if _, err := backends.Span(name, offset, length, info.Size); err != nil {
		return err
	}
	return fmt.Errorf("%w: it refuses a range of %d bytes from %d on of an object of %d", ErrServer, length, offset, info.Size)
}

// arrival is what has come of an object.
type arrival struct {
	data []byte
	want string // checksum of the whole object when it was put; empty: unknown
	has  string
}

func (a arrival) altered() bool { return a.want != a.has }

// sameAgain returns an error unless an object came twice in the same way, and as long as the store says that
// it is.
func (s *Store) sameAgain(ctx context.Context, name string, first, second arrival) error {
	if first.has != second.has {
		return fmt.Errorf("%w: it comes with the checksums %s and %s", ErrServer, first.has, second.has)
	}
	info, err := s.core.StatObject(ctx, s.bucket, s.base+name, minio.StatObjectOptions{})
	if err == nil && info.Size != int64(len(second.data)) {
		return fmt.Errorf("%w: %d of %d bytes come", ErrServer, len(second.data), info.Size)
	}
	return err
}

func (s *Store) get(ctx context.Context, name string, offset, length int64, rng string, buf []byte) (arrival, error) {
	var opts minio.GetObjectOptions
	checked := rng == "" && !s.noChecksums.Load()
	if rng != "" {
		opts.Set("Range", rng)
	} else if checked {
		opts.Set("X-Amz-Checksum-Mode", "ENABLED")
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, s.base+name, opts)
	if checked && refusesChecksum(err) {
		s.noChecksums.Store(true)
		return s.get(ctx, name, offset, length, rng, buf)
	}
	if err != nil {
		return arrival{}, err
	}
	defer body.Close()
	size := info.Size
	if rng != "" {
		if size, err = totalSize(header.Get("Content-Range"), offset, info.Size); err != nil {
			return arrival{}, err
		}
	}
	if size < 0 {
		return arrival{}, fmt.Errorf("%w: it does not say how long %s is", ErrServer, name)
	}
	n, err := backends.Span(name, offset, length, size)
	if err != nil {
		return arrival{}, err
	}
	if n != info.Size {
		return arrival{}, fmt.Errorf("%w: %d bytes of %s where %d were asked for", ErrServer, info.Size, name, n)
	}
	a := arrival{data: backends.Buffer(buf, n)}
	if _, err := io.ReadFull(body, a.data); err != nil {
		return arrival{}, fmt.Errorf("s3: the object did not come whole: %w", err)
	}
	if sum := header.Get(checksumHeader); rng == "" && isChecksum(sum) {
		a.want, a.has = sum, checksum(a.data)
	}
	return a, nil
}

// isChecksum says whether a header is the checksum of a whole object, and not that of the checksums of its
// parts.
func isChecksum(s string) bool {
	b, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(b) == 4
}

// totalSize reads the size of the object from the header of an answer with n bytes from offset on.
func totalSize(contentRange string, offset, n int64) (int64, error) {
	span, total, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if want := fmt.Sprintf("%d-%d", offset, offset+n-1); err != nil || span != want || size-offset < n {
		return 0, fmt.Errorf("%w: %d bytes, from %d on, are said to be %q", ErrServer, n, offset, contentRange)
	}
	return size, nil
}
