// Package retain decides which snapshots a retention policy keeps. It is a pure function: snapshots,
// a policy and a time zone in, what to keep and what to remove out; no clock, no repository. What the
// rules mean to a user is in docs/retention.md.
//
// Snapshots are first put into groups ([Group]), by default one for each host and set of paths, and
// the policy is applied to each group by itself: the laptop's backups never push out the server's.
//
// A [Policy] has rules of two sorts. Those with slots (last, hourly … yearly, and the same within a time)
// put the snapshots of a group, newest first, into slots such as "the day 2026-03-01" and keep the newest
// of each slot, up to a number of slots or back to a time. Those without (with a tag, all within a time)
// look at each snapshot by itself. A snapshot is kept if any rule keeps it, and the reasons say which did.
// The names and meanings of the rules are those of restic.
//
// Not every snapshot may take a slot: that would push out a better one.
//
//   - One that is unsound, because its run was cut off or its source looked wrong, takes none. It is kept
//     while no newer sound one is there, since it may be all there is of the newest data; after that only
//     a rule without slots keeps it.
//   - One that is doubtful, because its time can not be right, takes none either, and is always kept:
//     nobody knows which slot is its own.
//
// A pinned snapshot is always kept. It takes slots like any other, so that to pin one changes nothing for
// the others.
//
// Everything here is a plain value or a function of its arguments, and safe for concurrent use.
package retain
