// Package durabletest is a [durable.FS] for tests: it records every operation
// in order and makes chosen ones fail, before they are done or after.
package durabletest
