// Package testserver runs real servers for tests: object stores as processes of their own, on loopback,
// with a private folder that goes with them.
//
// A server's program is what the environment names (KURA_TEST_VERSITYGW, KURA_TEST_MINIO; it must work
// then), otherwise the pinned one that `make servers` has built into the cache folder, otherwise the test
// is skipped. MinIO, which takes longer, only runs when KURA_TEST_MINIO is set: to a path, or to 1 for the
// pinned one.
//
// A server is started for the first test that asks for it, shared by all tests of the binary that run
// meanwhile, and stopped after the last. [Keep] keeps it from one test to the next:
//
//	func TestMain(m *testing.M) {
//		defer testserver.Keep()()
//		m.Run()
//	}
//
// A server dies with the test binary, however that ends.
package testserver
