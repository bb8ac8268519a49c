// Package sourcetest has a source.Writer that keeps what a Source writes in memory, and refuses what the contract does not
// allow, for tests of sources.
package sourcetest
