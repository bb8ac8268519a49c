// Package object names things: the classes of stored objects, sessions, blobs, and the
// textual names under which objects lie in a store.
//
// It is the vocabulary shared by the formats and the protocol and imports neither.
// The names are listed in docs/format.md, section 3.
package object
