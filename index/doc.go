// Package index builds and reads index segments: the objects that say in which packs, and
// where in them, blobs lie.
//
// The bytes are fixed in docs/format.md, section 8. An index segment is sorted by blob id and
// never changes. It has three columns that are sealed apart, so that who wants only to know
// which blobs exist reads only ids ([DecodeIDs]), and who looks for places does not read
// sketches.
//
// The index segments that the repository's state names are the authority. Package index/local
// makes from them the files that are fast to look into.
//
// The package does no I/O. Decoders are total, and what they return has been checked: every
// number that refers to something refers to something that is there.
package index
