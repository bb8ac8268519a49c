// Package backup makes snapshots of file trees, and of what a source.Source writes.
//
// [Run] reads a source, stores what the repository does not have, and commits a snapshot. What could
// not be read of the source is reported, counted, and said in the snapshot; what the repository
// could not take ends the run, and nothing is committed.
//
// # The walk
//
// A walk is depth-first in the order of names, by as many workers as there are CPUs, from one
// stack of tasks. A task is the next batch of a folder's entries: its worker looks at all
// of them, puts the subfolders it finds on the stack, and reads the files. A large file hands what
// is left of its batch back first; one that is larger still, and a stream, is read and searched for chunks by
// goroutines of its own, so that a single one keeps all CPUs busy. Results may come in any order; each folder passes them on, in
// the order of names, to the writer of its pages, and keeps only what is ahead of an entry
// that is still being worked on. Folders are closed from the bottom up. No more than a bounded
// number of folders is open at once, however deep the tree is.
//
// # Sources
//
// What is no file tree of this machine is written by a source.Source, in any order, by several goroutines if it likes, into a
// source.Writer (feed.go). A file of up to 60 KiB is stored when it is closed; a larger one has a goroutine of its own, to
// which the source hands what it writes, or a reader, or a hole (inlet.go), so that bytes are copied once, to where they are
// searched for chunks. Nothing of the snapshot is known to be the last until the source has ended: so each entry leaves a
// record of some 250 bytes, and in the end the records are sorted, names of one file are found, and the pages of all folders written
// in one go beside those of the parent (feedtree.go). A map of what has changed lets whole extents of the parent be used
// again without being read (feedmap.go). There are no partial snapshots of sources, and none is begun anew: a source that has ended
// can not be read again.
//
// # What is left out
//
// What the options say of a folder is its scope: patterns and markers decide by names, before an entry is looked at; its
// size, its file system and the ignore files by what stat says. A given path below another one is backed up whatever
// is found on the way to it: folders in between that are left out themselves have nothing in them but that way.
//
// # The parent
//
// What the parent snapshot has at the same path is looked up page by page beside the walk. A file of
// the same size, mtime, ctime and inode is not read: its blobs are relied on, if the repository
// still has all of them. The ctime can not be set by programs, so this misses a change only if the change
// came after the file had been read and in the same tick of the file system's clock: therefore a file whose
// ctime is not clearly before the start of the parent's run is read again. A folder in
// which nothing changed keeps the parent's page, and its page is not even made. If the newest
// snapshot is a partial one, of a run that was cut off, then what it does not have is looked up in
// the newest complete one.
//
// # What a file was before
//
// Of a file that is read although a parent has it, and of a stream, the session is told what the parent has: a
// predecessor says which earlier blobs lay where a chunk lies now, and of what is like one of
// them only the difference is stored. Nothing but space depends on it.
//
// # Partial snapshots
//
// Every few minutes the workers are stopped between two tasks, or between two chunks of a large
// file; the pages of all open folders are written with the entries finished so far, and committed as
// a partial snapshot. The walk goes on in a new session that relies on everything stored before. A
// run that is interrupted commits nothing more: it ends at once, and a next run adopts the packs that it
// left and starts from its last partial snapshot.
//
// # Files that change
//
// A file is looked at before and after it is read. If it changed, it is read again, unless it is large:
// then, and after the second repetition, what was read is kept, with the state from before, so that the
// next run reads it again; and it is reported.
package backup
