// Package schedule runs the real code of repo, repo/log and repo/gc under a scheduler.
//
// Each client, a writer, a collector, or somebody who forgets, unforgets, pins or reads, is a Repository of its
// own on one store in memory. The clients run in a bubble of testing/synctest. Each operation that a client asks of
// its store waits until the scheduler lets it happen: when nobody can go on by himself, the scheduler
// chooses whose operation is next, and whether a fault happens with it: the client dies, an answer is
// lost, a put or a delete happens later, or once more. So a schedule is a list of choices.
//
// Small worlds are searched to the end: every order of operations that do not commute is run once
// (dynamic partial order reduction with source sets: two reads commute, and so do operations on different
// objects, but for a listing and a change in what it lists). Larger ones, and faults, are searched
// at random, and with priorities that change at few places, which finds orders that are rare
// otherwise. A listing can be weak there, as the store's contract permits: what is put or deleted while it runs
// is in it or not.
//
// After each schedule a client that knows nothing opens the repository. Every snapshot that somebody was told
// is committed, and that nobody has forgotten, is read and compared; no entry is void; check finds nothing; and
// one collection leaves nothing that nobody needs.
//
// broken_test.go breaks a rule, such as that a put is create-only, and wants to see data being lost: a search that
// finds nothing there would find nothing anywhere. clock_test.go lets clients sleep for days and gives them,
// and the store, clocks that are wrong.
//
//	go test -v ./internal/schedule                      prints how many schedules were run
//	go test ./internal/schedule -schedule.runs=100000   more of the random ones
//	go test ./internal/schedule -schedule.limit=0       exhaustive searches to their end
//	go test ./internal/schedule -schedule.seed=7        repeats the random ones
package schedule
