package model

import (
	"strings"
	"testing"
)

// removals has a case for each rule: the world in which its absence shows.
// Drafts of the protocol that failed are marked as such.
var removals = []struct {
	name   string
	remove func(*rules)
	world  config
}{
	{
		"puts-confirmed", func(r *rules) { r.putsConfirmed = false },
		config{saves: []blobSet{1}, slow: 1},
	},
	{
		"puts-confirmed/index", func(r *rules) { r.segsConfirmed = false },
		config{saves: []blobSet{1}, slow: 1},
	},
	{
		"same-bytes", func(r *rules) { r.sameBytes = false },
		config{saves: []blobSet{3}, partial: true, unclear: 1},
	},
	{
		"own-first", func(r *rules) { r.ownFirst = false },
		config{saves: []blobSet{1}, unclear: 1, forgets: 1, collectors: 1},
	},
	{
		"fresh-id", func(r *rules) { r.freshID = false },
		config{saves: []blobSet{1}, collectors: 1, revoke: true},
	},
	{
		"fresh-id/one id for two entries (draft)", func(r *rules) { r.freshPartial = false },
		config{saves: []blobSet{3}, partial: true},
	},
	{
		"writer-revoked", func(r *rules) { r.writerRevoked = false },
		config{saves: []blobSet{1}, collectors: 1, revoke: true},
	},
	{
		"adopt-dropped", func(r *rules) { r.adoptDropped = false },
		config{saves: []blobSet{1, 1, 1}, collectors: 1, adopt: true, forgets: 1},
	},
	{
		"adopt-session", func(r *rules) { r.adoptSession = false },
		config{saves: []blobSet{1, 1}, collectors: 1, adopt: true, revoke: true},
	},
	{
		"adopt-full/only new entries looked at (draft)", func(r *rules) { r.adoptFull = false },
		config{saves: []blobSet{1, 1}, collectors: 1, adopt: true, revoke: true},
	},
	{
		"adopt-check", func(r *rules) { r.adoptCheck = false },
		config{saves: []blobSet{1, 1}, collectors: 1, adopt: true, revoke: true},
	},
	{
		"own-check", func(r *rules) { r.ownCheck = false },
		config{saves: []blobSet{1, 1}, collectors: 1, adopt: true, forgets: 1},
	},
	{
		"rely-check", func(r *rules) { r.relyCheck = false },
		config{saves: []blobSet{1, 1}, collectors: 1, forgets: 1},
	},
	{
		"partial-rely", func(r *rules) { r.partialRely = false },
		config{saves: []blobSet{3}, collectors: 1, partial: true, forgets: 1},
	},
	{
		"index-adopted", func(r *rules) { r.indexAdopted = false },
		config{saves: []blobSet{1, 1}, adopt: true},
	},
	{
		"index-complete", func(r *rules) { r.indexComplete = false },
		config{saves: []blobSet{3, 1}, subsets: true, writerRuns: 2, collectors: 1, merge: true, forgets: 1},
	},
	{
		"index-complete/merged segment not computed again", func(r *rules) { r.indexRetry = false },
		config{saves: []blobSet{1, 2}, collectors: 1, merge: true},
	},
	{
		"delta-base", func(r *rules) { r.deltaBase = false },
		config{saves: []blobSet{3}, subsets: true, writerRuns: 4, collectors: 1, forgets: 3, delta: true},
	},
	{
		"delta-depth", func(r *rules) { r.deltaDepth = false },
		config{saves: []blobSet{3, 3}, subsets: true, writerRuns: 2, collectors: 1, delta: true, dup: true},
	},
	{
		"delta-rely", func(r *rules) { r.deltaRely = false },
		config{saves: []blobSet{1, 2}, collectors: 1, forgets: 1, delta: true},
	},
	{
		"delta-rely/only one base deep", func(r *rules) { r.relyChain = false },
		config{saves: []blobSet{saveAB, 4}, subsets: true, writerRuns: 2, collectors: 1, forgets: 2, delta: true, lazy: true},
	},
	{
		"mark-base/only one base deep", func(r *rules) { r.markChain = false },
		config{saves: []blobSet{saveABC}, subsets: true, writerRuns: 3, collectors: 1, forgets: 2, delta: true},
	},
	{
		"mark-base", func(r *rules) { r.markBase = false },
		config{saves: []blobSet{1, 2}, collectors: 1, forgets: 1, delta: true},
	},
	{
		"keep-needed", func(r *rules) { r.keepNeeded = false },
		config{saves: []blobSet{1}, collectors: 1},
	},
	{
		"keep-forgotten", func(r *rules) { r.keepForgotten = false },
		config{saves: []blobSet{1}, collectors: 1, forgets: 1, hold: true},
	},
	{
		"mark-all/only new snapshots marked (draft)", func(r *rules) { r.markAll = false },
		config{saves: []blobSet{1}, collectors: 1, forgets: 1, unforgets: 1},
	},
	{
		"recompute", func(r *rules) { r.recompute = false },
		config{saves: []blobSet{1, 1}, collectors: 1, forgets: 1},
	},
	{
		"recompute/two collectors keep different copies", func(r *rules) { r.recompute = false },
		config{saves: []blobSet{1, 1}, collectors: 2},
	},
	{
		"gone-now", func(r *rules) { r.goneNow = false },
		config{saves: []blobSet{1}, collectors: 1, forgets: 1, unforgets: 1},
	},
	{
		"collector-revoked (draft)", func(r *rules) { r.collectorRevoked = false },
		config{saves: []blobSet{3}, collectors: 2, carry: true, revoke: true},
	},
	{
		"revoke-own", func(r *rules) { r.revokeOwn = false },
		config{saves: []blobSet{1}, forgets: 1, collectors: 1},
	},
	{
		"unforget-check", func(r *rules) { r.unforgetCheck = false },
		config{saves: []blobSet{1}, collectors: 1, forgets: 1, unforgets: 1},
	},
	{
		"delete-garbage/own adopted orphan (draft)", func(r *rules) { r.deleteOwn = false },
		config{saves: []blobSet{1, 1}, adopt: true},
	},
	{
		"delete-garbage/orphan of an open session", func(r *rules) { r.deleteOrphan = false },
		config{saves: []blobSet{1}},
	},
	{
		"delete-after-entry", func(r *rules) { r.deleteAfterEntry = false },
		config{saves: []blobSet{1}, collectors: 1, forgets: 1},
	},
	{
		"index-delete-after", func(r *rules) { r.indexDeleteAfter = false },
		config{saves: []blobSet{1}, collectors: 1, merge: true},
	},
	{
		"log-kept/entries below a checkpoint deleted (draft)", func(r *rules) { r.logKept = false },
		config{saves: []blobSet{1, 1}},
	},
}

// TestSearch_RuleRemoved_FindsViolation shows that the search would notice.
func TestSearch_RuleRemoved_FindsViolation(t *testing.T) {
	for _, x := range removals {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			c := withAll(x.world)
			x.remove(&c.rules)
			c.cleanEvery = 1
			r := search(t.Context(), &c, 300_000, 1)
			if r.bad == nil {
				t.Fatalf("without this rule nothing was found: %d states, exhausted %v, %d steps left out", r.states, r.exhausted, r.full)
			}
			if len(r.bad.trace) != r.depth {
				t.Errorf("the trace has %d steps, the search went %d deep", len(r.bad.trace), r.depth)
			}
			t.Logf("%d states, %d steps deep: %s", r.states, r.depth, r.bad)
		})
	}
}

// TestSearch_RuleRestored_FindsNothing shows that it is the rule, not
// the world, that makes the difference.
func TestSearch_RuleRestored_FindsNothing(t *testing.T) {
	for _, x := range removals {
		c := withAll(x.world)
		c.cleanEvery = 1
		if r := search(t.Context(), &c, 20_000, 1); r.bad != nil {
			t.Errorf("%s: %s", x.name, r.bad)
		}
	}
}

// TestWalk_RuleRemoved_FindsViolation shows that random steps would notice too,
// in the world that has everything.
func TestWalk_RuleRemoved_FindsViolation(t *testing.T) {
	if brief() {
		t.Skip("the search has shown it; this takes long with the race detector")
	}
	for _, x := range removals {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			c := withAll(walkedWorld)
			x.remove(&c.rules)
			if strings.HasSuffix(x.name, "deep") {
				// Chains take long to grow; failures would cut them short.
				c.crashes, c.slow, c.twice, c.unclear = 0, 0, 0, 0
			}
			r := walk(t.Context(), &c, 1, 2_000_000, 400)
			if r.bad == nil {
				t.Fatalf("without this rule nothing was found in %d steps", r.steps)
			}
			t.Logf("after %d steps: %s", r.steps, r.bad.why)
		})
	}
}
