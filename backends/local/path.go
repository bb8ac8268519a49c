package local

import (
	"strings"

	"github.com/kura-backup/kura/backends"
)

// TempDir is the folder of temporary files. It is no class of objects: the name is reserved in every store.
const TempDir = "tmp"

const (
	shardDigits = 3 // of a number, what counts the files in one folder
	shardChars  = 2 // of other names, what names the folder
)

// place returns the folder of an object and the file's path.
func place(name string) (dir, path string) {
	class, rest, ok := strings.Cut(name, "/")
	if !ok {
		return ".", name
	}
	dir = class + "/" + shard(rest)
	return dir, dir + "/" + rest
}

// shard returns the folder of rest within its class, always a prefix of rest. In
// a class there are only such folders, so that an object can never be in the way
// of a folder.
func shard(rest string) string {
	n := min(len(rest), shardChars)
	if len(rest) > shardDigits && isNumber(rest) {
		n = len(rest) - shardDigits
	}
	return rest[:n]
}

// isShard says whether a folder in a class can be the shard of anything.
func isShard(base string) bool {
	// A shard is the beginning of a valid name, so a digit completes it.
	return (len(base) <= shardChars || isNumber(base)) && backends.ValidName(base+"0")
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
