// Package treecmp tells in what two folders on disk differ. Tests decide with it whether what was restored is what
// was backed up, so it shares no code with backup or restore, and asks the kernel in other ways than they do.
//
// Everything is reached relative to an open folder by a single name: paths may be longer than the kernel takes,
// names need not be UTF-8, links are not followed. Two folders are open at a time, however deep they are.
//
// Compared are types, permissions, owners, sizes, content, times of modification to the nanosecond, targets
// of links, device numbers, extended attributes (and with them access control lists and capabilities), inode
// flags, and which names are hard links of one file; and where files have holes if that is asked for. Not compared
// are the times that nobody can set (change, birth), that of the last access, and inode numbers.
package treecmp
