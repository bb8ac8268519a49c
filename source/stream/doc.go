// Package stream reads what can be read only once: a pipe, or the output of a command.
//
// A [Reader] reads in a goroutine of its own, so that a cancelled context ends a read that the stream itself would
// never end. A [Command] is a program whose output is read; only its exit status says whether
// the output is complete.
package stream
