// Package model searches the commit protocol of docs/protocol.md for ways to lose data.
//
// The protocol is written here a second time, small enough to be enumerated: a
// few writers and collectors, up to three blobs, plain or as deltas, a store
// whose puts may land late and whose deletes may happen at any time, and users
// who forget and unforget. Every interleaving of their steps is a path in a
// graph of states. The package walks that graph, breadth first until it is
// exhausted or a bound is reached, or at random, and checks after each step
// that every snapshot can be restored.
//
// # What keeps the model honest
//
// Each rule of the protocol is a field of the type rules. The tests remove one
// rule at a time and demand that the search finds a violation then: a rule
// whose removal nothing notices is either not a rule or not modelled. They also
// demand that each kind of step was taken at least once.
//
// # What is left out, and why that is sound
//
//   - The log is not stored. An actor that folded to the tail knows the tail's
//     state; once another entry lands the actor is stale, its next put finds
//     its number taken, and it folds to the tail again. So one bit per actor
//     stands for its position, and a put in flight is dead as soon as any
//     other entry lands.
//   - Folding and deciding is one step. A decision taken later by the same fold
//     differs only in what it may wrongly believe, and every belief is checked
//     again against the whole fold before an entry lands.
//   - Deletes carry no memory. Garbage stays garbage, so a delete asked for
//     early and done late is a delete asked for late.
//   - Readers have no steps of their own. By docs/protocol.md they go on
//     whenever the tail moved, so all they need is that whatever the tail's
//     fold names exists, which is checked in every state.
//   - Roles, signatures and the hash chain are not modelled.
package model
