// Package find looks for names in the trees of many snapshots at once, and says which snapshots have which version of
// what it finds.
//
// # The walk
//
// Snapshots share most of their pages, so a walk of one after the other would read the same again and again. This
// one goes through all of them together, folder by folder. At each path there is a set of different subtrees, each
// with the snapshots that have it there; ten thousand snapshots of a tree that never changed are one subtree. A
// folder is entered once for all of its subtrees, and only if a pattern can match something below it.
//
// In a folder the same is done with pages, since the pages of a large folder are mostly those of the version before.
// Pages wait in the order of their first names. Before the next one is loaded, all names less than its first are
// complete: no page that has them is left. They are reported then, and the folders among them entered, so that what
// is found comes in the order of paths, and memory holds the entries of some pages, of each folder on the way down,
// and no whole folder. Of an entry only what matches, or is to be entered, is kept.
//
// A page that several versions of a folder have is loaded once at its path. The exception is a page at the left edge
// of a folder that has grown by a level of pages: it can come up again, under the new level, after it was loaded, and
// is loaded once more. The entries are those that it had, now with more snapshots, and still wait.
//
// # Versions
//
// A version of a path is what has the same type, size and time of change, and the same content: that of a file is
// compared by the blobs that it consists of, that of a link by its target. Owners, permissions and attributes make no
// version of their own: what is reported of them is what the newest snapshot with the version has. Nor does what lies
// in a folder: a name that is looked for should not be reported again for each file that has changed far below it.
//
// # Patterns
//
// They are those of package pattern, but for one thing: what lies below a match is not found by that. A pattern can
// not begin with !.
package find
