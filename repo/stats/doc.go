// Package stats counts what a repository holds: what its snapshots would take on a disk, what it takes itself,
// and how much of it was proven readable lately.
//
// It reads, and changes nothing. Its functions are safe for concurrent use.
package stats
