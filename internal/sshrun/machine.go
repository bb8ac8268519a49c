package sshrun

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Scheme is what the URLs of machines begin with.
const Scheme = "ssh://"

// Machine is one that ssh reaches. The zero value is none.
type Machine struct {
	User string // empty: as ssh decides
	Host string // a name, an address, or an alias of ssh's configuration
	Port int    // 0: as ssh decides
}

var errNoPassword = errors.New("there is no place for a password in a URL: ssh asks for it, or has a key")

// ParseURL understands ssh://user@host:port/path. The path is absolute; one that begins with /~/ is relative to the user's home
// there; without one it is empty. Special characters are written as in any URL: %20 is a space.
func ParseURL(text string) (m Machine, path string, err error) {
	rest, ok := strings.CutPrefix(text, Scheme)
	if !ok {
		return m, "", fmt.Errorf("%q does not begin with %s", text, Scheme)
	}
	u, err := url.Parse(text)
	if err != nil { // which may have a password in it
		if bad, ok := errors.AsType[*url.Error](err); ok && !strings.Contains(rest, "@") {
			return m, "", bad.Err
		}
		return m, "", errors.New("it is not ssh://user@host:port/path with special characters as in a URL")
	}
	if _, has := u.User.Password(); has {
		return m, "", errNoPassword
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(rest, "#") {
		return m, "", errors.New("there is a ? or # in the URL: as part of a path they are written %3F and %23")
	}
	m = Machine{User: u.User.Username(), Host: u.Hostname()}
	if port := u.Port(); port != "" {
		if m.Port, err = strconv.Atoi(port); err != nil || m.Port < 1 || m.Port > 65535 {
			return Machine{}, "", fmt.Errorf("%q is not a port", port)
		}
	}
	if err := m.check(); err != nil {
		return Machine{}, "", err
	}
	if strings.ContainsRune(u.Path, 0) {
		return Machine{}, "", errors.New("there is a zero byte in the path")
	}
	return m, pathOf(u.Path), nil
}

func pathOf(path string) string {
	switch home, ok := strings.CutPrefix(path, "/~"); {
	case ok && strings.Trim(home, "/") == "":
		return "."
	case ok && strings.HasPrefix(home, "/"):
		// One that begins with a dash is no flag.
		return "./" + strings.TrimLeft(home, "/")
	}
	return path
}

// check refuses what ssh could take for something else.
func (m Machine) check() error {
	switch {
	case m.Host == "":
		return errors.New("the host is missing")
	case strings.HasPrefix(m.Host, "-") || strings.HasPrefix(m.User, "-"):
		return errors.New("neither a host nor a user starts with a -")
	case strings.ContainsFunc(m.Host+m.User, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("/\\'\"`$;&|<>(){}*?!", r) }):
		return errors.New("there is a character in the name of the host or the user that does not belong there")
	}
	return nil
}

// String is the machine's URL.
func (m Machine) String() string {
	u := url.URL{Scheme: "ssh", Host: m.Host}
	if strings.Contains(m.Host, ":") {
		u.Host = "[" + m.Host + "]"
	}
	if m.Port != 0 {
		u.Host += ":" + strconv.Itoa(m.Port)
	}
	if m.User != "" {
		u.User = url.User(m.User)
	}
	return u.String()
}
