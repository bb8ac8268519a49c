// Package pattern decides by patterns which paths are meant, the way restic's --exclude does.
//
// A pattern and a path are split at slashes, and elements are matched one by one:
//
//   - within an element *, ?, [a-z] and \ work as in [path.Match];
//   - ** as an element stands for any number of elements, none included;
//   - a pattern that starts with a slash is matched from the root, others anywhere: "foo" and
//     "foo/bar" match at any depth;
//   - whatever lies below a path that matches does so too;
//   - a pattern that starts with ! takes back what patterns before it matched. Since a walk does not
//     descend into a folder that matches, that works for entries of a folder only if the folder
//     itself does not match: with "/tmp/*" and "!/tmp/keep", but not with "/tmp".
//
// The later pattern decides. A slash at the end of a pattern means nothing. Patterns of [ParseFold] make no
// difference between upper and lower case.
//
// Matching is made for walks: a [Dir] remembers for its folder what matters for the entries
// below, so that the price of an entry does not grow with its depth.
package pattern
