// Package transfer copies snapshots from one repository to another.
//
// [Run] takes the snapshots one after the other. Of each it reads all folders in the source, asks the destination's
// index which blobs it has, reads those that it lacks from the source, pack by pack, and commits a snapshot with the
// same time, host, paths and tags. Nothing that was stored counts until then. A copy that is cut off leaves packs that
// the next one adopts.
//
// # Ids
//
// Where both repositories name blobs alike (repo.InitOptions.From), pages and chunks are stored under the ids that they
// have, and no byte is hashed again but to verify what was read. Elsewhere every blob gets a new id, and so do the
// pages that refer to it: folders are written anew from the bottom up. Chunks stay as they were cut.
//
// # Deltas
//
// What is a delta in the source is read together with its bases. It becomes a delta of the same blobs in the destination, if
// that has them, and nothing is read there for it; otherwise it is stored like everything else.
//
// # What is a copy of what
//
// A copy has the id of the snapshot that it is of in its manifest, and as the run id of its log entry: that can be
// read with a writer's key as well, which opens no manifests. A snapshot is passed over if the destination has it, or
// a live copy of it; whoever can open manifests does not take the word of an entry for it, but compares the
// manifests, and the roots where both repositories name blobs alike. The question is asked again whenever the log has
// moved, up to the commit: of two copies of a snapshot that are made at once, one is committed.
//
// # Trust
//
// What comes from the source is verified (decrypted, and the id computed again) before it is stored, and what is
// stored was opened again and compared before it is uploaded. A blob of which the source has no readable copy ends
// the copy of its snapshot, and no other.
package transfer
