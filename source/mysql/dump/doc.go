// Package dump takes apart the SQL that mariadb-dump and mysqldump write, as it comes: bytes in, bytes out.
//
// A [Splitter] cuts a dump into parts, one for each table, view and so on, whose concatenation is the dump, byte by byte. Beside
// that it counts rows and computes digests of them, and knows whether the dump was complete: its last line says so.
// A [Renamer] makes the SQL of one database that of another.
//
// Where a part begins is said by comments, which can be forged by whoever may create a routine or a view: what looks like a
// comment may be in the middle of a string. So the SQL is read as the server reads it, with strings, quoted names, comments and
// delimiters, and rows of one table in the part of another are an error.
//
// # Digests of rows
//
// The digest of a table does not depend on the order of its rows: it is the sum, modulo 2^256, of the SHA-256 of each row as it
// is in the dump, from its opening parenthesis to its closing one, read as numbers with the least significant byte first.
package dump
