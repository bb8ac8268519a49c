// Package storetest is the contract of [backends.Store] as a test. Every backend
// and every wrapper passes it, the fakes too: what the tests of the packages
// above rely on must be what the real stores do.
//
//	func TestStore_KeepsTheContract(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) backends.Store { return open(t) })
//	}
//
// It uses names of random content, from a seed that it logs and that
// KURA_TEST_SEED sets. With -short the large objects are smaller and the names
// fewer.
package storetest
