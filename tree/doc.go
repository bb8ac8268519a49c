// Package tree encodes what a snapshot knows about files: folders as pages of nodes, and the
// content of files as lists of extents.
//
// The bytes are described in section 11 of docs/format.md. A page is a CBOR map with one of
// three keys: a leaf has the nodes of a folder, an inner page has the pages of a large folder,
// a content page has a part of a long file's extents. Pages are stored as tree blobs, so a
// page that did not change costs nothing in the next snapshot.
//
// # Splitting
//
// The pages of a folder depend on its sorted entries alone, and one changed entry rewrites only
// the pages on the way to it: a leaf ends after an entry whose name has H(name)[0] = 0, and
// before an entry that would take the page past [MaxLeaf] bytes. If there is more than one leaf,
// the list of them is cut into inner pages: after an item with H(first name)[1] = 0 if the page
// has 16 items by then, at 4096 items, and before an item that would take the page past
// [MaxLeaf] bytes; and so on until one page is left. The least number of 16 makes every level
// 16 times shorter than the one below, whatever the names are: without it, a page whose first
// name is a cutting one would be cut off alone on every level, without end.
//
// # Reading
//
// Decoding is total: any bytes give a page or an error, and memory stays in proportion to
// the page. It is also strict: integers and lengths have their shortest form, keys ascend,
// what is zero or empty is absent. So a page has one encoding only, and what was decoded encodes to
// the same bytes, unless it has keys that are not known: positive ones are ignored, negative
// ones are refused, in the page's map and in those of nodes. Nodes and pages are written and read by hand
// and not by reflection, because that happens for every file of every snapshot.
//
// [ReadDir] checks what a single page cannot show: that names ascend across pages and that the depth is
// at most [MaxDepth]. Cycles cannot happen: an id is a hash of what it refers to.
package tree
