package model

// Blob sets that runs save.
const (
	saveA   blobSet = 1
	saveB   blobSet = 2
	saveAB  blobSet = 3
	saveABC blobSet = 7
)

// smallWorlds are searched to the end. Each is as small as lets one part of the
// protocol show all it can do.
var smallWorlds = []config{
	{name: "adoption", saves: []blobSet{saveA, saveA, saveA}, collectors: 1, adopt: true, revoke: true, forgets: 1},
	{name: "adoption, two collections", saves: []blobSet{saveA, saveA}, collectors: 1, collects: 2, adopt: true, revoke: true, forgets: 2, unforgets: 1, crashes: 1},
	{name: "late puts", saves: []blobSet{saveA, saveA}, collectors: 1, adopt: true, revoke: true, forgets: 1, crashes: 1, unclear: 1, slow: 1, twice: 1},
	{name: "unclear answers", saves: []blobSet{saveA, saveA}, collectors: 1, adopt: true, revoke: true, forgets: 1, crashes: 1, unclear: 2},
	{name: "adoption, many runs", saves: []blobSet{saveA, saveA}, writerRuns: 2, collectors: 1, adopt: true, revoke: true, forgets: 2},
	{name: "forget and hold", saves: []blobSet{saveA, saveA}, subsets: true, writerRuns: 2, collectors: 1, collects: 2, adopt: true, hold: true, forgets: 2, unforgets: 1},
	{name: "carrying, two collectors", saves: []blobSet{saveAB}, writerRuns: 2, collectors: 2, carry: true, revoke: true, forgets: 1},
	{name: "carrying and adopting", saves: []blobSet{saveAB, saveA}, subsets: true, collectors: 1, carry: true, adopt: true, forgets: 1},
	{name: "carrying and merging, two collectors", saves: []blobSet{saveAB}, writerRuns: 2, collectors: 2, carry: true, merge: true, forgets: 1},
	{name: "merging", saves: []blobSet{saveA, saveB}, collectors: 1, collects: 2, merge: true, forgets: 1},
	{name: "merging, two collectors that fail", saves: []blobSet{saveAB}, collectors: 2, merge: true, carry: true, revoke: true, forgets: 1, crashes: 1, unclear: 1, slow: 1},
	{name: "deltas", saves: []blobSet{saveAB, saveAB}, subsets: true, collectors: 1, delta: true, dup: true, adopt: true, forgets: 1},
	{name: "deltas outlive their bases", saves: []blobSet{saveAB}, subsets: true, writerRuns: 3, collectors: 1, delta: true, forgets: 2},
	{name: "deltas carried", saves: []blobSet{saveAB, saveA}, collectors: 1, delta: true, split: true, carry: true, adopt: true, forgets: 1},
	{name: "deltas merged", saves: []blobSet{saveAB, saveB}, collectors: 1, delta: true, merge: true, forgets: 1},
	{name: "chains of deltas", saves: []blobSet{saveABC, saveA}, collectors: 1, delta: true, adopt: true, split: true, forgets: 1},
	{name: "chains of deltas outlive their bases", saves: []blobSet{saveABC}, subsets: true, writerRuns: 2, collectors: 1, delta: true, carry: true, forgets: 1},
	{name: "partial snapshots", saves: []blobSet{saveAB, saveA}, collectors: 1, partial: true, adopt: true, revoke: true, forgets: 1},
	{name: "partial snapshots that fail", saves: []blobSet{saveAB}, collectors: 1, collects: 2, partial: true, adopt: true, revoke: true, forgets: 1, unforgets: 1, crashes: 1, unclear: 1},
}

// largeWorlds are searched as far as the bound goes.
var largeWorlds = []config{
	{name: "three writers, two collectors", saves: []blobSet{saveA, saveA, saveA}, collectors: 2, adopt: true, revoke: true, forgets: 1, unforgets: 1, crashes: 1, unclear: 1, slow: 1},
	{name: "two collectors carry what writers adopt", saves: []blobSet{saveAB, saveA}, collectors: 2, carry: true, adopt: true, revoke: true, forgets: 1},
	{name: "two collectors merge what writers adopt", saves: []blobSet{saveA, saveA}, collectors: 2, merge: true, adopt: true, revoke: true, forgets: 1},
	{name: "two collectors and failures", saves: []blobSet{saveA, saveA}, collectors: 2, adopt: true, revoke: true, forgets: 1, unforgets: 1, crashes: 1, unclear: 1},
	{name: "two collectors carry and merge", saves: []blobSet{saveAB}, writerRuns: 2, collectors: 2, carry: true, merge: true, revoke: true, hold: true, forgets: 1, unforgets: 1},
	{name: "deltas with everything", saves: []blobSet{saveAB, saveAB}, subsets: true, writerRuns: 2, collectors: 1, collects: 2, delta: true, dup: true, carry: true, merge: true, adopt: true, revoke: true, forgets: 2, crashes: 1},
	{name: "chains of deltas, two collectors", saves: []blobSet{saveABC, saveAB}, collectors: 2, delta: true, carry: true, adopt: true, forgets: 1},
	{name: "partial snapshots with everything", saves: []blobSet{saveAB, saveA}, collectors: 1, collects: 2, partial: true, adopt: true, revoke: true, merge: true, carry: true, forgets: 2, unforgets: 1, crashes: 1, unclear: 1, slow: 1},
}

// walkedWorld has everything, and room for long histories.
var walkedWorld = config{
	name:  "everything",
	saves: []blobSet{saveABC, saveABC, saveABC}, subsets: true, writerRuns: 60, collectors: 2, collects: 60,
	crashes: 20, unclear: 40, slow: 40, twice: 10, forgets: 60, unforgets: 20,
	adopt: true, dup: true, split: true, delta: true, partial: true,
	carry: true, merge: true, hold: true, revoke: true, lazy: true,
}

// withAll completes a world: all rules, and at least one run for each actor.
func withAll(c config) config {
	c.rules = allRules()
	c.writerRuns, c.collects = max(1, c.writerRuns), max(1, c.collects)
	return c
}
