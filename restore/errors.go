package restore

import "errors"

var (
	// ErrOptions is wrapped where options contradict each other, or would be dangerous together.
	ErrOptions = errors.New("restore: options that do not go together")

	// ErrVerify is wrapped where a file does not read back as it is in the snapshot.
	ErrVerify = errors.New("restore: the file reads back with other content")
)
