// Package restore writes what is in a snapshot into a folder.
//
// # Stages
//
// A walker reads the tree of the snapshot, makes folders, and gathers files into batches of bounded
// size. For each batch it looks up where the blobs lie and sorts them by pack and segment. While the
// walker is at the next batch, the batch runs through stages: fetchers read ranges of packs, in which neighbouring
// segments are joined; decoders decrypt and decompress each segment once and verify the id of
// every blob in it that is wanted; writers put the blob at each of its places. Buffers come
// from budgets that bound what is in flight. Each stage waits only for the ones behind it.
//
// A file with one extent of data, as nearly all have, is created, written, given its metadata and
// closed in one go. Others are written in pieces, from several packs, as these come; a bounded
// number of them is kept open. Holes, and zeros, are not written.
//
// # Order
//
// In a batch: folders (mode 0700 so far), files, then symbolic links and special files, hard links
// last. The metadata of a folder is set when everything in it is complete, so the deepest come
// first and nothing that follows changes its times. For each entry: owner, extended attributes (changing the owner removes
// capabilities), mode (changing the owner clears setuid, setting an access
// control list may clear setgid, and a read-only file refuses attributes), times, inode flags. Flags that forbid links wait
// for the hard links.
//
// # Existing targets
//
// Existing folders are kept and get the metadata of the snapshot. Anything else that has the name of an
// entry is removed and made anew; where that is a folder and the entry is not, that is an error of
// the entry. A folder above the paths that were backed up replaces nothing: the backup may have gone
// through a symbolic link there, which everything else in the target relies on. A symbolic link in the target is never followed. The target folder itself gets metadata only if
// a folder is restored as it and it did not exist. Entries that the snapshot does not have stay.
//
// # Owners
//
// Owners are set by number. What the user may not set, or the file system can not keep, is not an error
// of each file but counted by kind in [Result.Omitted]. A file that could not be given its owner
// loses its setuid and setgid bits: they would lend the rights of whoever restored it.
//
// # Damage
//
// A damaged or missing pack costs the files that need it and no others. Each is reported with the
// [repo.DamageError] and counted in [Result.Damaged]; at its name there is then what was there
// before, or nothing. Where a pack is missing because a collector replaced it meanwhile, the blobs
// are looked up again in a newer state.
//
// # Durability
//
// Restored means written to the file system and not, unless [Options.Sync] is set, synced to the disk:
// a restore that a power failure made void can be repeated. A run that fails or is cancelled
// removes files that are not complete; one that is killed can leave such files, private to the user (mode 0600), and
// folders of mode 0700. Restoring again replaces them.
//
// # Escape safety
//
// All access to the target is in package jail, below this one; its documentation has the rules.
package restore
