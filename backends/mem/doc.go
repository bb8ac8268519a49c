// Package mem keeps objects in memory, with the semantics of a good S3 store:
// creation is atomic and exclusive, and what was put is listed at once. It is
// meant for tests: [Store.Clone] is a store at a moment, as a crash leaves it,
// and [Store.Tamper] does what no store should.
package mem
