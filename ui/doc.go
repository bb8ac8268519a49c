// Package ui shows people and programs what the verbs do: it renders their events and results as
// text or as JSON, and draws progress. Nothing but this package and the commands writes to the
// terminal, and this package decides nothing else.
//
// # What goes where
//
// Standard output has what the user asked for: tables, listings, objects, summaries, JSON messages. It
// can be piped into another program. Standard error has everything about the run itself: progress,
// warnings, errors, hints, questions. --quiet leaves only errors, and what was asked for by commands
// whose purpose is output (ls, find, cat, snapshots, version).
//
// # Voice
//
//   - Messages begin in lower case and end without a period; several sentences are joined with a
//     semicolon or become a hint on a line of its own.
//   - A line on standard error begins with "kura: ", then "error: ", "warning: " or "hint: " where it
//     is one. An error says what happened to which object; the hint says what to do next, as a
//     command that can be copied where there is one.
//   - Names of files are shown as they are unless they could do something to the terminal; then they
//     are quoted as Go strings. JSON carries U+FFFD in place of bytes that are not UTF-8, and the
//     true bytes in base64 beside it (path_raw).
//   - Sizes are in binary units (KiB, MiB), times in the local time zone without the zone, durations
//     as h:mm:ss.
//   - No colours, no emoji, no exclamation marks, no apologies.
//
// # JSON
//
// With --json, standard output has either one document (snapshots, forget, stats, version, cat) or one
// message a line, each with a message_type (backup, restore, check, prune, ls, find, init). Shapes and
// names of fields are those of restic, so that what reads restic's reads kura's; fields that kura does
// not know are left out and a few are added. Errors are messages on standard error, and the last one
// there is {"message_type":"exit_error","code":…,"message":…}.
//
// [Terminal], [Progress] and [Steps] are safe for concurrent use; everything else is a plain value.
package ui
