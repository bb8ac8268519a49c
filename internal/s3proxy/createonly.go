package s3proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"github.com/kura-backup/kura/internal/clock"
)

type keys struct{ access, secret, region string }

var errNoKeys = errors.New("s3proxy: this rule needs Sign")

const (
	contentHash = "X-Amz-Content-Sha256"
	trailerName = "X-Amz-Trailer"
)

// overwriting returns a Put without the header that makes it create-only, signed anew, and its body without the frames
// of a signature in chunks.
func (p *Proxy) overwriting(in *http.Request, body []byte) (*http.Request, []byte, error) {
	p.mu.Lock()
	keys := p.keys
	p.mu.Unlock()
	if keys == nil {
		return nil, nil, errNoKeys
	}
	out := in.Clone(in.Context())
	for _, name := range append([]string{ifNoneMatch, "Authorization", "Content-Length"}, hop...) {
		out.Header.Del(name)
	}
	if strings.HasPrefix(in.Header.Get(contentHash), "STREAMING-") {
		plain, trailer, err := unframe(body)
		if err != nil {
			return nil, nil, err
		}
		body = plain
		for name, values := range trailer {
			out.Header[name] = values
		}
		out.Header.Del(trailerName)
		out.Header.Del("X-Amz-Decoded-Content-Length")
		out.Header.Del("Content-Encoding")
	}
	sum := sha256.Sum256(body)
	out.Header.Set(contentHash, hex.EncodeToString(sum[:]))
	out.ContentLength = int64(len(body))
	return signer.SignV4(*out, keys.access, keys.secret, "", keys.region), body, nil
}

// unframe takes a body apart that was sent in signed chunks: size in hexadecimal, ";chunk-signature=…", the bytes; and
// after the last of them, which is empty, perhaps trailers.
func unframe(body []byte) (plain []byte, trailer http.Header, err error) {
	trailer = http.Header{}
	for {
		line, rest, ok := bytes.Cut(body, []byte("\r\n"))
		if !ok {
			return nil, nil, io.ErrUnexpectedEOF
		}
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil {
			return nil, nil, err
		}
		if n == 0 {
			for line := range strings.SplitSeq(string(rest), "\r\n") {
				if name, value, ok := strings.Cut(line, ":"); ok && !strings.EqualFold(name, "x-amz-trailer-signature") {
					trailer.Set(name, strings.TrimSpace(value))
				}
			}
			return plain, trailer, nil
		}
		if uint64(len(rest)) < n+2 {
			return nil, nil, io.ErrUnexpectedEOF
		}
		plain, body = append(plain, rest[:n]...), rest[n+2:]
	}
}

// race is several Puts of one name that are under way at once.
type race struct {
	racers, waiting int
	taken           bool // before it began
}

// race waits with a Put for d and reports whether others of the same name have come meanwhile.
func (p *Proxy) race(in *http.Request, d time.Duration) bool {
	name := in.URL.Path
	p.mu.Lock()
	r := p.racing[name]
	if r == nil {
		_, taken := p.put[name]
		r = &race{taken: taken}
		p.racing[name] = r
	}
	r.racers++
	r.waiting++
	p.mu.Unlock()

	sleep(context.WithoutCancel(in.Context()), d)

	p.mu.Lock()
	defer p.mu.Unlock()
	if r.waiting--; r.waiting == 0 {
		delete(p.racing, name)
	}
	return r.racers > 1 && !r.taken
}

var (
	content = regexp.MustCompile(`(?s)<Contents>.*?</Contents>`)
	listed  = regexp.MustCompile(`<Key>(.*?)</Key>`)
)

// hide takes out of a listing what was put less than d ago.
func (p *Proxy) hide(listing []byte, in *http.Request, d time.Duration) []byte {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(in.URL.Path, "/"), "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	return content.ReplaceAllFunc(listing, func(entry []byte) []byte {
		key := listed.FindSubmatch(entry)
		if key == nil {
			return entry
		}
		put, ok := p.put["/"+bucket+"/"+string(key[1])]
		if ok && clock.Since(put) < d {
			return nil
		}
		return entry
	})
}
