// Package archive writes what is in a snapshot as a tar or zip archive, as a stream.
//
// A tar archive has all that the format knows: owners, times to the nanosecond, extended attributes, devices, hard links. In a
// zip archive hard links are files of their own, owners are numbers, times are whole seconds, and there are no extended
// attributes and no devices. Neither has what only file systems know, such as inode flags. Holes are written as zeros.
//
// An archive can not be continued behind a file that turns out to be damaged: then the rest is missing, and so is the end mark.
package archive
