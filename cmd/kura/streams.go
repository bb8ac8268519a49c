package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/process"
	"github.com/kura-backup/kura/source/stream"
)

// streamSource returns the source of the streams that the flags name.
func (o *backupOptions) streamSource(a *app, args []string, at time.Time) (*stream.Source, error) {
	var streams []stream.Stream
	switch {
	case o.stdin:
		streams = []stream.Stream{{Name: o.stdinFilename, Reader: a.stdin}}
	case o.stdinFromCommand:
		streams = []stream.Stream{{Name: o.stdinFilename, Command: args}}
	}
	for _, s := range o.streams {
		name, line, ok := strings.Cut(s, "=")
		if !ok || name == "" || strings.TrimSpace(line) == "" {
			return nil, usage(fmt.Sprintf("--stream %q is not a name=command", s), "kura backup --stream shop.sql='pg_dump shop'")
		}
		streams = append(streams, stream.Stream{Name: name, Line: line})
	}
	src, err := stream.New(streams...)
	if errors.Is(err, process.ErrNoPipefail) {
		return nil, withHint(err, "install bash, or put the pipeline into a script that checks each of its commands")
	}
	if err != nil {
		return nil, explainBackup(err)
	}
	src.Time = at
	src.Warn = func(path, format string) {
		a.term.ItemWarning("archival", path, fmt.Sprintf("is compressed already (%s): kura can not see in it what has not changed, so that each backup stores nearly all of it again", format))
		a.term.Info("back it up as it was before that: kura compresses by itself; what has to be compressed is better with gzip --rsyncable or zstd --rsyncable")
	}
	return src, nil
}
