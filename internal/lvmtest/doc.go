// Package lvmtest runs kura on real logical volumes, classic and thin, in a virtual machine ([testvm]): most machines on which tests run have
// no device-mapper, or volumes of their own that nobody wants to risk.
//
//	make test-lvm                                                 downloads what the machine consists of, and runs all
//	KURA_TEST_VM=… go test ./internal/lvmtest -v -lvm.run=Thin    runs some, after make test-lvm was run once
//	-lvm.rounds=100                                               how often runs are ended at random moments (KURA_TEST_SEED)
//
// TestMachine builds kura and this package's own tests, starts the machine, and runs the other tests in it.
// Everywhere else they are skipped.
package lvmtest
