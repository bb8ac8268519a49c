package redis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Config is what a server's configuration file says that counts for a restore.
type Config struct {
	Path       string
	Dir        string
	DBFile     string
	AppendOnly bool
	AppendDir  string
	AppendFile string
	Port       string
	TLSPort    string
	Bind       []string // addresses that it listens at; empty: all
	Socket     string
	Master     string // whose replica it is: host and port; empty: of none
}

const (
	maxConfig   = 1 << 20
	maxIncludes = 50
)

// systemConfigs are where distributions put it.
var systemConfigs = []string{"/etc/redis/redis.conf", "/etc/redis.conf", "/etc/valkey/valkey.conf", "/etc/valkey.conf"}

// newConfig is what a server does that is told nothing.
func newConfig() *Config {
	return &Config{DBFile: dumpFile, AppendDir: aofFolder, AppendFile: "appendonly.aof", Port: defaultPort}
}

// ReadConfig reads a server's configuration file, and those that it includes.
func ReadConfig(path string) (*Config, error) {
	c := newConfig()
	c.Path = path
	left := maxIncludes
	if err := c.read(path, &left); err != nil {
		return nil, err
	}
	return c, nil
}

// FindConfig returns the configuration, of those in the usual places, of the server whose folder this is, or nil.
func FindConfig(dir string) (*Config, error) { return findConfig(dir, systemConfigs) }

func findConfig(dir string, paths []string) (*Config, error) {
	for _, p := range paths {
		c, err := ReadConfig(p)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if filepath.IsAbs(c.Dir) && sameFile(c.Dir, dir) { // where the server was started is not known
			return c, nil
		}
	}
	return nil, nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

func (c *Config) read(path string, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("redis: %s: too many files are included", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxConfig {
		return fmt.Errorf("redis: %s is too long for a configuration", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		words, err := splitWords(line)
		if err != nil || len(words) < 2 {
			continue // the server says what is wrong with it
		}
		if err := c.set(strings.ToLower(words[0]), words[1:], left); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) set(name string, values []string, left *int) error {
	value := values[0]
	switch name {
	case "include":
		files, err := filepath.Glob(value)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := c.read(f, left); err != nil {
				return err
			}
		}
	case "dir":
		c.Dir = value
	case "dbfilename":
		c.DBFile = value
	case "appendonly":
		c.AppendOnly = strings.EqualFold(value, "yes")
	case "appenddirname":
		c.AppendDir = value
	case "appendfilename":
		c.AppendFile = value
	case "port":
		c.Port = value
	case "tls-port":
		c.TLSPort = value
	case "bind":
		c.Bind = values
	case "unixsocket":
		c.Socket = value
	case "replicaof", "slaveof":
		if c.Master = strings.Join(values, " "); strings.EqualFold(c.Master, "no one") {
			c.Master = ""
		}
	}
	return nil
}
