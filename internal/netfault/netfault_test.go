package netfault

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"

	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
)

var (
	all    = flag.Bool("netfault.all", false, "every kind of fault at 1, 10 and 50 %")
	rounds = flag.Int("netfault.rounds", 1, "stories for each kind and rate")
	seed   = flag.Uint64("netfault.seed", 0, "of the first story; 0 is a new one")
)

func TestMain(m *testing.M) {
	flag.Parse()
	minio.DefaultRetryUnit = time.Millisecond              // it pauses after its only try, too
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait most of the time
		panic(err)
	}
	stop := testserver.Keep()
	code := m.Run()
	stop()
	os.Exit(code)
}

// seedOf returns the seed of a test, and says how to repeat it.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	s := *seed
	if s == 0 {
		s = testrand.Seed(t)
	}
	t.Logf("-netfault.seed %d", s)
	return s
}

// newBucket makes a bucket, without the proxy.
func newBucket(t *testing.T, server *testserver.S3) string {
	t.Helper()
	bucket := server.Bucket(t)
	loc, err := s3.ParseLocation(server.Endpoint + "/" + bucket)
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3.Create(t.Context(), loc, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	return bucket
}

func TestStory_EveryFault_RightResultOrClearError(t *testing.T) {
	t.Run("versitygw", func(t *testing.T) { tellAll(t, testserver.Versitygw(t)) })
	t.Run("minio", func(t *testing.T) { tellAll(t, testserver.MinIO(t)) })
}

func tellAll(t *testing.T, server *testserver.S3) {
	server.Setenv(t)
	leaks := goleak.IgnoreCurrent()
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Run("kinds", func(t *testing.T) {
		for _, k := range append(kinds, everything) {
			rates := []float64{k.rates[rng.IntN(len(k.rates))]}
			if *all && k.name != none {
				rates = []float64{0.01, 0.1, 0.5}
			}
			for _, rate := range rates {
				for round := range *rounds {
					t.Run(fmt.Sprintf("%s/%g%%/%d", k.name, rate*100, round), func(t *testing.T) {
						t.Parallel()
						tell(t, server, k, rate, seed+uint64(round))
					})
				}
			}
		}
	})
	testsys.VerifyNone(t, leaks)
}

// tell tells a story with a kind of fault and looks at its end.
func tell(t *testing.T, server *testserver.S3, k kind, rate float64, seed uint64) {
	h := fnv.New64a()
	fmt.Fprint(h, k.name, rate)
	seed += h.Sum64()
	bucket := newBucket(t, server)
	p := s3proxy.New(t, server.Endpoint)
	p.Add(k.rules(rate, seed)...)
	s := newStory(t, p, k, bucket, testsys.MemoryDir(t), seed)
	s.tell()
	fired := p.Fired()
	p.Flush()
	p.Close()
	sum := s3proxy.Sum(p.Requests(), nil)
	t.Logf("%d requests for %d calls, %d tampered with, %d snapshots, %d commands failed, %d with unknown outcome: %v",
		sum.Requests, s.calls, fired, len(s.committed), len(s.failed), s.unknown, s.failed)
	// With half of them in vain two are sent for each that succeeds, and a Get can need three. Of few calls each may need many more.
	if sum.Requests > 8*s.calls+500 {
		t.Errorf("%d requests for %d calls", sum.Requests, s.calls)
	}
	if rate >= 0.05 && k.name != none && fired == 0 {
		t.Error("nothing was tampered with: the test showed nothing")
	}
	s.verify(server.Endpoint, k, rate <= 0.1 && !k.altered)
}
