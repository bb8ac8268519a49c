package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf16"

	"github.com/kura-backup/kura/backup"
)

// readInput reads a file that says what to do, or standard input for "-", which only one flag can have.
func (a *app) readInput(flag, name string) ([]byte, error) {
	if name != "-" {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		return data, nil
	}
	if a.stdinTaken {
		return nil, usage(flag + " -: standard input was read already; it can be given only once")
	}
	a.stdinTaken = true
	data, err := io.ReadAll(a.stdin)
	if err != nil {
		return nil, fmt.Errorf("%s: standard input: %w", flag, err)
	}
	return data, nil
}

// textLines returns the lines of a text in UTF-8, or in what its byte order mark says.
func textLines(data []byte) []string {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	}
	text := strings.TrimPrefix(string(data), "\uFEFF")
	if order != nil {
		units := make([]uint16, len(data)/2-1)
		for i := range units {
			units[i] = order.Uint16(data[2*i+2:])
		}
		text = string(utf16.Decode(units))
	}
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	}
	return lines
}

// meaningful returns the lines without the spaces around them, and without empty ones and comments.
func meaningful(lines []string) (out []string) {
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// readPatterns reads a file of patterns, one a line. Variables of the environment are put in; $$ is a dollar sign.
func (a *app) readPatterns(flag, name string) ([]string, error) {
	data, err := a.readInput(flag, name)
	if err != nil {
		return nil, err
	}
	patterns := meaningful(textLines(data))
	for i, p := range patterns {
		patterns[i] = os.Expand(p, func(variable string) string {
			if variable == "$" {
				return "$"
			}
			return os.Getenv(variable)
		})
	}
	return patterns, nil
}

// globPaths reads a list of patterns of paths, and adds the paths that there are.
func (a *app) globPaths(name string, to *backup.Options) error {
	const flag = "--files-from"
	data, err := a.readInput(flag, name)
	if err != nil {
		return err
	}
	for _, p := range meaningful(textLines(data)) {
		found, err := glob(p)
		if err != nil {
			return usage(fmt.Sprintf("%s: %q is not a pattern: %v", flag, p, err))
		}
		if len(found) == 0 {
			to.NoMatch = append(to.NoMatch, p)
		}
		to.Paths = append(to.Paths, found...)
	}
	return nil
}

// glob is as filepath.Glob, but for what can not be looked at: that does not count as not there, and is among the
// paths, so that whoever reads them says what is the matter.
func glob(pattern string) (found []string, err error) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, err
	}
	ways := []string{""} // what matches the elements so far, with the slash behind them
	for rest := pattern; ; {
		wild := strings.IndexAny(rest, `*?[\`)
		if wild < 0 {
			for _, way := range ways {
				if _, err := os.Lstat(way + rest); !isMissing(err) {
					found = append(found, way+rest)
				}
			}
			return found, nil
		}
		at := strings.LastIndex(rest[:wild], "/") + 1
		element, behind, more := strings.Cut(rest[at:], "/")
		var next []string
		for _, way := range ways {
			dir := way + rest[:at]
			entries, err := os.ReadDir(cmp.Or(dir, "."))
			if err != nil && !isMissing(err) {
				found = append(found, cmp.Or(dir, "."))
			}
			for _, e := range entries {
				switch ok, err := filepath.Match(element, e.Name()); {
				case err != nil:
					return nil, err
				case ok && more:
					next = append(next, dir+e.Name()+"/")
				case ok:
					found = append(found, dir+e.Name())
				}
			}
		}
		if !more {
			return found, nil
		}
		ways, rest = next, behind
	}
}

// isMissing reports whether an error says that nothing is there.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// listedPaths reads a list of paths, one a line, as they are.
func (a *app) listedPaths(name string) (paths []string, err error) {
	data, err := a.readInput("--files-from-verbatim", name)
	if err != nil {
		return nil, err
	}
	for _, line := range textLines(data) {
		if line != "" {
			paths = append(paths, line)
		}
	}
	return paths, nil
}

var (
	errNoZero    = errors.New("--files-from-raw: there is no zero byte at the end: is the list complete")
	errEmptyPath = errors.New("--files-from-raw: one of the paths is empty")
)

// rawPaths reads a list of paths with a zero byte behind each.
func (a *app) rawPaths(name string) ([]string, error) {
	data, err := a.readInput("--files-from-raw", name)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	text, ok := strings.CutSuffix(string(data), "\x00")
	if !ok {
		return nil, errNoZero
	}
	paths := strings.Split(text, "\x00")
	for _, p := range paths {
		if p == "" {
			return nil, errEmptyPath
		}
	}
	return paths, nil
}
