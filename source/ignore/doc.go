// Package ignore decides by ignore files in the tree itself what is left out, the way git does by .gitignore.
//
// A line is a pattern. The last pattern that fits an entry decides, and those in a folder's own ignore file
// come after those of the folders above:
//
//   - empty lines and lines that start with # mean nothing; spaces at the end are dropped unless a
//     backslash is in front;
//   - ! in front takes back what patterns before left out;
//   - / at the end fits folders only;
//   - with another / in it a pattern is one of paths, from the folder of its ignore file on; without, it is one
//     of names, at any depth below;
//   - *, ? and [a-z] stay within a name, ** as a whole element stands for any number of folders, and a backslash
//     makes the next byte an ordinary one.
//
// What lies in a folder that is left out is left out, too: a walk does not get there. Names are bytes, and
// case counts. Any bytes are an ignore file: what git can not understand fits nothing, here as there.
package ignore
