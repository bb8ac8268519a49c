package netfault

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// TestCommit_ManyWritersAndLostAnswers_EachEntryOnce lets several clients commit at once, while answers are lost and puts
// are sent twice and late. Each commit that is reported is in the log, once.
func TestCommit_ManyWritersAndLostAnswers_EachEntryOnce(t *testing.T) {
	server := testserver.Versitygw(t)
	server.Setenv(t)
	bucket := newBucket(t, server)
	leaks := goleak.IgnoreCurrent()
	seed := seedOf(t)
	t.Run("writers", func(t *testing.T) {
		p := s3proxy.New(t, server.Endpoint)
		testrepo.Init(t, openStore(t, server, p, bucket, "writers", stubborn(false)))
		entries := s3proxy.On(s3proxy.Put).Key("/log/")
		for i, rule := range []s3proxy.Rule{
			entries.AnswerAfter(500, ""), entries.ResetAfter(), entries.Reset(), entries.Again(time.Millisecond), entries.Late(10 * time.Millisecond),
			entries.Answer(409, ""), entries.Answer(412, ""),
		} {
			p.Add(rule.Rate(0.08, seed+uint64(i)))
		}
		const writers, each = 4, 6
		var wg sync.WaitGroup
		var mu sync.Mutex
		committed := map[object.SessionID][]byte{}
		unknown := 0
		for w := range writers {
			store := openStore(t, server, p, bucket, "writers", stubborn(false))
			defer store.Close()
			r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			wg.Go(func() {
				for i := range each {
					data := fmt.Appendf(nil, "writer %d, file %d", w, i)
					id, err := commit(t, r, data)
					mu.Lock()
					switch {
					case err == nil:
						committed[id] = data
					case errors.Is(err, log.ErrOutcomeUnknown):
						unknown++
					default:
						t.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		fired := p.Fired()
		p.Clear()
		p.Flush()
		r := testrepo.Open(t, openStore(t, server, p, bucket, "writers", retry.Options{}))
		for id, want := range committed {
			entry := r.State().Snapshots[id]
			if entry == nil {
				t.Errorf("snapshot %s was lost", id.Short())
				continue
			}
			snap, err := r.OpenSnapshot(entry)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := testrepo.ReadFile(t, r, snap); err != nil || !bytes.Equal(got, want) {
				t.Errorf("snapshot %s: %q, %v", id.Short(), got, err)
			}
		}
		entriesN, snapshots := r.State().N, len(r.State().Snapshots)
		t.Logf("%d commits, %d unknown, %d entries, %d requests tampered with", len(committed), unknown, entriesN, fired)
		if snapshots < len(committed) || snapshots > len(committed)+unknown || entriesN != uint64(1+snapshots) || fired == 0 {
			t.Errorf("%d snapshots", snapshots)
		}
	})
	testsys.VerifyNone(t, leaks)
}

func commit(t *testing.T, r *repo.Repository, data []byte) (id object.SessionID, err error) {
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		return id, err
	}
	defer s.Abort()
	m, err := testrepo.TryManifest(s, data)
	if err != nil {
		return id, err
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: m})
	if err != nil {
		return id, err
	}
	return snap.ID, nil
}
