package repo_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

func sids(snaps ...*repo.Snapshot) (out []object.SessionID) {
	for _, s := range snaps {
		out = append(out, s.ID)
	}
	return out
}

func TestPin_PinnedSnapshot_CanNotBeForgotten(t *testing.T) {
	r, store := testrepo.New(t)
	a, b := testrepo.CommitFile(t, r, []byte("a")), testrepo.CommitFile(t, r, []byte("b"))
	if done, err := r.Pin(t.Context(), sids(a, a)); err != nil || !slices.Equal(done, sids(a)) {
		t.Fatal(done, err)
	}
	if done, err := r.Pin(t.Context(), sids(a)); err != nil || len(done) != 0 {
		t.Fatal("pinned twice", done, err)
	}
	if done, err := r.Forget(t.Context(), sids(a, b)); err != nil || !slices.Equal(done, sids(b)) {
		t.Fatal(done, err)
	}
	if done, err := r.Pin(t.Context(), sids(b)); err != nil || len(done) != 0 {
		t.Fatal("pinned what is forgotten", done, err)
	}
	other := testrepo.Open(t, store)
	list, err := other.Snapshots(t.Context())
	if err != nil || len(list) != 1 || !list[0].Entry.Pinned {
		t.Fatal(list, err)
	}
	if done, err := other.Unpin(t.Context(), sids(a)); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	// r does not know yet that it was unpinned: the commit finds out.
	if done, err := other.Forget(t.Context(), sids(a)); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	if done, err := r.Pin(t.Context(), sids(a)); err != nil || len(done) != 0 {
		t.Fatal("pinned what another client had forgotten", done, err)
	}
}

// A partial snapshot that was pinned meanwhile stays when its run goes on.
func TestCommit_PinnedPartialSnapshot_IsNotSuperseded(t *testing.T) {
	r, store := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run := s.ID()
	partial, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, []byte("x")), Partial: true, Run: run})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testrepo.Open(t, store).Pin(t.Context(), sids(partial)); err != nil {
		t.Fatal(err)
	}
	next, err := s.Continue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, next, []byte("y")), Run: run, Supersede: sids(partial)}); err != nil {
		t.Fatal(err)
	}
	if st := r.State().Snapshots[partial.ID]; !st.Live() {
		t.Error("it was superseded")
	}
	if len(r.Log().Void()) != 0 {
		t.Error("a void entry")
	}
}

func TestSetTags_ChangesAreKeptAndSeenByAll(t *testing.T) {
	r, store := testrepo.New(t)
	a, b := testrepo.CommitFile(t, r, []byte("a")), testrepo.CommitFile(t, r, []byte("b"))
	set := func(tags ...string) func([]string) []string {
		return func(old []string) []string { return append(old, tags...) }
	}
	if done, err := r.SetTags(t.Context(), sids(a, b, a), set("y", "x", "y")); err != nil || !slices.Equal(done, sids(a, b)) {
		t.Fatal(done, err)
	}
	n := r.State().N
	if done, err := r.SetTags(t.Context(), sids(a), set("x")); err != nil || len(done) != 0 || r.State().N != n {
		t.Fatal("an entry that changes nothing", done, err)
	}
	// Another client, which has not read that yet, adds to it.
	other := testrepo.Open(t, store)
	if _, err := r.SetTags(t.Context(), sids(b), set("z")); err != nil {
		t.Fatal(err)
	}
	if _, err := other.SetTags(t.Context(), sids(b), set("w")); err != nil {
		t.Fatal(err)
	}
	got := map[object.SessionID][]string{}
	list, err := testrepo.Open(t, store).Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		got[s.ID] = s.Tags
	}
	if diff := cmp.Diff(map[object.SessionID][]string{a.ID: {"x", "y"}, b.ID: {"w", "x", "y", "z"}}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "caf\xe9", strings.Repeat("x", 16<<20)} {
		if _, err := r.SetTags(t.Context(), sids(a), set(bad)); !errors.Is(err, repo.ErrTag) {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
	if _, err := r.SetTags(t.Context(), sids(a), func([]string) []string { return nil }); err != nil {
		t.Fatal(err)
	}
	s, _, err := r.FindSnapshot(t.Context(), a.ID.String(), repo.SnapshotFilter{})
	if err != nil || len(s.Tags) != 0 {
		t.Error(s.Tags, err)
	}
}

func TestFindForgotten_SaysWhatBecameOfIt(t *testing.T) {
	r, _ := testrepo.New(t)
	a, b := testrepo.CommitFile(t, r, []byte("a")), testrepo.CommitFile(t, r, []byte("b"))
	if _, err := r.Forget(t.Context(), sids(a)); err != nil {
		t.Fatal(err)
	}
	if s, err := r.FindForgotten(t.Context(), a.ID.Short()); err != nil || s.ID != a.ID {
		t.Fatal(s, err)
	}
	if _, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id   string
		want error
	}{
		"collected":     {a.ID.Short(), repo.ErrGone},
		"live":          {b.ID.Short(), repo.ErrNotForgotten},
		"never there":   {strings.Repeat("0", 32), repo.ErrNotFound},
		"too short":     {"abc", repo.ErrNotFound},
		"not an id":     {"elephant", repo.ErrNotFound},
		"longer than 1": {a.ID.String() + "0", repo.ErrNotFound},
	} {
		if _, err := r.FindForgotten(t.Context(), c.id); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// commitAt makes a snapshot that says it was made at a time.
func commitAt(t *testing.T, r *repo.Repository, at time.Time, given bool) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := testrepo.Manifest(t, s, []byte(at.String()))
	if m.Time = at.UnixNano(); given {
		m.TimeGiven = 1
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: m})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func TestFindDoubtful_Table(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.Now()
	for name, c := range map[string]struct {
		ahead  time.Duration // of the snapshot's time, before the store's time of its commit
		given  bool
		copied time.Duration // how much later than its making the repository was copied to this store
		want   bool
	}{
		"right":                          {0, false, 0, false},
		"a long run":                     {-6 * day, false, 0, false},
		"a little in the future":         {59 * time.Minute, false, 0, false},
		"in the future":                  {61 * time.Minute, false, 0, true},
		"in the future, given":           {61 * time.Minute, true, 0, true},
		"long ago":                       {-8 * day, false, 0, true},
		"long ago, given":                {-8000 * day, true, 0, false},
		"long ago in a copied store":     {-20 * day, false, 30 * day, false},
		"in the future in a copied one":  {61 * time.Minute, false, 30 * day, true},
		"store's clock is a little late": {-8 * day, false, 6 * day, true},
	} {
		now := clock.NewFake(begin.Add(c.copied))
		r := testrepo.Init(t, mem.NewWithClock(now))
		snap := commitAt(t, r, now.Now().Add(c.ahead), c.given)
		if err := r.FindDoubtful(t.Context(), []*repo.Snapshot{snap}); err != nil {
			t.Fatal(err)
		}
		if snap.Doubtful != c.want {
			t.Errorf("%s: doubtful %t", name, snap.Doubtful)
		}
	}
}

// TestFindDoubtful_StoresClockIsTheMachines_JumpsAreFound has a store whose clock is as wrong as that of the machine that backs up into it,
// as that of a folder is.
func TestFindDoubtful_StoresClockIsTheMachines_JumpsAreFound(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.Now()
	for name, c := range map[string]struct {
		at     []int // days since the repository was made, for each snapshot
		wrong  []int // which of them have a wrong time
		latest int
	}{
		"ahead":                   {[]int{0, 36 * 365, 1}, []int{1}, 2},
		"back":                    {[]int{0, -3650, 1}, []int{1}, 2},
		"back, and the newest":    {[]int{0, 1, -3650}, []int{2}, 1},
		"back, but not to before": {[]int{0, 400, 401, 30, 402}, []int{3}, 4},
		"ahead for some days":     {[]int{0, 1, 2, 9000, 9001, 3, 4, 5}, []int{3, 4}, 7},
		"both":                    {[]int{0, 9000, -9000, 1}, []int{1, 2}, 3},
		"a little":                {[]int{0, 3, 1, 4}, nil, 3},
		"nothing tells yet":       {[]int{0, 9000}, nil, 1},
	} {
		now := clock.NewFake(begin)
		r := testrepo.Init(t, mem.NewWithClock(now))
		var snaps []*repo.Snapshot
		for _, days := range c.at {
			now.Advance(begin.Add(time.Duration(days) * day).Sub(now.Now()))
			snaps = append(snaps, commitAt(t, r, now.Now(), false))
		}
		if err := r.FindDoubtful(t.Context(), snaps); err != nil {
			t.Fatal(err)
		}
		var wrong []int
		for i, s := range snaps {
			if s.Doubtful {
				wrong = append(wrong, i)
			}
			if ahead := s.Doubtful && c.at[i] > 1000; s.Ahead != ahead {
				t.Errorf("%s: snapshot %d is ahead: %t", name, i, s.Ahead)
			}
		}
		if !slices.Equal(wrong, c.wrong) {
			t.Errorf("%s: %v are doubtful", name, wrong)
		}
		if got, _, err := r.FindSnapshot(t.Context(), "latest", repo.SnapshotFilter{}); err != nil || got.ID != snaps[c.latest].ID {
			t.Errorf("%s: latest is not snapshot %d, %v", name, c.latest, err)
		}
	}
}

func TestFindSnapshot_AllAreAhead_LatestIsTheNewest(t *testing.T) {
	r, _ := testrepo.New(t)
	want := func(s *repo.Snapshot) {
		t.Helper()
		if got, _, err := r.FindSnapshot(t.Context(), "latest", repo.SnapshotFilter{}); err != nil || got.ID != s.ID {
			t.Errorf("another is the latest, %v", err)
		}
	}
	commitAt(t, r, time.Now().Add(100*time.Hour), true)
	want(commitAt(t, r, time.Now().Add(200*time.Hour), true))
	want(commitAt(t, r, time.Now(), true))
}

// TestFindSnapshot_AClockStaysWrong_LatestIsTheNewest has a clock that goes wrong, and stays so, behind a snapshot that tells of another time than
// that of its commit, as a repaired one does.
func TestFindSnapshot_AClockStaysWrong_LatestIsTheNewest(t *testing.T) {
	const hour = time.Hour
	now := clock.NewFake(time.Now().Add(-1000 * hour))
	r := testrepo.Init(t, mem.NewWithClock(now))
	latest := func(s *repo.Snapshot) {
		t.Helper()
		if got, _, err := r.FindSnapshot(t.Context(), "latest", repo.SnapshotFilter{}); err != nil || got.ID != s.ID {
			t.Errorf("another is the latest, %v", err)
		}
	}
	commitAt(t, r, now.Now(), false)
	commitAt(t, r, now.Now().Add(-500*hour), true)
	for range 3 {
		now.Advance(24 * hour)
		latest(commitAt(t, r, now.Now().Add(2*hour), false))
	}
	now.Advance(hour)
	latest(commitAt(t, r, now.Now(), false))
}

// What is put into a copy a day later has a time of its own again.
func TestFindDoubtful_CopiedStore_DoubtsWhatCameLater(t *testing.T) {
	const day = 24 * time.Hour
	now := clock.NewFake(time.Now().Add(100 * day))
	r := testrepo.Init(t, mem.NewWithClock(now))
	now.Advance(2 * day)
	snap := commitAt(t, r, now.Now().Add(-9*day), false)
	if err := r.FindDoubtful(t.Context(), []*repo.Snapshot{snap}); err != nil || !snap.Doubtful {
		t.Error(snap.Doubtful, err)
	}
}
