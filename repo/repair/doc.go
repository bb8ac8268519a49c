// Package repair makes the best of a damaged repository. It never deletes: what it mends it writes anew, and
// what it can not mend it sets aside, byte for byte, before an entry of the log stops naming it.
//
//   - Index makes index segments again, from the directories of the packs.
//   - Packs carries all that can be read of damaged packs into new ones, and drops the damaged.
//   - Snapshots makes, of snapshots that have lost something, new ones without that.
//
// Index and Packs are collectors in the sense of docs/protocol.md: one session, one collect entry, computed
// again over the whole new state when somebody else was faster. Packs may drop a pack though a snapshot
// needs blobs of it. It does so only for blobs that can not be read any more, and by that makes them absent
// from the index: the next backup that meets them stores them again, and the old snapshots are whole again,
// since blobs are named by their content.
//
// All three may run beside backups, restores and collectors, and may die at any moment: what they have
// uploaded belongs to an open session, and the next prune frees it.
package repair
