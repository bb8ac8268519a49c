package backends

import "strings"

// maxName bounds a name. File systems allow 255 bytes for one component; the
// rest is room for what a backend has to add.
const maxName = 200

// ValidName says whether name can name an object: one component ("config") or
// two with a slash between them ("log/0000000000000001"), 200 bytes at most in
// all. A component starts and ends with a lower-case letter or a digit and has
// only those and '.', '_', '-' in between.
//
// The alphabet is small so that names mean the same everywhere: no capital
// letters, since some file systems fold case; no leading dot and no trailing
// one, since some drop it; nothing that needs escaping in a URL or a shell.
// The class "tmp" is reserved for what backends need for themselves.
func ValidName(name string) bool {
	if len(name) > maxName {
		return false
	}
	class, rest, two := strings.Cut(name, "/")
	return class != "tmp" && validComponent(class) && (!two || validComponent(rest))
}

func validComponent(s string) bool {
	if s == "" || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}
