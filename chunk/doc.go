// Package chunk cuts a stream of bytes into what a repository stores of it: chunks of data,
// found by content, and stretches that are known to be zero and need no data at all.
//
// The rule is section 12 of docs/format.md; the boundaries are part of the identity of what
// is stored, so they may never change. In short:
//
//   - The unit of the zero rule is a block of 4096 bytes, counted from the start of the
//     stream. A last, shorter block counts as a block.
//   - A maximal run of 16 or more blocks that are all zero is not chunked. It becomes extents
//     of kind [Zeros] and [Hole]. A block is a hole where the source reported the whole of it
//     as one; neighbours of the same kind are one extent, however long.
//   - Every maximal stretch of data between such runs is cut by itself as restic's chunker
//     v0.5.0 cuts a stream, with the repository's secret polynomial: after 64 bytes whose Rabin
//     fingerprint ends in 20 zero bits, not before [MinSize] bytes and after [MaxSize] at the
//     latest.
//
// So the chunks of a file depend on its bytes alone: not on how a reader returns them, and not
// on whether holes are reported or read as zeros. Only the kind of an extent depends on that.
//
// # Buffers
//
// A [Cutter] reads into one window that it keeps from file to file and hands out chunks as
// slices of it, valid until the next call. At that moment the caller knows the exact length and
// can hash in place, so that a chunk which the repository has already is never copied at all,
// a small one is copied once, straight into the group it is stored with, and a large one once
// into a buffer (and a budget) of its exact size. Reading into buffers of the caller instead would
// need one of 8 MiB for every chunk, since its length is not known before it has been read, and
// would still have to copy what was read past each boundary.
//
// The window starts at 1 MiB and grows only when a chunk does not fit; it is at most
// 8 MiB + 576 KiB. A file below 512 KiB costs one read into it, one look at the first word
// of each block, and nothing else: no allocation, no clearing and no fingerprint, since there is
// no boundary before the minimum.
//
// # Structure
//
// The search for boundaries knows nothing of reading, blocks or holes. Whether a place can
// be a boundary depends on the 64 bytes before it alone, and whether it is one on the distance
// to the boundary before. So the places can be looked for in several parts of a file at once,
// as the search already does within a piece, and the minimum and maximum applied in order
// afterwards.
//
// That is what [Ahead] does for a long stream: a goroutine reads pieces of 256 KiB, others each look for the first
// place in a piece, and [Cutter.Next] goes through the pieces in order, by the same code as ever, and asks what was found
// instead of searching. Since no chunk is shorter than the minimum, a third of all bytes need not be searched; so each
// place that is found says from where on the next is looked for. That guess fails where runs of zeros shift what follows, and
// where a place turns out to be in the middle of a chunk: then Next searches itself what was left out. Who
// reads, searches and cuts thus never has to wait for who comes after him, the boundaries are the same whatever was guessed,
// and the search costs about what it costs one goroutine alone.
//
// Pieces lie one behind the other in one of two slabs, so that a chunk is one slice and is copied by nobody before its
// user does so; only where a chunk begins in one slab and ends in the next its beginning is moved in
// front of the latter. A small hole is laid out as the zeros that it may turn out to be.
//
// The fingerprint is computed here and not by restic's package, whose rolling state
// hides this; that package provides the arithmetic of polynomials, and in the tests the truth.
package chunk
