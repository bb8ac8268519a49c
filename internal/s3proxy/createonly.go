package s3proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7/pkg/signer"
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

// race is the Puts of one name that have come since it is free.
type race struct {
	racers int
	met    chan struct{} // closed when there are two
}

// race waits until another Put of the same name has come. It is false if the name was taken, or nobody came.
func (p *Proxy) race(in *http.Request) bool {
	name := in.URL.Path
	p.mu.Lock()
	if p.put[name] {
		p.mu.Unlock()
		return false
	}
	r := p.racing[name]
	if r == nil {
		r = &race{met: make(chan struct{})}
		p.racing[name] = r
	}
	if r.racers++; r.racers == 2 {
		close(r.met)
	}
	p.mu.Unlock()

	select {
	case <-r.met:
		return true
	case <-in.Context().Done():
		return false
	}
}

var (
	content = regexp.MustCompile(`(?s)<Contents>.*?</Contents>`)
	listed  = regexp.MustCompile(`<Key>(.*?)</Key>`)
)

// hide takes out of a listing what no listing has had since it was put.
func (p *Proxy) hide(listing []byte, in *http.Request) []byte {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(in.URL.Path, "/"), "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	return content.ReplaceAllFunc(listing, func(entry []byte) []byte {
		key := listed.FindSubmatch(entry)
		if key == nil {
			return entry
		}
		if name := "/" + bucket + "/" + string(key[1]); p.unlisted[name] {
			delete(p.unlisted, name)
			return nil
		}
		return entry
	})
}
