// Package hook runs commands that a user wants run beside a backup: before it, when it has failed, and after it in any case.
//
// What they print goes to standard error, since standard output belongs to the run. A command that does not end in time is ended,
// with all that it has started.
package hook
