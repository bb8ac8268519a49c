package dump

import (
	"errors"
	"fmt"
)

// What can be wrong with a dump.
var (
	// ErrTruncated is what ends before its last line.
	ErrTruncated = errors.New("dump: it ends in the middle")
	// ErrFormat is what is not as mariadb-dump or mysqldump write it.
	ErrFormat = errors.New("dump: not as a dump program writes it")
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}
