// Package location turns the string with which a user names a store into an
// open store. The kinds of stores are a table in this package: a backend is
// there because it is listed, and nothing registers itself.
//
//	/path or ./path     a folder
//	local:path          the same, for any path
//	s3:https://host/bucket/prefix, and as restic writes it: see package s3
//	sftp:user@host:/path, and as restic writes it: see package sftp
package location
