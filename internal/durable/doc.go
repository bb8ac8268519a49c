// Package durable holds the rules by which files become, and stay, true on a
// disk: everything in kura that must survive a power failure on a file system
// is written through it, and nothing else calls fsync.
//
// # What a file system promises
//
// Less than it seems. Data written to a file is on the disk after fsync of the
// file; that the file has a name is on the disk after fsync of the folder that
// holds the name, and that the folder has one after fsync of its own parent.
// Until then a power failure may keep any part of it and drop any other, in any
// order. A failed fsync may have dropped the data and marked it clean, so that
// the next one succeeds over a hole.
//
// # Creating a file
//
// [Writer.CreateExclusive] makes a file appear with all of its bytes, once:
//
//  1. create tmp/put-<random> and take its lock, write (large files past the
//     page cache, where that works), fsync. A failure here abandons the
//     temporary file; its fsync is never tried again.
//  2. make the missing folders on the way to the name, and fsync the parent of
//     each one, whoever made it: another process may have made it and not come
//     to its fsync.
//  3. fsync every folder in which others' files were seen (see below).
//  4. link(2) the temporary file to the name. This is atomic and refuses a
//     taken name. Where a file system has no links (exFAT, some FUSE and SMB),
//     renameat2(RENAME_NOREPLACE) does the same.
//  5. unlink the temporary name and fsync the folder of the name. Concurrent
//     calls share this fsync: one that begins after a link covers it.
//
// When the fsync in step 5 fails the file is there, but perhaps only until the
// next power failure. The name is then read back; if it holds the bytes, the
// fsync is tried once more on a fresh descriptor, which settles an interruption
// or a server that was away. A device that lost the block fails again, or has
// turned read-only, and the caller gets a [*SyncError].
//
// fsync and not fdatasync: the file is new, its inode and size have to be
// journalled either way (ext4 and XFS commit the same transaction, btrfs writes
// the same log tree), so fdatasync would save nothing here, and only fsync
// also keeps the modification time, which is the store's time of the object.
//
// A link that was sent and got no answer, as when a server was cut off, may still
// be on its way. The temporary name is removed first, so that it finds nothing to
// link any more; what the name holds then is final. If that fails, too, it is an
// [*UnclearError]. Whoever reads the name later and finds its own bytes takes them
// for done, so it tells [Writer.Found] first, which makes them durable.
//
// # What was seen
//
// A process can see a file before its writer has come to step 5, and the writer
// can die there. Whoever writes a file that rests on it has to make it durable
// first. ext4 and XFS happen to, since their journals are sequential; btrfs
// does not: fsync of one folder says nothing about another. So readers tell
// [Writer.Saw] the folders in which they found something, and step 3 makes them
// durable. A folder that has nothing to sync costs little.
//
// # Temporary files
//
// A temporary file is litter when its writer is dead. The writer holds flock(2)
// on it, which the kernel drops with the process, so [Sweep] removes what it can
// lock: a proof of death where a file's age would be a guess, made with clocks,
// that leaves litter for a day and still hits a writer that was suspended.
// Where locks do not reach the other machines of a shared folder, or a writer
// has not come to its lock yet, Sweep can hit a living writer, and that is
// harmless: the file has no other name yet, so link fails with ENOENT, and
// CreateExclusive begins again. It does not sweep again then, as two writers that
// hit each other would never end; a Writer sweeps once, before its first file. On
// file systems without locks only temporary files older than a day are removed.
//
// # The seam
//
// Nothing here calls the operating system but [Dir], through the interface
// [FS]. Folders of other machines are behind it as well ([Far]): there, what would
// cost a trip over the network each is done many at a time. A file system that drops, reorders and tears what was not synced, or
// dies between any two calls, goes in its place: package lossy.
package durable
