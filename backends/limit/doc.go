// Package limit slows a store down to given rates.
//
// All requests of a Store share one bucket of tokens for each direction. What is read is asked for in pieces, each
// when its turn has come, unless its length is not known before. What is written waits for its turn as a whole,
// since an object is put in one request; others get theirs in between. Lists and deletions are not slowed down.
package limit
