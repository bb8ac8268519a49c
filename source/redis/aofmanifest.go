package redis

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrManifest says that the manifest of an append-only folder is none.
var ErrManifest = errors.New("redis: the manifest of an append-only folder is damaged")

const (
	manifestSuffix = ".manifest"
	maxManifest    = 1 << 20

	aofBase    = "b"
	aofIncr    = "i"
	aofHistory = "h" // to be deleted
)

// manifestFile is a line of a manifest.
type manifestFile struct {
	name string
	kind string
	line string
}

// parseManifest returns the files that a server loads, in order, and the manifest that has only them.
func parseManifest(text string) (files []manifestFile, clean string, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		f, err := parseManifestLine(line)
		if err != nil {
			return nil, "", err
		}
		switch {
		case f.kind == aofHistory:
			continue
		case f.kind == aofBase && len(files) > 0:
			return nil, "", fmt.Errorf("%w: the base is not its first file", ErrManifest)
		}
		files = append(files, f)
		clean += line + "\n"
	}
	if len(files) == 0 {
		return nil, "", fmt.Errorf("%w: it names no files", ErrManifest)
	}
	return files, clean, nil
}

// parseManifestLine reads pairs of a name and a value.
func parseManifestLine(line string) (f manifestFile, err error) {
	f.line = line
	words, err := splitWords(line)
	if err != nil || len(words)%2 != 0 {
		return f, fmt.Errorf("%w: %.200q", ErrManifest, line)
	}
	for i := 0; i < len(words); i += 2 {
		switch value := words[i+1]; strings.ToLower(words[i]) {
		case "file":
			f.name = value
		case "type":
			f.kind = value
		case "seq":
			if _, err := strconv.ParseUint(value, 10, 63); err != nil {
				return f, fmt.Errorf("%w: %.200q", ErrManifest, line)
			}
		}
	}
	known := f.kind == aofBase || f.kind == aofIncr || f.kind == aofHistory
	if !known || !isName(f.name) {
		return f, fmt.Errorf("%w: %.200q", ErrManifest, line)
	}
	return f, nil
}

// splitWords splits a line as a server does: words may be quoted.
func splitWords(line string) (words []string, err error) {
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return words, nil
		}
		var word string
		switch line[0] {
		case '"':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, err
			}
			if word, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
			line = line[len(quoted):]
		case '\'':
			end := 1
			for end < len(line) && line[end] != '\'' {
				if strings.HasPrefix(line[end:], `\'`) {
					end++
				}
				end++
			}
			if end >= len(line) {
				return nil, strconv.ErrSyntax
			}
			word, line = strings.ReplaceAll(line[1:end], `\'`, `'`), line[end+1:]
		default:
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			word, line = line[:end], line[end:]
		}
		words = append(words, word)
	}
}
