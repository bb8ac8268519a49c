// Package jail creates and changes entries below one folder and nowhere else, whatever their names are
// and whatever else happens in that folder meanwhile.
//
// A snapshot may be hostile: made by somebody who wants the restore to write outside of its target.
// The target may be hostile as well: an older restore or a local user may have put symbolic links in
// the way, or puts them there now. So nothing in package restore but this package touches the file
// system, and it keeps to these rules:
//
//   - [Open] opens the target with [os.Root]; the path to the target is the user's word and is followed.
//     From then on there are no paths: every operation takes a folder that is open and a single name.
//   - A name is one component. It is refused if it is empty, "." or "..", or has a slash or a zero
//     byte; so it can neither climb nor skip a level.
//   - The kernel resolves that name without following it: O_NOFOLLOW on every open, and the
//     operations on links, not on what they point to. This is stricter than os.Root, which follows
//     links as long as they stay inside: a link that was planted is in the way, never a way.
//   - Files are created with O_EXCL. What is in the way of one is unlinked first, unless it is a folder, or replaced by a rename
//     within the folder.
//     The content of an existing file is written to only if it is the one that was looked at and has no other name.
//   - What is deleted is unlinked by a single name in an open folder. The way down into a folder follows no link and
//     enters no other mount; the way back up is "..", which is checked to be the folder that was come from. What is to be
//     spared is told by what it is (device, inode, type), or by what is in it, not by its name.
//   - Owner, mode, attributes, times and flags are set on open descriptors, never by name: of a file or
//     folder on its own, of other entries on one opened with O_PATH, which pins the entry without
//     opening it. An entry that is opened again by its name must still be the one
//     that was created (device, inode, type), so nobody can slip in another, nor a hard link to one.
//   - No descriptor is opened in a way that blocks or has effects: no device and no FIFO is opened
//     but with O_PATH.
//
// What remains: somebody who may rename folders of the target while a restore writes to them can
// move them elsewhere, and what is written into them moves along, as with os.Root. Folders are
// private to the restoring user (mode 0700) until they are complete, so that this takes the same user or root.
//
// The package needs Linux.
package jail
