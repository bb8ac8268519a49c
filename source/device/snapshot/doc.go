// Package snapshot makes copies of block devices and images that stand still while they are read, and sees to it that none of them
// is left.
//
// A [Provider] makes one kind of copy: a classic or thin LVM snapshot, a read-only snapshot of a btrfs subvolume, a reflink of an image,
// or whatever a command does, such as a cloud's API. A [Taker] goes through the steps around that:
//
//	watch    a process is started beside each file system that is going to be frozen
//	sync     what is dirty, also in what is mounted of the devices, is written, while nobody waits for it yet
//	lock     a command that the user names takes a lock, as that of a database
//	freeze   FIFREEZE of the mounted file systems, of which the watchdogs are told
//	copy     of all devices
//	thaw     FITHAW
//	unlock   the command goes on, and has to end well
//
// A step that fails ends the run, and what was done before is undone in the reverse order. How long the freeze and the lock have
// lasted is measured.
//
// # What is left when a run dies
//
// Before a copy is made a [Lease] says so: a file with the name of the copy, locked as long as the process lives. Copies have
// random names. The next run finds leases that nobody holds and removes what they name, and never what another
// run still uses.
//
// A freeze ends with its process by another one: the watchdog ([RunWatchdog]) holds the mount open and waits. When the
// process that has started it ends, however, or takes longer than was allowed, it thaws. A lock ends by itself: its holder ([RunHolder])
// knows how long it may be held. Programs of LVM make what writes to a volume wait by themselves, and so they are never told to end.
package snapshot
