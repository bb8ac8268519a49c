// Package mysql backs up MariaDB and MySQL servers, and loads what was backed up.
//
// A [Logical] source runs the vendor's dump program and cuts what it prints into a file for each table, view and so on (package
// dump); a [Physical] one runs mariadb-backup and takes its stream apart (package mbstream). Neither believes in a backup that did not
// end well: the program's exit status and the end of what it wrote both have to say so.
//
// An [Archive] is a backup of a MariaDB server's binary logs (package binlog), and [FindReplay] finds out what of them leads from a
// backup to a later moment.
//
// [Hold] keeps a server still while something else, such as a snapshot of its volume, happens.
//
// Programs get passwords through a pipe that they inherit, never as arguments: see [Config].
//
// # What a logical backup consists of
//
//	/mysql/NAME/+header.sql          settings of the session
//	/mysql/NAME/DB/+database.sql     CREATE DATABASE
//	/mysql/NAME/DB/TABLE.sql         structure, rows and triggers of a table
//	/mysql/NAME/DB/VIEW.view.sql     and .view-stub.sql, which stands in for it while tables are made; .sequence.sql
//	/mysql/NAME/DB/+events.sql       and +routines.sql
//	/mysql/NAME/+footer.sql          settings put back
//	/mysql/NAME/+users.sql           accounts and what they may do
//	/mysql/NAME/+dump.json           a [Manifest]: the order of all this, and how many rows each table has, with a digest of them
//
// Put together in the manifest's order, with the coordinates that the snapshot's details have, the files are exactly what the dump
// program has printed.
package mysql
