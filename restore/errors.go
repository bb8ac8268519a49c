package restore

import (
	"errors"

	"github.com/kura-backup/kura/restore/internal/jail"
)

var (
	// ErrFolder is of an entry that is not restored because a folder is in its place; Options.Delete replaces it.
	ErrFolder = jail.ErrFolder

	// ErrOptions is wrapped where options contradict each other, or would be dangerous together.
	ErrOptions = errors.New("restore: options that do not go together")

	// ErrVerify is wrapped where a file does not read back as it is in the snapshot.
	ErrVerify = errors.New("restore: the file reads back with other content")
)
