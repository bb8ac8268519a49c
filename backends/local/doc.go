// Package local keeps objects as files in a folder: a disk, a mounted server. Package sftp puts the same
// folder on another machine, by giving [New] another file system.
//
// # Layout
//
// An object without a class is a file of its name. An object class/rest is the
// file class/<shard>/rest, so that no folder grows to millions of files: the
// shard of a number is all of its digits but the last three (a thousand files a
// folder), and of anything else its first two characters (256 folders for hex).
//
//	config
//	keys/5f/5f0c…               keys/5f/5f0c….copy
//	log/0000000000000/0000000000000001
//	data/9a/9a41…-07be…
//	tmp/put-<32 hex digits>     files being written, see package durable
//
// A file is an object only in the place that its name belongs to. Whatever else
// lies around is left alone and never listed: lost+found, editors' backups,
// links, folders.
//
// Files appear by link(2) with all of their bytes after an fsync, and their
// folders are synced before Put returns; package durable has the rules, and the
// whole disk is used through its seam. Files have mode 0600 and folders 0700,
// less the umask. Nothing is written by opening a store, so that one on a
// read-only disk can be read.
//
// A deletion is an unlink and no more. After a power failure a deleted object
// may be back, as if it had not been deleted yet; it is garbage still, and goes
// with the next collection.
package local
