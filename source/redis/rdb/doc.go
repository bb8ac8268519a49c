// Package rdb takes the files apart that Redis and Valkey save, and puts them in an order that does not depend on the server.
//
// A server writes its keys in the order of its hash tables, which is another one after each restart, so that two files with
// the same keys have hardly a chunk in common. [Examine] reads a file to its end, verifies its checksum and finds where each
// key's record is; [File.Write] writes the same as a file that any server loads, in which
//
//   - databases and, in them, keys are in ascending order, and so are the members of sets and hashes that the server keeps
//     in hash tables; values are as they were, byte for byte;
//   - functions are in ascending order;
//   - what differs between two files of the same data is missing: when and with how much memory the file was saved and the
//     offset of replication, which are in [Info], how long ago each key was used, and hints of sizes for clusters;
//   - the checksum is right.
//
// [File.WriteExact] writes besides what is needed to make the original again, byte for byte, which [Restore] does.
//
// # Memory
//
// Keys are sorted in bounded memory, whatever the file's size: what does not fit is left for a further pass over the file. An
// entry takes 32 bytes and the key, of long keys the beginning and a hash; with the 64 MiB of [DefaultMemory] that is a
// pass for each million keys or so. Values are never held as a whole.
//
// # Hostile files
//
// Nothing here trusts the bytes it reads: each length is bounded by what is there, and whatever is not understood is either
// a [DamageError] or, where a newer server may have written it, an [UnsupportedError].
package rdb
