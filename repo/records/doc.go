// Package records keeps, in the repository itself, when which pack was last read from beginning to end and
// had the hash in its name: the objects records/<sid>-<hash>.
//
// With them a check can read first what was verified longest ago, from whatever machine it runs, and one can
// say what share of a repository was proven readable lately. They are advisory: no log entry names them,
// nothing relies on them, and a damaged one is passed over. They are sealed, and signed; only those of a
// maintainer or the owner count, so that a stolen writer's key can not claim that something was verified.
//
// When many have piled up, the next one to be added is merged with them into one object, and only then the
// old ones are deleted. Whatever a death in the middle leaves says the same thing twice.
package records
