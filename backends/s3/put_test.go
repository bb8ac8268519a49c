package s3_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

func TestPut_WrongChecksum_RefusedByTheServer(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		s := create(t, place(t, srv), s3.Options{})
		for _, size := range []int{1, 100, 100_000, 5 << 20} {
			data := bytes.Repeat([]byte{'x'}, size)
			err := s.PutSum(t.Context(), "data/aa", data, s3.Checksum([]byte("other")))
			if err == nil || errors.Is(err, backends.ErrExist) || backends.KindOf(err) != backends.Transient {
				t.Errorf("%d bytes: %v, of kind %v", size, err, backends.KindOf(err))
			}
			if _, err := s.Get(t.Context(), "data/aa", 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
				t.Errorf("%d bytes: Get: %v", size, err)
			}
		}
	})
}

func TestPut_SignatureCoversTheData_WhereNothingElseDoes(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		s := create(t, place(t, srv), s3.Options{})
		s.SetPayloadHash()
		put(t, s, "config")
		if got, err := s.Get(t.Context(), "config", 0, -1, nil); err != nil || string(got) != "config" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// Several Stores, as there are several machines.
func TestPut_RacersWithConnectionsOfTheirOwn_OneWins(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		create(t, loc, s3.Options{})
		const racers = 6
		for range 10 {
			var wg sync.WaitGroup
			var mu sync.Mutex
			won := 0
			start := make(chan struct{})
			for range racers {
				s := open(t, loc, s3.Options{})
				wg.Go(func() {
					<-start
					err := s.Put(t.Context(), "log/0000000000000001", make([]byte, 1000))
					for backends.IsTransient(err) { // of several at once some are told to try again
						err = s.Put(t.Context(), "log/0000000000000001", make([]byte, 1000))
					}
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
					} else if !errors.Is(err, backends.ErrExist) {
						t.Error(err)
					}
				})
			}
			close(start)
			wg.Wait()
			if won != 1 {
				t.Fatalf("%d won", won)
			}
			if err := open(t, loc, s3.Options{}).Delete(t.Context(), "log/0000000000000001"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestPut_NoCreateOnly_Replaces(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		s := create(t, place(t, srv), s3.Options{NoCreateOnly: true})
		if s.Caps().CreateOnly {
			t.Error("it says that it is create-only")
		}
		put(t, s, "config", "config")
	})
}

func TestPut_StorageClass_ByTheClassOfTheObject(t *testing.T) {
	srv := testserver.MinIO(t) // versitygw does not keep it
	srv.Setenv(t)
	loc := place(t, srv)
	s := create(t, loc, s3.Options{DataClass: "REDUCED_REDUNDANCY"})
	put(t, s, "config", "data/aa")
	for name, want := range map[string]string{"config": "", "data/aa": "REDUCED_REDUNDANCY"} {
		info, err := client(t, srv).StatObject(t.Context(), loc.Bucket, loc.Prefix+"/"+name, minio.StatObjectOptions{})
		if err != nil || info.Metadata.Get("X-Amz-Storage-Class") != want {
			t.Errorf("%s has the class %q, want %q: %v", name, info.Metadata.Get("X-Amz-Storage-Class"), want, err)
		}
	}
}
