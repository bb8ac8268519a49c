package mounts

import (
	"path/filepath"
	"strings"
)

// RealPath is a path without symbolic links, as far as it is there, as where a [Mount] is has none.
func RealPath(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rest := ""
	for {
		if real, err := filepath.EvalSymlinks(path); err == nil || path == "/" {
			return filepath.Join(real, rest)
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

// Within reports whether a path is another one, or below it.
func Within(path, above string) bool {
	return path == above || strings.HasPrefix(path, strings.TrimSuffix(above, "/")+"/")
}
