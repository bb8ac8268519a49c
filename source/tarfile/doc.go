// Package tarfile backs up what is in a tar archive, as it would be extracted: folders, files, hard and symbolic links,
// devices, with owners, times and extended attributes.
//
// An archive that ends before its end mark is an error, also where it was cut off between two entries: nothing of it is kept.
// Names can not lead out of the snapshot, nor out of the prefix. As in extracting, the last one of several entries of a name
// counts, so that archives that were appended to are right.
//
// What is compressed with gzip, bzip2 or zstd is decompressed, since what has not changed can not be seen in compressed data.
//
// A name of each file is kept in memory, beside what package backup keeps.
package tarfile
