package sftp

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Location is a folder on a server. The zero value is none.
type Location struct {
	User string // empty: as ssh decides
	Host string // a name, an address, or an alias of ssh's configuration
	Port int    // 0: as ssh decides
	Path string // clean; relative to where the server puts the user, unless it starts with a slash
}

// ParseLocation understands what follows "sftp:" in a location: user@host:/path, host:path, and, as restic
// writes them, //user@host:port/path for a path relative to the user's home and //user@host:port//path for an
// absolute one.
func ParseLocation(rest string) (Location, error) {
	l, err := parseAny(rest)
	if err != nil {
		return Location{}, err
	}
	if err := l.check(); err != nil {
		return Location{}, err
	}
	l.Path = path.Clean(l.Path)
	return l, nil
}

func parseAny(rest string) (Location, error) {
	if strings.HasPrefix(rest, "//") {
		return parseURL(rest)
	}
	host, dir, ok := cutHost(rest)
	if !ok {
		return Location{}, fmt.Errorf("%q is not user@host:path", rest)
	}
	l := Location{Path: dir}
	l.User, l.Host = cutUser(host)
	l.Host = strings.TrimSuffix(strings.TrimPrefix(l.Host, "["), "]")
	return l, nil
}

var errNoPassword = errors.New("there is no place for a password in the location: ssh asks for it, or has a key")

func parseURL(rest string) (Location, error) {
	u, err := url.Parse("sftp:" + rest)
	if bad, ok := errors.AsType[*url.Error](err); ok && !strings.Contains(rest, "@") {
		return Location{}, bad.Err
	}
	if err != nil { // which may have a password in it
		return Location{}, errors.New("it is not user@host:path, nor //user@host:port/path with special characters as in a URL")
	}
	if _, has := u.User.Password(); has {
		return Location{}, errNoPassword
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return Location{}, fmt.Errorf("%q has a ? or # in it: write it as user@host:path", rest)
	}
	l := Location{User: u.User.Username(), Host: u.Hostname(), Path: strings.TrimPrefix(u.Path, "/")}
	if port := u.Port(); port != "" {
		if l.Port, err = strconv.Atoi(port); err != nil || l.Port < 1 || l.Port > 65535 {
			return Location{}, fmt.Errorf("%q is not a port", port)
		}
	}
	return l, nil
}

// cutHost cuts at the colon before the path, which is none of an address in brackets.
func cutHost(s string) (host, dir string, ok bool) {
	open := strings.Index(s, "[")
	if colon := strings.Index(s, ":"); open >= 0 && open < colon {
		closing := strings.Index(s, "]:")
		if closing < 0 {
			return "", "", false
		}
		return s[:closing+1], s[closing+2:], true
	}
	return strings.Cut(s, ":")
}

// cutUser cuts at the last @: names of users may have one.
func cutUser(s string) (user, host string) {
	if at := strings.LastIndex(s, "@"); at >= 0 {
		return s[:at], s[at+1:]
	}
	return "", s
}

func (l Location) check() error {
	switch {
	case l.Host == "":
		return errors.New("the host is missing")
	case strings.HasPrefix(l.Host, "-") || strings.HasPrefix(l.User, "-"):
		return errors.New("neither a host nor a user starts with a -")
	case strings.ContainsAny(l.Host+l.User, " \t\r\n\x00/"):
		return errors.New("there is no space, and no slash, in the name of a host or a user")
	case l.User == "" && hasHost(l.Path): // user:password@host:path
		return errNoPassword
	case strings.ContainsRune(l.Path, 0):
		return errors.New("there is a zero byte in the path")
	case l.Path == "":
		return errors.New("the path is empty; a single . is the folder where the server puts you")
	case l.Path == "~" || strings.HasPrefix(l.Path, "~/"):
		return fmt.Errorf("servers know no ~: paths without a slash in front start at your home there, so write %q",
			strings.TrimPrefix(strings.TrimPrefix(l.Path, "~"), "/"))
	}
	return nil
}

// hasHost says whether a path begins with what may be a password, an @ and a host.
func hasHost(p string) bool {
	_, rest, ok := strings.Cut(p, "@")
	host, _, colon := strings.Cut(rest, ":")
	return ok && colon && !strings.HasPrefix(p, "/") && !strings.Contains(host, "/")
}

// String is the location in its full form, as ParseLocation understands it.
func (l Location) String() string {
	host := l.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if l.Port == 0 {
		if l.User != "" {
			host = l.User + "@" + host
		}
		return host + ":" + l.Path
	}
	u := url.URL{Host: host + ":" + strconv.Itoa(l.Port), Path: "/" + l.Path}
	if l.User != "" {
		u.User = url.User(l.User)
	}
	return u.String()
}
