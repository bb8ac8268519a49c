package check

import "errors"

var (
	// ErrChoice is returned for a text that does not say which packs to read.
	ErrChoice = errors.New("check: which packs to read is not clear")

	// ErrUnlisted is a blob in a pack that the index does not have.
	ErrUnlisted = errors.New("check: the index does not list it; kura repair index --read-all-packs does so")
)
