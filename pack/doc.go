// Package pack builds and reads packs: the objects that hold blobs.
//
// The bytes are fixed in docs/format.md, sections 6 and 7:
//
//	header (80) ‖ segments ‖ padding ‖ sealed directory ‖ its length (u32) ‖ "KPAK"
//
// A segment is the unit of compression and encryption: one large blob, or many small ones
// together. It is encrypted under a key of its origin (package seal), not of the pack, so that
// a collector can carry it into another pack as ciphertext, without the key that reads it. The
// directory says where the segments lie and which blobs they hold; it is sealed under the key
// of the index, so that everyone who may write may also list.
//
// What [Builder] writes is verified before it leaves: every segment is opened again from the
// very bytes that will be stored, decoded, and compared with the plaintext. A pack that a
// broken CPU, memory cell or compressor spoiled is not uploaded.
//
// The package does no I/O. Decoders are total: hostile bytes give an error, never a panic, and
// never make them allocate much more than they were given.
package pack
