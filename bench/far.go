package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testserver"
)

// farStore is an S3 server on this machine, behind a proxy that makes each request take a round trip longer: a
// store in another town, but for its bandwidth.
type farStore struct {
	server *testserver.S3
	proxy  *s3proxy.Proxy
	stop   func()
}

func startFar(o *options) (*farStore, error) {
	server, stop, err := testserver.StartVersitygw()
	if err != nil {
		return nil, fmt.Errorf("%w (make servers builds it)", err)
	}
	proxy, err := s3proxy.Start(server.Endpoint)
	if err != nil {
		stop()
		return nil, err
	}
	proxy.SetLatency(o.far)
	return &farStore{server, proxy, func() { proxy.Close(); stop() }}, nil
}

// bucket is the one of a folder that would be a repository.
func bucket(folder string) string {
	parts := strings.Split(filepath.ToSlash(folder), "/")
	return "bench-" + strings.ToLower(strings.Join(parts[max(0, len(parts)-3):], "-"))
}

// location is that of a repository, as kura and restic write it.
func (f *farStore) location(folder string) string {
	return "s3:" + f.proxy.URL + "/" + bucket(folder)
}

// stored is the size of the objects of a repository.
func (f *farStore) stored(folder string) (int64, error) {
	return storedBytes(f.server.Folder(bucket(folder)))
}

// trips are the requests of one step: all, and the most that waited for one another, without those that move packs.
func (f *farStore) trips() (requests, chain int) {
	all := f.proxy.Requests()
	for _, r := range s3proxy.Links(all, s3proxy.NotBulk) {
		detail("  %-8s %s %s %v", r.Op, r.Path, r.Query, r.End.Sub(r.Start).Round(time.Millisecond))
	}
	return s3proxy.Sum(all, nil).Requests, s3proxy.Chain(all, s3proxy.NotBulk)
}

// farTools leaves out the programs that can not use S3.
func farTools(chosen []*tool) ([]*tool, error) {
	var out []*tool
	for _, t := range chosen {
		if t.s3 {
			out = append(out, t)
		} else {
			note("%s can not store in S3 and is left out", t.name)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("none of the programs can store in S3")
	}
	return out, nil
}
