// Package clock is the only place of the libraries that asks the machine for
// the time. Nothing that decides about safety may depend on it: clocks order
// nothing in kura, they only label snapshots and spare work. The one exception is
// package lease, which keeps writers apart where the store can not. Code that
// needs to be tested under a moving time takes a [Clock] and is given a [Fake].
package clock
