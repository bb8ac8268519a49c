// Package local is the local index: files in a cache folder in which blob ids are looked up.
//
// The authority is the repository's index segments (package index). This package makes files
// from them that need neither be read whole nor held in memory, and forgets them again: all it
// writes can be deleted at any time, and is rebuilt.
//
// # Levels
//
// The folder holds a few levels. A level is a bbolt file that was written once, in ascending
// order of its keys, under a temporary name, and then renamed and only read. Its buckets:
//
//	meta      "id" → the 8 random bytes that are also in the file's name
//	blobs     blob id → the places of the blob, one after another
//	filter    number → a part of a Bloom filter of the blob ids (filter.go)
//	packs     number (u32, big-endian) → class, session, hash, size
//	packrefs  hash of session ‖ hash → number
//	origins   number → kind, epoch, suite, number of the sealed secret, salt, commitment
//	originids hash of the origin's encoding → number
//	secrets   number → sealed secret
//	secretids hash of the sealed secret → number
//	sketches  last feature of a block → the block: entries of features and blobs (sketches.go)
//
// Packs, origins and sealed secrets are numbered through the whole folder: each level continues
// where the one before it ends, and refers only to its own numbers and to those before. A pack
// therefore has one number, whichever levels have blobs of it, and what is shared (the sealed
// secret of a session, above all) is stored once. A place also names the index segment it
// comes from. Its encoding is in place.go.
//
// What is similar to something ([View.Similar]) is found by the features of its sketch. An entry
// names the index segment that it comes from, as a place does; of each feature a level keeps only the
// newest few. In index segments without sketches this costs nothing.
//
// The levels are named, oldest first, by a manifest: file names, sizes and hashes, ranges of
// numbers, and which index segments each level contains. It is replaced atomically.
//
// # Sync
//
// [DB.Sync] is told the index segments of the state. If the levels contain them all, it opens
// the levels and is done. Otherwise it takes the builders' lock, loads the missing segments,
// and writes a new level of them: sorted runs of bounded size, spilled to an unnamed file, then
// merged. Large numbers of missing segments become several levels, each of which is kept even
// if the next fails. Then the newest levels are merged, as long as a level is not three times as
// large as all after it together or there are more than six: each blob is rewritten a few
// times in all, and lookups have few files to go through.
//
// Index segments that the state no longer names are not taken out at once: their places are
// skipped. A level in which they are more than a quarter is rewritten, with all after it.
//
// # Several processes, and damage
//
// Readers take no lock of ours. A level that a builder replaces loses its name while readers
// still have it open, which Unix allows; a reader that comes just between reads the manifest
// again. Each level is open with bbolt's shared lock, which only keeps out writers, of which a
// finished level has none.
//
// A level is synced before it gets its name, and the folder with the manifest. Nothing here has
// to survive a power failure, but what half survives would be worse than nothing: with the sync,
// which is one for each new level and not for each transaction, there is no such half. What
// remains is rot and meddling. A size or identity that differs from the manifest, a page on
// which bbolt panics, a fault on the mapped memory, or a place that does not decode: each makes
// the file count as missing. Its name is removed, so that the next Sync of any process builds
// it again, and [View.Err] says so. A file of up to 64 MiB is compared with its hash in the
// manifest whenever it is opened: bbolt makes slices of what damaged pages say, and where these
// lie in no memory of the process, Go's collector ends it. In larger files that can happen, and
// damage that nothing sees makes a blob appear to be missing or elsewhere. For a backup that
// costs space. Whoever is about to say that something is missing or damaged, or draws conclusions
// from absence as a collector does, calls [View.Verify] first, which compares every file.
package local
