package s3

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
)

const checksumHeader = "X-Amz-Checksum-Crc32c"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is what servers compare with what they have received, and keep.
func checksum(data []byte) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], crc32.Checksum(data, castagnoli))
	return base64.StdEncoding.EncodeToString(b[:])
}

// Put creates an object; see [backends.Store]. It is one request, and one more where the server is found not to
// know the checksum's header.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := backends.CheckPut(name, data); err != nil {
		return &backends.Error{Op: "put", Name: name, Err: err}
	}
	sum := ""
	if !s.noChecksums.Load() {
		sum = checksum(data)
	}
	return s.put(ctx, name, data, sum)
}

func (s *Store) put(ctx context.Context, name string, data []byte, sum string) error {
	sent, err := s.send(ctx, name, data, sum)
	if sum != "" && refusesChecksum(err) {
		s.noChecksums.Store(true)
		sent, err = s.send(ctx, name, data, "")
	}
	action := "s3:PutObject"
	if s.locks(name) {
		action += " and s3:PutObjectRetention"
	}
	return s.fail(ctx, request{op: "put", name: name, action: action, write: sent}, err)
}

// send puts an object with a checksum, or with the MD5 that every server knows if there is none. It reports
// whether any of the data may have been sent.
func (s *Store) send(ctx context.Context, name string, data []byte, sum string) (sent bool, err error) {
	opts := minio.PutObjectOptions{
		StorageClass:         s.storageClass(name),
		DisableContentSha256: true, // neither chunked nor hashed by the client: payloadHash decides
	}
	contentMD5 := ""
	if sum != "" {
		opts.UserMetadata = map[string]string{checksumHeader: sum}
	} else {
		h := md5.Sum(data)
		contentMD5 = base64.StdEncoding.EncodeToString(h[:])
	}
	if !s.opts.NoCreateOnly {
		opts.SetMatchETagExcept("*")
	}
	if s.locks(name) {
		opts.Mode, opts.RetainUntilDate = s.lockMode, s.lockedUntil()
	}
	b := &body{data: data, progress: backends.ProgressOf(ctx)}
	_, err = s.core.PutObject(ctx, s.bucket, s.base+name, b, int64(len(data)), contentMD5, s.payloadHash(data), opts)
	return b.release(), err
}

// refusesChecksum says whether a server has turned a request away for want of knowing the headers of checksums,
// or since it knows none but MD5.
func refusesChecksum(err error) bool {
	r := minio.ToErrorResponse(err)
	text := strings.ToLower(r.Message)
	switch {
	case r.StatusCode == http.StatusNotImplemented:
		return strings.Contains(text, "checksum")
	case r.StatusCode != http.StatusBadRequest:
		return false
	case strings.Contains(text, "checksum") && strings.Contains(text, "support"):
		return true
	}
	return strings.Contains(text, "content-md5") && strings.Contains(text, "required")
}

// payloadHash is what the signature covers of the data. It is nothing where TLS sees to that, or where there
// is nobody between us and the server: the checksum finds accidents.
func (s *Store) payloadHash(data []byte) string {
	if s.loc.Secure || s.loc.loopback() {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (s *Store) storageClass(name string) string {
	if s.opts.DataClass != "" && strings.HasPrefix(name, "data/") {
		return s.opts.DataClass
	}
	return s.opts.StorageClass
}

// body reads data until it is released. The HTTP client can go on reading after it has returned, when the
// server answers early or the context ends, but the data is its owner's again then.
type body struct {
	progress backends.Progress

	mu       sync.Mutex
	data     []byte
	started  bool
	released bool
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.released {
		return 0, http.ErrBodyReadAfterClose
	}
	b.started = true
	if len(b.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	b.progress.Moved(n)
	return n, nil
}

// release gives up the data, and reports whether any of it may have been sent.
func (b *body) release() (started bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data, b.released = nil, true
	return b.started
}
