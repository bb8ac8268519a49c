// Package retry repeats what a store fails to do now and may do later, and ends what takes too long.
//
// What is repeated follows from the error's kind, which the backend knows:
//
//	            Transient        Unclear
//	Get, List   again            again
//	Delete      again            again; gone by then counts as deleted
//	Put         again            passed up: the caller looks whose bytes the name has
//
// Errors that are permanent are passed up at once. Between two tries there is a pause that doubles, with jitter, up to a
// limit. Tries are bounded in number and in time, counted from an operation's first failure, so that the restart of a
// server is survived and its loss is reported. A store that has not answered once is given up sooner: its address may
// be wrong.
//
// Every request has a deadline. It is one for the slowest line that is still of use, by the number of bytes; where the
// store tells how a request comes along ([backends.Progress]), it is instead a time within which some of them must
// move, and of a local store there is none. A request that waits for its turn in the client is not counted as one that stands still. A request that was
// ended so is Transient, a Put Unclear.
//
// Bandwidth limits belong around this Store, not beneath it: what waits for its turn there has no deadline.
package retry
