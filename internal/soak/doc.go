// Package soak lets processes work on one repository for a while, and ends some of them.
//
// Writers, each a real kura process after the other, back up a folder of their own that changes all the time. At the
// same time others forget, prune, check and restore without a pause, and one collector, in the process of the
// test, takes everybody for dead who was quiet for a moment. Processes are stopped for seconds (SIGSTOP) and killed
// (SIGKILL) at random. In the end everybody is let finish; then every snapshot that is left is restored and
// compared with what its writer had noted before; nothing that a writer was told is committed is missing unless
// somebody forgot it; check --read-data has nothing to say, and a prune leaves no garbage.
//
//	go test -v ./internal/soak                          for a few seconds
//	go test -v ./internal/soak -soak.time=60s           for a minute; the run itself takes longer
//	go test -v ./internal/soak -soak.time=3h -timeout=0 for hours
//	-soak.store=s3                                      on a Versity S3 Gateway: the default where it was built
//	-soak.store=local                                   in a folder
//	-soak.writers=8, -soak.seed=7                       how many; what is drawn at random (not when it happens)
package soak
