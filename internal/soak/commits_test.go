package soak

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

var (
	entriesFlag = flag.Int("soak.entries", 2000, "entries of the log that BenchmarkOpen opens; 100000 takes some minutes")
	keepFlag    = flag.Int("soak.keep", 1000, "live snapshots in that log; the others are forgotten and gone")
)

// committers is how many clients commit at once.
const committers = 8

// BenchmarkCommits_EightClients lets clients, each a Repository of its own, commit small snapshots: as fast as they can,
// and one a second each.
func BenchmarkCommits_EightClients(b *testing.B) {
	stores := []struct {
		name string
		make func(b *testing.B) func() backends.Store
	}{
		{"mem", func(*testing.B) func() backends.Store {
			s := mem.New()
			return func() backends.Store { return s }
		}},
		{"s3", inBucket},
	}
	for _, s := range stores {
		for _, pace := range []time.Duration{0, time.Second} {
			name := s.name + "/as fast as they can"
			if pace > 0 {
				name = s.name + "/one a second each"
			}
			b.Run(name, func(b *testing.B) { commits(b, s.make(b), pace) })
		}
	}
}

// inBucket returns clients of a new bucket.
func inBucket(b *testing.B) func() backends.Store {
	server := testserver.Versitygw(b)
	server.Setenv(b)
	where, err := location.Parse("s3:" + server.Endpoint + "/" + server.Bucket(b))
	if err != nil {
		b.Fatal(err)
	}
	made := false
	return func() backends.Store {
		open := where.Open
		if !made {
			open, made = where.Create, true
		}
		s, err := open(b.Context(), location.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() }) // nothing is left to say
		return s
	}
}

func commits(b *testing.B, client func() backends.Store, pace time.Duration) {
	testrepo.Init(b, client())
	var clients []*repo.Repository
	for range committers {
		clients = append(clients, testrepo.Open(b, client()))
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var g sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for n, r := range clients {
		g.Go(func() {
			var tick <-chan time.Time
			if pace > 0 {
				t := time.NewTicker(pace)
				defer t.Stop()
				tick = t.C
			}
			for k := 0; left.Add(-1) >= 0; k++ {
				if tick != nil {
					<-tick
				}
				if err := commitSmall(b.Context(), r, n, k); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	g.Wait()
	took := time.Since(began)
	conflicts := uint64(0)
	for _, r := range clients {
		conflicts += r.Log().Conflicts()
	}
	b.ReportMetric(float64(b.N)/took.Seconds(), "commits/s")
	b.ReportMetric(float64(conflicts)/float64(b.N), "conflicts/commit")
}

// commitSmall commits a snapshot of a small file that is new.
func commitSmall(ctx context.Context, r *repo.Repository, n, k int) error {
	for {
		s, err := r.NewSession(ctx, repo.SessionOptions{Workers: 1, Packing: repo.Packing{Size: repo.MinPackSize}})
		if err != nil {
			return err
		}
		m, err := testrepo.TryManifest(s, fmt.Appendf(nil, "file %d of client %d", k, n))
		if err != nil {
			s.Abort()
			return err
		}
		if _, err = s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, repo.ErrStale) {
			return err
		}
		if err := r.Refresh(ctx); err != nil {
			return err
		}
	}
}

// opened is what a process says that has opened a repository.
type opened struct {
	Seconds float64
	RssAnon int64 // KiB, when it was open
	Entries uint64
}

// openVar makes the test binary open the repository at a path, say how it went, and end.
const openVar = "KURA_SOAK_OPEN"

// BenchmarkOpen opens a repository with a long log in a new process, with an empty cache: with the checkpoints that its
// clients have made, and without any.
func BenchmarkOpen(b *testing.B) {
	where := filepath.Join(testsys.MemoryDir(b), "repo")
	began := time.Now()
	makeLog(b, where)
	b.Logf("%d entries, %d live snapshots, made in %v", *entriesFlag, *keepFlag, time.Since(began).Round(time.Second))
	b.Run("with checkpoints", func(b *testing.B) { openAgain(b, where) })
	if err := os.RemoveAll(filepath.Join(where, "checkpoints")); err != nil {
		b.Fatal(err)
	}
	b.Run("without checkpoints", func(b *testing.B) { openAgain(b, where) })
}

// openOnce is what the process does that openVar names.
func openOnce(where string) error {
	store, err := local.Open(where)
	if err != nil {
		return err
	}
	began := time.Now()
	r, err := repo.Open(context.Background(), store, repo.OpenOptions{Credential: testrepo.Credential})
	if err != nil {
		return err
	}
	o := opened{Seconds: time.Since(began).Seconds(), Entries: r.State().N}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	if _, rest, ok := strings.Cut(string(status), "RssAnon:"); ok {
		if _, err := fmt.Sscan(rest, &o.RssAnon); err != nil {
			return err
		}
	}
	return errors.Join(json.NewEncoder(os.Stdout).Encode(o), r.Close(), store.Close())
}

func openAgain(b *testing.B, where string) {
	var seconds float64
	var rss int64
	runs := 0
	for b.Loop() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), openVar+"="+where)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		var o opened
		if err := json.Unmarshal(out, &o); err != nil {
			b.Fatal(err)
		}
		if o.Entries < uint64(*entriesFlag) {
			b.Fatalf("opened %d entries", o.Entries)
		}
		seconds += o.Seconds
		rss = max(rss, o.RssAnon)
		runs++
	}
	b.ReportMetric(seconds/float64(runs), "s/open")
	b.ReportMetric(float64(rss)/1024, "MiB-RssAnon")
	b.ReportMetric(0, "ns/op")
}

// makeLog makes a log by commits: of snapshots that add two packs and an index segment each, of which only the names
// exist; every hundred of them the oldest ones are forgotten and collected.
func makeLog(b *testing.B, where string) {
	store, err := local.Create(where)
	if err != nil {
		b.Fatal(err)
	}
	r := testrepo.Init(b, store)
	m := testrepo.CommitFile(b, r, []byte("a file")).Entry.Manifest
	rng := rand.NewChaCha8([32]byte{1})
	random := func(n int) []byte {
		out := make([]byte, n)
		rng.Read(out) // never fails
		return out
	}
	commit := func(e *log.Entry) {
		n := r.State().N
		e.Session, e.Clock = object.SessionID(random(16)), int64(n)
		if e.Kind == log.KindSnapshot {
			ref := func(c object.Class) log.PackRef {
				return log.PackRef{Ref: object.Ref{Class: c, Session: e.Session, Hash: object.Hash(random(32))}, Size: 1 << 20}
			}
			e.Add, e.Index = []log.PackRef{ref(object.DataPack), ref(object.TreePack)}, []log.PackRef{ref(object.Index)}
		}
		if _, err := r.Commit(b.Context(), func(context.Context, *log.State) (*log.Entry, error) { return e, nil }); err != nil {
			b.Fatal(err)
		}
	}
	var live []*log.Entry
	for r.State().N < uint64(*entriesFlag) {
		e := &log.Entry{Kind: log.KindSnapshot, Manifest: m}
		commit(e)
		live = append(live, e)
		if old := len(live) - *keepFlag; old >= 100 {
			forget, collect := &log.Entry{Kind: log.KindForget}, &log.Entry{Kind: log.KindCollect}
			for _, e := range live[:old] {
				forget.Snapshots = append(forget.Snapshots, e.Session)
				for _, p := range e.Add {
					collect.Drop = append(collect.Drop, p.Ref)
				}
				for _, i := range e.Index {
					collect.Replace = append(collect.Replace, i.Ref)
				}
			}
			collect.Gone = forget.Snapshots
			live = live[old:]
			commit(forget)
			commit(collect)
		}
	}
}
