package rdb

import "fmt"

// DamageError says that a file is not what a server has written, or not all of it.
type DamageError struct {
	Offset int64  // where it was noticed
	What   string // what is wrong
	End    int64  // of a whole file that something follows: where that begins; otherwise 0
}

func (e *DamageError) Error() string { return fmt.Sprintf("rdb: at byte %d: %s", e.Offset, e.What) }

// UnsupportedError says that a file has something in it that this package does not know. The file may be good.
type UnsupportedError struct {
	Offset int64
	What   string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("rdb: at byte %d: %s", e.Offset, e.What)
}
