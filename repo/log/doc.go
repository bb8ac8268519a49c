// Package log is the repository's log: a totally ordered list of create-only entries, and the
// state that their fold gives.
//
// Everything that changes a repository is one entry. An entry is computed from the state after
// entry n and put as log/<n+1>; the store lets exactly one client win that name. Who loses folds
// what won, checks again against the whole new state, and tries the next number ([Log.Commit]).
// There are no locks, and no clock decides anything.
//
// The rules are written out in docs/protocol.md and searched by repo/model; the bytes are in
// docs/format.md, sections 9 and 10. This package decides what an entry may do to a state and
// keeps the hash chain; what goes into an entry is decided by sessions (package repo) and the
// collector (repo/gc).
//
// A [State] is never changed once it was handed out: folding makes a new one.
package log
