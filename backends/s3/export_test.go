package s3

import (
	"context"
	"net"
	"time"
)

// PutSum is Put with another checksum than the data's.
func (s *Store) PutSum(ctx context.Context, name string, data []byte, sum string) error {
	return s.put(ctx, name, data, sum)
}

// Place is the location as ParseLocation reads it.
func (s *Store) Place() string { return s.loc.String() }

// Checksum is the one that Put sends.
func Checksum(data []byte) string { return checksum(data) }

// SetPayloadHash lets the signature cover the data even on loopback.
func (s *Store) SetPayloadHash() { s.loc.Host = "store.example.com" }

// SetGiverWait sets how long who gives credentials may take, and returns what sets it back.
func SetGiverWait(d time.Duration) (undo func()) {
	old := giverWait
	giverWait = d
	return func() { giverWait = old }
}

// FindRegion is the region that Open takes.
func FindRegion(loc Location, o Options) string { return findRegion(loc, o) }

// Dial sends all connections to one address, whatever the name of the host.
func (s *Store) Dial(addr string) {
	s.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// Fail is what becomes of an error of a request.
func Fail(s *Store, sent bool, err error) error {
	return s.fail(context.Background(), request{op: "put", name: "config", write: sent}, err)
}
