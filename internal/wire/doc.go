// Package wire reads and writes the CBOR structures of the repository format
// (docs/format.md, section 1).
//
// Writing is core deterministic encoding of structs with integer keys. Reading is bounded:
// every input is first scanned once, without allocating, and refused if it has indefinite
// lengths, duplicate or non-integer map keys, tags, floats, more than [MaxDepth] levels, a
// length past its end, invalid UTF-8 in a text, trailing bytes, or an unknown negative key of a
// struct, at any depth. Only then does the CBOR library see it.
//
// The scan knows the Go type that is being filled, and is stricter than the library where the
// library would guess: a byte string for a [N]byte must have N bytes, []byte takes nothing but
// a byte string, and null fills nothing but pointers.
//
// All functions are safe for concurrent use.
package wire
