package mysql

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxIncludes bounds how option files include one another, and maxOptions their size.
const (
	maxIncludes = 10
	maxOptions  = 1 << 20
)

// groups are the sections that programs which ask a server read.
var groups = []string{"client", "client-server", "client-mariadb", "mysql", "mariadb-client"}

// ReadDefaults reads what an option file of MariaDB or MySQL says to programs that ask a server: host, port, socket, user,
// password and the files for TLS. What else it says is for others. A file that has a password and that everybody may read is refused.
func ReadDefaults(path string) (Config, error) {
	var c Config
	if err := c.read(path, 0); err != nil {
		return c, err
	}
	return c, nil
}

func (c *Config) read(path string, depth int) error {
	if depth > maxIncludes {
		return fmt.Errorf("%w: %s: files include one another", ErrDefaults, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDefaults, err)
	}
	if info.Size() > maxOptions {
		return fmt.Errorf("%w: %s has %d bytes", ErrDefaults, path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDefaults, err)
	}
	before := c.Password
	if err := c.parse(path, string(text), depth); err != nil {
		return err
	}
	if c.Password != before && info.Mode().Perm()&0o004 != 0 {
		return fmt.Errorf("%w: %s has a password and everybody may read it: chmod o-rwx %[2]s", ErrDefaults, path)
	}
	return nil
}

func (c *Config) parse(path, text string, depth int) error {
	ours := false
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '!':
			if err := c.include(path, line, depth); err != nil {
				return err
			}
		case line[0] == '[':
			name, _, ok := strings.Cut(line[1:], "]")
			if !ok {
				return fmt.Errorf("%w: %s:%d: %s", ErrDefaults, path, n+1, line)
			}
			ours = slices.Contains(groups, strings.TrimSpace(name))
		case ours:
			if err := c.set(line); err != nil {
				return fmt.Errorf("%w: %s:%d: %w", ErrDefaults, path, n+1, err)
			}
		}
	}
	return nil
}

// include follows !include FILE and !includedir DIR.
func (c *Config) include(path, line string, depth int) error {
	word, arg, _ := strings.Cut(line, " ")
	arg = strings.TrimSpace(arg)
	if !filepath.IsAbs(arg) {
		arg = filepath.Join(filepath.Dir(path), arg)
	}
	switch word {
	case "!include":
		return c.read(arg, depth+1)
	case "!includedir":
		entries, err := os.ReadDir(arg)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDefaults, err)
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) == ".cnf" {
				if err := c.read(filepath.Join(arg, e.Name()), depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return fmt.Errorf("%w: %s: %s", ErrDefaults, path, line)
}

// set takes a line of a section.
func (c *Config) set(line string) error {
	key, value, _ := strings.Cut(line, "=")
	key = strings.ReplaceAll(strings.TrimSpace(key), "_", "-")
	value = optionValue(value)
	switch strings.TrimPrefix(key, "loose-") {
	case "host":
		c.Host = value
	case "port":
		port, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return errors.New("port " + strconv.Quote(value) + " is not a number")
		}
		c.Port = int(port)
	case "socket":
		c.Socket = value
	case "user":
		c.User = value
	case "password":
		c.Password = value
	case "ssl-ca":
		c.CA = value
	case "ssl-cert":
		c.Cert = value
	case "ssl-key":
		c.Key = value
	}
	return nil
}

// optionValue reads a value: quotes, escapes and a comment behind it are as MariaDB's programs take them.
func optionValue(s string) string {
	s = withoutComment(strings.TrimSpace(s))
	if n := len(s); n > 1 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		s = s[1 : n-1]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if at := strings.IndexByte(`ntrbs\"'`, s[i]); at >= 0 {
			b.WriteByte("\n\t\r\b \\\"'"[at])
			continue
		}
		b.WriteByte('\\')
		b.WriteByte(s[i])
	}
	return b.String()
}

// withoutComment cuts off what follows a # outside of quotes.
func withoutComment(s string) string {
	quote, escaped := byte(0), false
	for i := range len(s) {
		c := s[i]
		switch {
		case (c == '"' || c == '\'') && !escaped && quote == 0:
			quote = c
		case c == quote && !escaped:
			quote = 0
		case c == '#' && quote == 0:
			return strings.TrimSpace(s[:i])
		}
		escaped = quote != 0 && c == '\\' && !escaped
	}
	return s
}
