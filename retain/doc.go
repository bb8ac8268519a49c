// Package retain decides which snapshots a retention policy keeps. It is a pure function: snapshots
// and a policy in, what to keep and what to remove out; no clock, no repository.
//
// Snapshots are first put into groups ([Group]), by default one for each host and set of paths, and
// the policy is applied to each group by itself: the laptop's backups never push out the server's.
//
// A policy is a list of rules. A rule puts the snapshots of a group, newest first, into slots and keeps
// the newest of each of its first n slots. For "last" every snapshot is a slot of its own; rules by
// hour, day or year have the same shape with the hour, day or year as the slot. A snapshot is kept if
// any rule keeps it, and the reasons say which did.
//
// Only sound snapshots fill slots. A snapshot that is partial (its run was cut off) or suspect (its
// source looked wrong) must not push out the newest sound one. Such a snapshot is kept while it is newer
// than every sound one, since it may be all there is of the newest data, and removed after that. Where
// a group has no sound snapshot at all the policy is applied to the others, so that something stays.
package retain
