// Package fuzz holds the fuzz targets: whatever bytes a store returns, every decoder of the
// repository format gives a value or an error of its own, in bounded time and memory.
//
// The inputs under testdata/fuzz run as ordinary tests. To search for new ones:
//
//	go test ./fuzz -fuzz FuzzSlotOpen -fuzztime 1m
package fuzz
