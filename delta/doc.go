// Package delta writes a block of bytes, the target, as what it has in common with another, its base, and what is new; and it sketches
// blocks, so that those which have much in common can be found. It knows nothing of blobs, packs or stores. What deltas are for in a
// repository, how bases are chosen, and where the algorithms come from is in docs/delta.md.
//
// # The stream
//
// A stream is a list of operations, each of which inserts bytes (literals) and then copies some of the base. It is written so that zstd,
// which comes next, finds it easy: in columns of numbers that are like each other, and all literals together.
//
//	uvarint lengths of the three columns ‖ inserts ‖ copies ‖ addresses ‖ literals
//
// Each column has one uvarint for each operation: how many bytes are inserted, how many are copied, and where from. E is where the last copy ended
// in the base (0 at first), and I is how many bytes are inserted:
//
//	0          from E+I: the inserted bytes took the place of as many
//	1 + 2d     from E+d; so 1 is what follows bytes that were put between
//	2d         from E-d, d above 0
//
// So what is most frequent, a change that leaves the length as it was and one that only adds, has one address each, however many bytes are new.
// Literals that are left after the last operation come last. docs/format.md, section 6.1, has the same exactly.
//
// [Apply] believes nothing: it takes any stream, allocates no more than the target's length, and reads nothing outside of the base. [Makes]
// compares in place of writing, and [Pieces] applies a chain of streams without writing what is between its ends.
//
// # The search
//
// [Encoder] goes through the target and does in each place what is cheapest first:
//
//   - Copying goes on where it would have without the bytes inserted, if eight bytes there are the same. Most changes to records and pages are
//     of this kind, and need no lookup at all.
//   - The window of 16 bytes at this place is looked up in a hash table of windows of the base, every 16th byte beginning one.
//   - A match is extended to both sides. If it could as well take the place of short copies before it, which were found for
//     want of better, these are dropped.
//
// A match has to be the longer the further it leads away, since the way back costs as well: 12 bytes where copying goes on, 40 elsewhere.
// The longer nothing is found, the more bytes are left out between lookups, always an odd number in steps, which meets every place of a window in turn:
// a long match is found all the same, and by its extension to the left nothing is lost.
//
// The table has, at first, the windows around where copying goes on, and is put together as the search gets there: 4 KiB ahead of each
// change. Most that is put in, taken out or changed is a little of much that stays, so that this is enough; and it costs a third of the
// time, since what is equal is compared 512 bytes at a time and looked at in no other way. Where 20 KiB and a third of the target are not found, the search begins
// anew, with a table of the whole base (of bases of 8 MiB and more with fewer windows, so that it stays below 5 MiB); 12 bits of
// tag in each of its entries say nearly always, without a look at the base, when a window is not there.
//
// Before that second search 64 places of the target are looked up. Where they show that the stream can not keep to its limit, the rest is spared.
//
// # The sketch
//
// [SketchOf] takes windows of 32 bytes whose first eight have a hash that one of 64 has, each at least 64 bytes behind the one before, and
// computes nine linear transforms of each window's hash. The greatest value of each transform is a feature: two blocks have it in common with the probability with which a window of
// either is in both. Three features together are one super-feature, and a sketch is three of those. Sketches are stored, so what SketchOf returns may never
// change; docs/format.md, section 6.2, defines it.
package delta
