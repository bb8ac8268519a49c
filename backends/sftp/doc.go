// Package sftp keeps objects as files in a folder of another machine, over the system's ssh and the server's
// SFTP subsystem.
//
// The folder is what package local makes of one, by the same code: a repository can be moved between the two,
// and used by both at once. Only the seam beneath is another: package durable's rules, spoken as SFTP requests.
//
//   - A file appears by hardlink@openssh.com, which is link(2) and refuses a taken name, or else by the plain
//     RENAME of the protocol, which must refuse one too; not all servers do, so that is tried out before the
//     first file. posix-rename@openssh.com, which replaces, is never used.
//   - Files and folders are synced with fsync@openssh.com, for folders through a handle that opens them as
//     files. A server that does not do that is not durable ([backends.Caps]).
//   - Version 3 of the protocol has one answer, FAILURE, for a taken name, a full disk and much else; what was
//     meant is found out by a second question.
//   - Temporary files of dead writers go by their age, by the server's clock: SFTP has no locks.
//
// # Connections
//
// Each connection is an ssh process of its own. The first may ask for a passphrase or password at the
// terminal, and about an unknown host key; further ones are started when the others are busy, and ask nothing:
// where they are not let in, those that are there have to do. A broken connection fails the requests under way,
// and the next one takes its place: what it was in the middle of is Transient where nothing can have been done,
// otherwise Unclear. A connection on which an answer is awaited and nothing arrives for some time counts as
// broken, and ssh itself notices a dead network by its keepalives.
//
// docs/sftp.md is the page for users.
package sftp
