// Package lossy is a file system for tests that loses power: a [durable.FS] in
// memory that records every operation, and from any prefix of them makes the
// disks that a power failure at that moment may leave.
//
// It promises as little as POSIX does, and less than any file system in use:
//
//   - A file's bytes are safe after fsync of the file. Of those written since,
//     any part may be there: none, a prefix that ends anywhere, the full size
//     with zeros in it, or any mixture of sectors of 512 bytes that are written,
//     zero, or somebody else's.
//   - A file's name is safe after fsync of its folder, and of no other. Each
//     create, link, unlink, rename and mkdir since is kept or lost independent
//     of all others, whatever their order. A rename within a folder is atomic;
//     one between two folders is two changes, so that afterwards the file may
//     have both names, or none.
//   - A folder that is not there takes along all that was synced in it.
//   - A failed fsync of a file drops what it should have written; the next one
//     succeeds over the hole.
//
// It keeps two promises beyond that, which [durable] relies on: a link or a
// rename never shows a part of itself, and fsync of a folder that succeeds covers
// all changes before it, also those that an earlier, failed one did not.
package lossy
