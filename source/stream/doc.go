// Package stream backs up what can be read only once: standard input, or the output of commands.
//
// A [Source] makes a file of each stream. It succeeds only if all of them were there in full: a stream without bytes, or a
// command that fails, is ended by a signal or can not be started, ends the run, and nothing is saved.
//
// A [Reader] reads in a goroutine of its own, so that a cancelled context ends a read that the stream itself would
// never end. A [Command] is a program whose output is read; only its exit status says whether
// the output is complete.
package stream
