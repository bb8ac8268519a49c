package model

// rules are the rules of docs/protocol.md that can be removed, under the names
// they have there. The zero value is no protocol at all; start from allRules.
type rules struct {
	putsConfirmed bool // packs are stored before the entry that names them
	segsConfirmed bool // so are index segments
	sameBytes     bool // one number, one entry, until its fate is known
	ownFirst      bool // after an unclear answer look for the own entry

	freshID       bool // a new session id for every attempt
	freshPartial  bool // and for the entry after a partial snapshot
	writerRevoked bool // a writer notices that it was revoked

	adoptDropped bool // a dropped pack is not adopted
	adoptSession bool // nor one whose session is closed or revoked
	adoptFull    bool // judged by the whole fold, not by new entries
	adoptCheck   bool // adopted packs are checked on a retry
	ownCheck     bool // own packs too
	relyCheck    bool // and packs relied upon
	partialRely  bool // also those of the run's own partial snapshot

	indexAdopted  bool // adopted packs are listed by the adopter
	indexComplete bool // merging lists all of a live pack, needed or not
	indexRetry    bool // merging is computed again on a retry

	deltaBase  bool // a delta counts only while its base counts
	deltaDepth bool // only a base of smaller depth grounds a delta
	deltaRely  bool // storing a delta relies on its base's packs
	relyChain  bool // and on those of the base's base
	markBase   bool // collectors keep the bases of needed deltas
	markChain  bool // and the bases' bases

	keepNeeded       bool // every needed blob counts in what is kept
	keepForgotten    bool // forgotten and not gone is needed
	markAll          bool // a retry marks old snapshots as well as new ones
	recompute        bool // a retry chooses the packs to drop again
	goneNow          bool // gone is what is forgotten now
	collectorRevoked bool // a collector notices that it was revoked
	revokeOwn        bool // a collector does not revoke itself

	unforgetCheck    bool // gone snapshots stay gone
	deleteOwn        bool // giving up deletes nothing
	deleteOrphan     bool // packs of open sessions are not deleted
	deleteAfterEntry bool // packs are deleted after the entry, not before
	indexDeleteAfter bool // so are replaced index segments
	logKept          bool // log entries are never deleted
}

// allRules is the protocol as it stands.
func allRules() rules {
	return rules{
		putsConfirmed: true, segsConfirmed: true, sameBytes: true, ownFirst: true,
		freshID: true, freshPartial: true, writerRevoked: true,
		adoptDropped: true, adoptSession: true, adoptFull: true, adoptCheck: true,
		ownCheck: true, relyCheck: true, partialRely: true,
		indexAdopted: true, indexComplete: true, indexRetry: true,
		deltaBase: true, deltaDepth: true, deltaRely: true, relyChain: true, markBase: true, markChain: true,
		keepNeeded: true, keepForgotten: true, markAll: true, recompute: true,
		goneNow: true, collectorRevoked: true, revokeOwn: true,
		unforgetCheck: true, deleteOwn: true, deleteOrphan: true,
		deleteAfterEntry: true, indexDeleteAfter: true, logKept: true,
	}
}

// config says how large a world is searched. Budgets bound the steps that could
// otherwise be repeated for ever.
type config struct {
	name  string
	rules rules

	saves      []blobSet // one per writer: what each of its runs saves
	subsets    bool      // or any part of it
	writerRuns int       // runs of each writer
	collectors int
	collects   int // runs of each collector

	crashes   int // actors that die
	unclear   int // log puts without an answer
	slow      int // pack and index puts that land later
	twice     int // puts that land a second time
	forgets   int
	unforgets int

	adopt   bool // writers adopt what they find listed
	dup     bool // writers may store what they could rely on
	split   bool // writers put two blobs in two packs
	delta   bool // writers store deltas
	partial bool // runs commit a partial snapshot first
	carry   bool // collectors carry copies to new packs
	merge   bool // collectors replace index segments
	hold    bool // collectors may leave forgotten snapshots
	revoke  bool // collectors revoke open sessions
	lazy    bool // collectors may keep more than is needed

	cleanEvery uint64 // check the clean run in one of so many states; 0 is never
}

// writers is how writers judge deltas.
func (r *rules) writers() grounding { return grounding{r.deltaBase, r.deltaDepth, r.relyChain} }

// collectors is how collectors judge deltas.
func (r *rules) collectors() grounding { return grounding{r.markBase, r.deltaDepth, r.markChain} }

// strict reports whether nothing was removed, so that the lemmas behind the
// rules can be checked besides the rules' purpose.
func (c *config) strict() bool { return c.rules == allRules() }
