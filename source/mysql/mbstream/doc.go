// Package mbstream takes apart the stream that mariadb-backup writes, in which pieces of several files follow one another in any
// order: bytes in, files out.
//
// A stream is a sequence of chunks, all numbers with the least significant byte first:
//
//	"XBSTCK01"  8 bytes
//	flags       1; bit 0: who does not know the type may skip the chunk
//	type        1; 'P' has a piece of a file, 'E' ends a file
//	path        4 bytes of length, and as many bytes
//
// and for 'P' also
//
//	length      8
//	offset      8, where the piece belongs in the file
//	checksum    4; CRC-32 (IEEE) of the piece
//	piece       as long as length says
//
// The stream has no end of its own: that it is complete only the program's exit status says. A file that was begun and not ended is
// an error here.
package mbstream
