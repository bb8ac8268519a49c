// Package repo is a repository: blobs, packs, index and log put together over a store.
//
// A [Repository] is opened with a credential. It reads blobs ([Repository.LoadBlob]) and snapshots
// ([Repository.Snapshots]); a [Session] adds blobs and commits a snapshot. Nothing that a session
// stores counts until its one log entry is in the log, so a session that dies leaves the repository
// as it was.
//
// The way of a blob in: [Session.Save] names it (keyed BLAKE3), looks it up in the local index and
// among what the session has already stored, and forgets it if it is known. Small blobs are grouped.
// A group, or a large blob, is a segment: a worker compresses it and seals it into an open pack,
// where it is opened, decoded and compared with the plaintext again. A full pack is named by its
// hash and uploaded beside the work on the next one; its directory goes into the session's index
// segment. [Session.Commit] waits for all of it and then adds the log entry.
//
// The way out: the index gives a blob's place, a range of the pack is fetched, opened, decoded, and
// the blob's id is computed again before anybody sees its bytes.
//
// The rules about who may rely on which pack are in docs/protocol.md; the bytes in docs/format.md.
package repo
