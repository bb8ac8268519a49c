// Package redis backs up Redis and Valkey servers, and makes of a backup what such a server starts with.
//
// [Source] takes the data in one of these ways:
//
//   - the server saves an RDB file (BGSAVE), which is read where it lies;
//   - the server sends one, as it does to a replica, wherever it runs;
//   - an RDB file that is there is read;
//   - the files of an append-only folder are read, while the server writes them.
//
// What was read is complete: an RDB file to its checksum, an append-only file to the end of the last command, and
// a save is one that began after the backup did.
//
// RDB files are stored in the canonical form of package rdb if it knows them, and otherwise as they are. What arrives over
// a connection is kept in an unlinked temporary file meanwhile, encrypted with a key that only this process's memory has, because
// sorting needs all of it.
package redis
