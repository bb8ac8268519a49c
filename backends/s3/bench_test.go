package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

const packSize = 16 << 20

// sink is a server that costs next to nothing: what is left is the client.
func sink(b *testing.B) *httptest.Server {
	content := make([]byte, packSize)
	sum := s3.Checksum(content)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
			w.Header().Set("Content-Length", strconv.Itoa(packSize))
			w.Header().Set("X-Amz-Checksum-Crc32c", sum)
			_, _ = w.Write(content)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(srv.Close)
	return srv
}

func BenchmarkPack_Put(b *testing.B) {
	data := make([]byte, packSize)
	b.Run("bare HTTP to a sink", func(b *testing.B) {
		srv := sink(b)
		b.SetBytes(packSize)
		b.ReportAllocs()
		for i := range b.N {
			req, err := http.NewRequest(http.MethodPut, fmt.Sprint(srv.URL, "/", i), bytes.NewReader(data))
			if err != nil {
				b.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
	each(b, func(b *testing.B, s *s3.Store) {
		for i := range b.N {
			if err := s.Put(b.Context(), fmt.Sprintf("data/%08d-%d", b.N, i), data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPack_Get(b *testing.B) {
	buf := make([]byte, packSize)
	b.Run("bare HTTP from a sink", func(b *testing.B) {
		srv := sink(b)
		b.SetBytes(packSize)
		b.ReportAllocs()
		for range b.N {
			resp, err := http.Get(srv.URL)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, buf); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
	each(b, func(b *testing.B, s *s3.Store) {
		if err := s.Put(b.Context(), "data/aa", buf); err != nil && !errors.Is(err, backends.ErrExist) {
			b.Fatal(err)
		}
		b.ResetTimer()
		for range b.N {
			if _, err := s.Get(b.Context(), "data/aa", 0, -1, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// each runs a benchmark against a sink and against versitygw.
func each(b *testing.B, run func(b *testing.B, s *s3.Store)) {
	bench := func(name, location string) {
		b.Run(name, func(b *testing.B) {
			loc, err := s3.ParseLocation(location)
			if err != nil {
				b.Fatal(err)
			}
			s, err := s3.Create(b.Context(), loc, s3.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.SetBytes(packSize)
			b.ReportAllocs()
			b.ResetTimer()
			run(b, s)
		})
	}
	srv := testserver.Versitygw(b)
	srv.Setenv(b)
	bench("sink", sink(b).URL+"/bucket")
	bench("versitygw", srv.Endpoint+"/"+srv.Bucket(b))
}
