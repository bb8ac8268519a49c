// Package gc collects: it frees what no snapshot needs any more.
//
// A run is one session with one entry, made by the rules of docs/protocol.md, section 7, or several such, one
// after the other: what was written again is committed every so often (run.go). It marks the
// blobs that live snapshots need, chooses packs to drop (dead ones; sparse and small ones after
// carrying their live segments, as ciphertext, into new packs), replaces index segments that list
// packs which are not live, revokes sessions that are dead, and commits all of that as one collect
// entry. Only after the entry is in the log are objects deleted, and only garbage: a run that dies at
// any moment leaves a repository that is whole, and a later run frees the rest.
//
// What the entry drops is decided twice. The plan is made on the state at the beginning. When the
// entry is built, on that state or a newer one, every blob that a live snapshot needs is looked up
// again: a pack whose loss would cost one stays (rescue in commit.go). So an error in choosing costs
// space, not data. Nor does a list that is wrong: a copy in another pack is a reason to drop one only
// if this run has read that copy (rival.go).
//
// Marking keeps 6 bytes of each needed data blob's id (set.go), and whole ids of tree blobs. Two data blobs that
// agree in these make one of them stay for longer than needed, and nothing else. What needed blobs are made
// of, as deltas, is marked in one pass over the index (bases.go).
package gc
