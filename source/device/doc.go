// Package device backs up block devices and images of them, and brings them back.
//
// A [Device] is opened once and read in blocks of 1 MiB, past the page cache where that is possible, by a few readers ahead
// of who uses the blocks. A block that can not be read ends the run with the offset: a snapshot that is short, or full of
// zeros where nobody could look, would be worse than none. Holes of images are not read, and blocks of zeros are
// told as such.
//
// What is known beforehand is a map: a list of [source.Range] made by whoever knows what changed. [ReadMap] reads
// the text form of one, [ParseThinDelta] what the tools of thin pools say, and [Compare] asks a file system with shared extents in what
// two copies of an image differ. Ranges that are the same refer to a state of the device, the one that the parent snapshot is of.
// Each backup notes which state it is of, and a map that begins with another one is refused: [ErrSince].
//
// # The root hash
//
// The snapshot says what was read: BLAKE3 over the size, as eight bytes with the lowest first, and the BLAKE3 hashes of all blocks of
// 1 MiB, of which the last may be shorter. So blocks can be hashed on all CPUs in any order, a hole costs nothing, and what
// was restored can be compared with what was read without any trust in what is in between. Where a map left
// out what is the same there is no root hash: a restore then compares each chunk with its name.
package device
