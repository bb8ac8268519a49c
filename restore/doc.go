// Package restore writes what is in a snapshot into a folder.
//
// # Stages
//
// A walker reads the tree of the snapshot, makes folders, and gathers files into batches of bounded
// size. For each batch it looks up where the blobs lie and sorts them by pack and segment. While the
// walker is at the next batch, the batch runs through stages: fetchers read ranges of packs, in which neighbouring
// segments are joined; decoders decrypt and decompress each segment once and verify the id of
// every blob in it that is wanted; writers put the blob at each of its places. Buffers come
// from budgets that bound what is in flight. Each stage waits only for the ones behind it. From a near store
// fetchers themselves decrypt and write what is not compressed: it is still in the core's cache.
//
// A file with one extent of data, as nearly all have, is created, written, given its metadata and
// closed in one go. Others are written in pieces, from several packs, as these come; a bounded
// number of them is kept open. Holes are not written; what were zeros with space on disk gets the space without being
// written, or with [Options.Sparse] none.
//
// # Deltas
//
// A blob can be stored as the difference to others, its bases, and they again. What deltas of a batch are made of is planned
// with it, from the least deep copies, and decoded beside the other stages in a lane of its own, in which the
// ciphertext of bases is fetched in joined ranges, ahead, and each base is decoded once for all deltas that need it. Its
// plaintext is kept until the last of them is decoded. All that is kept or in work there is bounded by linkedBudget; a base is
// read a second time only if
//   - the deltas that need it are so far apart that the budget does not reach, or in different batches;
//   - something of a chain was damaged: its blobs are tried again without the lane, with every copy of each base, verified and
//     mended one by one;
//   - more than maxBases bases are needed for one batch, or a delta has more than is allowed.
//
// A delta whose chain takes more than half of the budget is decoded while no other is. Of several bases the one that takes
// the most is decoded first, so that a chain takes hardly more than its largest step. Whoever forges chains can not make
// it decode more than maxMade segments for a blob.
//
// What the index says of a segment may be forged, too: each that is said to be different is a segment of its own, and those
// that overlap never share memory, since they are decrypted in place.
//
// # Order
//
// In a batch: folders (mode 0700 so far), files, then symbolic links and special files, hard links
// last. The metadata of a folder is set when everything in it is complete, so the deepest come
// first and nothing that follows changes its times. For each entry: owner, extended attributes (changing the owner removes
// capabilities), times, inode flags, mode (changing the owner clears setuid, setting an access
// control list may clear setgid, and a read-only file refuses attributes; and as long as the mode is that of something unfinished the next
// run sets all of it again), and at the very end flags that forbid changes. Those that forbid links wait
// for the hard links.
//
// # Existing targets
//
// Existing folders are kept and get the metadata of the snapshot, whatever [Options.Overwrite] says: a run that was cut
// off may have made them. A file that exists is compared with the snapshot, blob by blob, on all cores, and only
// blobs that differ are fetched. If none does, only metadata that differs is set. Otherwise a file of several blobs is changed in place, and
// one of a single blob is removed and made anew when the blob has been fetched and verified.
//
// In place and not in a copy that is renamed: a disk image of which little has changed needs no second time its
// space, and no time to copy what is the same. But a file is made anew all the same, with all of its content, where
//   - it has other names: they may be outside of the target, and whoever linked it there did not ask for this;
//   - its owner differs, or it lets others read or write it who may not in the snapshot: they may have it open;
//   - it is a program that runs, which the kernel lets nobody write to;
//   - it is no regular file, or can not be read.
//
// Nor is metadata set on a file with other names: unless all of it is right already, the file is made anew.
//
// A file of several blobs that is made anew in the place of something else is made beside it, under a name of kura's own, and takes its name
// when it is whole: what is there may be all that is left, should one of the blobs be lost or the disk be full. What a killed run has
// left unfinished is not worth the space of a second one and removed first.
//
// Before the first byte of a file is written it gets the mode 01600 ([jail.Unfinished]), and its own mode when the last
// one is. That sticky bit means nothing on files and is hardly ever set, and it says to the next run that this file
// is half old and half new, or half there: it is completed under every policy, also those that keep
// existing files or trust their times. So a run that is killed needs nothing but to be repeated. Against power failure
// that holds with the default policy, which compares content: data and mode may reach the disk in any order.
//
// Links and special files are removed and made anew unless a symbolic link is as it should be. Where a folder is in the
// way of something else that is an error of the entry, unless [Options.Delete] lets it be deleted. A folder above the paths that were backed up replaces nothing: the backup may have gone
// through a symbolic link there, which everything else in the target relies on. A symbolic link in the target is never followed. The target folder itself gets metadata only if
// a folder is restored as it and it did not exist. Then it is made with the mode 01700 ([jail.UnfinishedFolder]), and has it until it gets its own, so
// that the run after one that was cut off knows it from a folder of the user's, whose rights and owner are none of its business. Entries that the snapshot does not have stay, unless [Options.Delete]
// is set: then they are deleted when the folder is complete, but only from folders that were themselves backed up, and
// of which the snapshot has all names; never on another mounted file system, never what patterns leave out, and never what is in
// [Options.Spare], nor a folder with the config of the repository that is read. Not every folder says that it lacks something: one that was only gone through to a path given below it is known by the
// paths of the snapshot, one in which a file system was mounted that the backup did not go into by being empty, the topmost
// folder of what a repair has saved loses nothing, and partial snapshots are refused.
//
// # Owners
//
// Owners are set by number. What the user may not set, or the file system can not keep, is not an error
// of each file but counted by kind in [Result.Omitted]. A file that could not be given its owner
// loses its setuid and setgid bits: they would lend the rights of whoever restored it.
//
// # Damage
//
// A blob that can not be had from one place is tried at the others, and then from the packs as a whole, which are
// mended from parity if that is possible. What is left costs the files that need it and no others. Each is reported with the
// [repo.DamageError] and counted in [Result.Damaged]; at its name there is then what was there
// before, or nothing, or, if it was changed in place, what could be had and its old bytes otherwise, marked as
// unfinished. A page of a folder that is lost costs the names on it. Where a pack is missing because a collector replaced it meanwhile, the blobs
// are looked up again in a newer state.
//
// # Durability
//
// Restored means written to the file system and not, unless [Options.Sync] is set, synced to the disk:
// a restore that a power failure made void can be repeated. A run that fails or is cancelled
// removes files that it made and that are not complete; one that is killed can leave such files, private to the user (mode 01600), and
// folders of mode 0700, or 01700 the target itself. Restoring again completes them; files that were made beside others are made anew. Only a target that is immutable in the snapshot can be left
// without that flag, by a run that was killed just before it would have set it.
//
// # Bounds
//
// What is planned at a time has bounds in entries, blobs and bytes, as have the folders that the walker has still to
// look into, and folders in each other end at 10,000. The number of entries has none: a small
// snapshot can name any number of them, since equal folders are stored once. Such a restore takes no more memory than others and can be
// stopped at any time.
//
// # Escape safety
//
// All access to the target is in package jail, below this one; its documentation has the rules.
package restore
