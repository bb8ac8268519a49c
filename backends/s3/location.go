package s3

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// maxPrefix leaves room for an object's name in the 1024 bytes of a key.
const maxPrefix = 512

// Location is a place in an object store. It has no secrets.
type Location struct {
	Secure bool   // by TLS
	Host   string // with the port where it is not the usual one
	Bucket string
	Prefix string // of all keys, without slashes at its ends; may be empty
}

// ParseLocation understands what follows "s3:" in a location:
//
//	https://host[:port]/bucket[/prefix]     http:// without TLS
//	host[:port]/bucket[/prefix]             as restic writes it; TLS
//	//host[:port]/bucket[/prefix]           the same, from s3://host/bucket
func ParseLocation(rest string) (Location, error) {
	l := Location{Secure: true}
	scheme, path, ok := strings.Cut(rest, "://")
	switch {
	case !ok:
		path = strings.TrimPrefix(rest, "//")
	case scheme == "http":
		l.Secure = false
	case scheme != "https":
		return Location{}, fmt.Errorf("%q is neither http nor https", scheme)
	}
	host, path, _ := strings.Cut(path, "/")
	var err error
	if l.Host, err = canonicalHost(host, l.Secure); err != nil {
		return Location{}, err
	}
	bucket, prefix, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	if bucket == "" {
		return Location{}, errors.New("no bucket is named")
	}
	if err := s3utils.CheckValidBucketName(bucket); err != nil {
		return Location{}, fmt.Errorf("bucket %q: %w", bucket, err)
	}
	l.Bucket = bucket
	if l.Prefix, err = canonicalPrefix(prefix); err != nil {
		return Location{}, err
	}
	return l, nil
}

// canonicalHost checks a host with or without a port and leaves out the usual one.
func canonicalHost(host string, secure bool) (string, error) {
	if strings.Contains(host, "@") {
		return "", errors.New("credentials do not belong into a location; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are the place")
	}
	name, port := strings.ToLower(host), ""
	if h, p, err := net.SplitHostPort(name); err == nil {
		name, port = h, p
	} else {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	if _, err := netip.ParseAddr(name); err != nil && !validHostname(name) {
		return "", fmt.Errorf("%q is not a host", host)
	}
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	switch {
	case port == "" || port == "443" && secure || port == "80" && !secure:
		return name, nil
	case strings.Trim(port, "0123456789") != "" || len(port) > 5:
		return "", errors.New("what follows the host's colon is not a port") // but perhaps a secret, with an @ further on
	}
	return name + ":" + port, nil
}

func validHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// canonicalPrefix drops empty parts of a prefix and refuses what means something else to some servers.
func canonicalPrefix(prefix string) (string, error) {
	if len(prefix) > maxPrefix || !utf8.ValidString(prefix) || strings.ContainsFunc(prefix, unicode.IsControl) {
		return "", fmt.Errorf("the prefix %.80q is too long or has characters that no key should have", prefix)
	}
	if strings.ContainsAny(prefix, `?#%\`) {
		return "", fmt.Errorf(`the prefix %q has one of ? # %% \`, prefix)
	}
	var parts []string
	for part := range strings.SplitSeq(prefix, "/") {
		switch part {
		case "":
		case ".", "..":
			return "", fmt.Errorf("the prefix %q has a part %s", prefix, part)
		default:
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/"), nil
}

// String is the location as ParseLocation reads it.
func (l Location) String() string {
	s := l.Host + "/" + l.Bucket
	if l.Prefix != "" {
		s += "/" + l.Prefix
	}
	if l.Secure {
		return "https://" + s
	}
	return "http://" + s
}

// hostname is the host without its port.
func (l Location) hostname() string {
	if h, _, err := net.SplitHostPort(l.Host); err == nil {
		return h
	}
	return strings.Trim(l.Host, "[]")
}

// loopback says whether the store is on this machine.
func (l Location) loopback() bool {
	addr, err := netip.ParseAddr(l.hostname())
	return err == nil && addr.IsLoopback() || l.hostname() == "localhost"
}
