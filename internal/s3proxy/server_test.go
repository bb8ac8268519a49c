package s3proxy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testserver"
)

// servers are those whose signatures have to be right.
var servers = map[string]func(testing.TB) *testserver.S3{"versitygw": testserver.Versitygw, "minio": testserver.MinIO}

// client returns a client of the proxy with a bucket.
func client(t *testing.T, s *testserver.S3, p *s3proxy.Proxy) (minio.Core, string) {
	t.Helper()
	core, err := minio.NewCore(strings.TrimPrefix(p.URL, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: s.Region, MaxRetries: 1, BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		t.Fatal(err)
	}
	bucket := s.Bucket(t)
	if err := core.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return *core, bucket
}

// waysToPut are those in which bodies are signed: in chunks, or not at all but for a checksum.
var waysToPut = map[string]minio.PutObjectOptions{"chunks": {}, "checksum": {DisableContentSha256: true}}

func put(t *testing.T, core minio.Core, bucket, name string, data []byte, o minio.PutObjectOptions) error {
	t.Helper()
	if o.DisableContentSha256 {
		sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
		o.UserMetadata = map[string]string{"X-Amz-Checksum-Crc32c": base64.StdEncoding.EncodeToString(sum)}
	}
	o.SetMatchETagExcept("*")
	_, err := core.PutObject(t.Context(), bucket, name, bytes.NewReader(data), int64(len(data)), "", "", o)
	return err
}

func get(t *testing.T, core minio.Core, bucket, name string) []byte {
	t.Helper()
	body, _, _, err := core.GetObject(t.Context(), bucket, name, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func status(err error) int { return minio.ToErrorResponse(err).StatusCode }

func TestProxy_RealServer_AcceptsWhatTheClientSigned(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			s := server(t)
			p := s3proxy.New(t, s.Endpoint)
			core, bucket := client(t, s, p)
			data := bytes.Repeat([]byte("0123456789"), 100_000)
			for way, o := range waysToPut {
				key := "repo/data/" + way
				if err := put(t, core, bucket, key, data, o); err != nil {
					t.Errorf("%s: %v", way, err)
				}
				if err := put(t, core, bucket, key, data[:9], o); status(err) != http.StatusPreconditionFailed {
					t.Errorf("%s, taken: %v", way, err)
				}
				if !bytes.Equal(get(t, core, bucket, key), data) {
					t.Errorf("%s: other bytes come back", way)
				}
			}
			list, err := core.ListObjectsV2(bucket, "repo/", "", "", "", 0)
			if err != nil || len(list.Contents) != len(waysToPut) {
				t.Errorf("%d objects, %v", len(list.Contents), err)
			}
			for _, o := range list.Contents {
				if err := core.RemoveObject(t.Context(), bucket, o.Key, minio.RemoveObjectOptions{}); err != nil {
					t.Error(err)
				}
			}
			if by := s3proxy.Sum(p.Requests(), nil).ByOp; by[s3proxy.Put] != 4 || by[s3proxy.List] != 1 {
				t.Errorf("requests: %v", by)
			}
		})
	}
}

func TestIgnoreCreateOnly_RealServer_Overwrites(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			s := server(t)
			p := s3proxy.New(t, s.Endpoint)
			core, bucket := client(t, s, p)
			p.Sign(s.AccessKey, s.SecretKey, s.Region)
			p.Add(s3proxy.On().Always().IgnoreCreateOnly())
			for way, o := range waysToPut {
				for _, data := range [][]byte{[]byte("first"), bytes.Repeat([]byte("second"), 50_000)} {
					if err := put(t, core, bucket, "log/1", data, o); err != nil {
						t.Fatalf("%s: %v", way, err)
					}
					if !bytes.Equal(get(t, core, bucket, "log/1"), data) {
						t.Errorf("%s: other bytes come back", way)
					}
				}
			}
		})
	}
}

func TestSeveralWinners_RealServer_RacersWinButNotLatecomers(t *testing.T) {
	s := testserver.Versitygw(t)
	p := s3proxy.New(t, s.Endpoint)
	core, bucket := client(t, s, p)
	p.Sign(s.AccessKey, s.SecretKey, s.Region)
	p.Add(s3proxy.On().Always().SeveralWinners())
	race := func(racers int) (winners int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range racers {
			wg.Go(func() {
				err := put(t, core, bucket, "log/1", fmt.Append(nil, i), minio.PutObjectOptions{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners++
				} else if status(err) != http.StatusPreconditionFailed {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return winners
	}
	if n := race(4); n < 2 {
		t.Errorf("%d winners", n)
	}
	if n := race(4); n != 0 {
		t.Errorf("%d winners of a name that was taken", n)
	}
}

func TestCorruptRequest_RealServer_IsRefused(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			s := server(t)
			p := s3proxy.New(t, s.Endpoint)
			core, bucket := client(t, s, p)
			for way, o := range waysToPut {
				p.Add(s3proxy.On(s3proxy.Put).CorruptRequest())
				if err := put(t, core, bucket, "log/1", bytes.Repeat([]byte("x"), 10_000), o); status(err) != http.StatusBadRequest && status(err) != http.StatusForbidden {
					t.Errorf("%s: %v", way, err)
				}
			}
		})
	}
}
