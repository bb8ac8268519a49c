// Package files reads file trees of Linux: folders, what stat says of their entries, extended
// attributes, and the content of files.
//
// # Folders by descriptor
//
// A [Dir] is a folder that is known by its parent and its name. It is opened with openat when it
// is used, so paths may be longer than PATH_MAX, and a symlink that takes the place of a folder
// is never followed. A [Pool] keeps the most recently used folders open, up to a limit; others
// are opened anew, from their nearest open ancestor downwards, when they are used again. In
// a depth-first walk that happens seldom, however deep the tree is. A folder that was replaced
// meanwhile is noticed by its device and inode.
//
// # Opening
//
// Only regular files are opened for reading, with O_NONBLOCK and O_NOFOLLOW: if an entry
// became a FIFO or a symlink since it was looked at, neither blocks nor misleads. Access times
// are left alone (O_NOATIME) where the kernel allows that. A look at an entry triggers no
// automount; the opening of a folder does, so that it may be another one than was looked at.
package files
