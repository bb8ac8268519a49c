// Package backends defines what kura asks of a place that keeps its objects.
//
// A store is a flat namespace of immutable objects: a folder on a disk, a
// bucket. A backend is the code for one kind of store. Backends know nothing of
// kura's formats; they move bytes under names, and they keep four promises on
// which the protocol above them rests:
//
//   - an object is created once, by exactly one of all who try, and its bytes
//     never change;
//   - a name is seen with all of its bytes or not at all;
//   - when Put returns nil, the object survives a power failure (where
//     [Caps].Durable is true), and is in every later List and Get;
//   - whatever a store has shown through List or Get survives a power failure
//     at the latest when a later Put through the same Store becomes visible.
//     Without this, a new entry could survive that rests on an object, seen but
//     not yet on disk, which does not.
//
// There is no overwrite, no rename, and no name is used twice.
//
// The contract in detail is on the methods of [Store]; package storetest is the
// same contract as a test that every backend must pass. Wrappers (fault and the
// like) are Stores around a Store and have an Unwrap method; [As] finds an
// optional ability beneath them. docs/backends.md says how to add a backend.
package backends
