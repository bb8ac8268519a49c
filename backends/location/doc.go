// Package location turns the string with which a user names a store into an
// open store. The kinds of stores are a table in this package: a backend is
// there because it is listed, and nothing registers itself.
//
//	/path or ./path     a folder
//	local:path          the same, for any path
package location
