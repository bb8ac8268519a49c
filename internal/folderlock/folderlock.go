// Package folderlock says of folders that a process uses them, in a way that ends with the process.
//
// Whoever uses a folder holds a shared lock on it ([Hold]); whoever removes what is in it takes the exclusive one
// ([Lock]), and does not wait for it. Only Linux has such locks, and not all of its file systems.
package folderlock

import (
	"errors"
	"time"
)

// ErrInUse is returned for a folder that somebody has a lock on.
var ErrInUse = errors.New("folderlock: it is in use")

// Hold marks a folder as in use until it is released, as far as that is possible.
func Hold(path string) (release func()) {
	for try := 0; ; try++ {
		release, err := share(path)
		if err == nil {
			return release
		}
		if !errors.Is(err, ErrInUse) || try == holdTries {
			return func() {}
		}
		time.Sleep(holdPause) // somebody is freeing it, or looks whether it is in use
	}
}

const (
	holdTries = 100
	holdPause = 10 * time.Millisecond
)
