// Package binlog reads the binary log of MariaDB: bytes in, events out.
//
// A log file begins with the bytes fe 62 69 6e ("bin") and is a sequence of events, all numbers with the least significant byte
// first:
//
//	time       4 bytes, seconds since 1970
//	type       1
//	server     4, of whom the event comes from
//	length     4, of the whole event
//	end        4, where the event ends in the file
//	flags      2
//	body
//	checksum   4; CRC-32 (IEEE) of all before, if the first event says so
//
// The first event describes the format; its body ends with a byte that says whether there are checksums. A transaction begins with
// an event of type 162, which has its number and its domain: its GTID is domain-server-number. An event of type 163, near the
// begin of a file, lists the last GTIDs before it, and one of type 4 at the end says which file is next.
package binlog
