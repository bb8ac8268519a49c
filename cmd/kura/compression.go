package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo"
)

// compressions are the words for --compression.
var compressions = map[string]repo.Compression{
	"auto":    {Level: zst.Default},
	"off":     {Off: true},
	"fastest": {Level: zst.Fastest},
	"better":  {Level: zst.Better},
	"max":     {Level: zst.Best},
}

func addCompression(f *pflag.FlagSet, word *string) {
	f.StringVar(word, "compression", "auto", "how much to compress: `auto`, off, fastest, better or max")
}

func parseCompression(word string) (repo.Compression, error) {
	c, ok := compressions[word]
	if !ok {
		return c, usage(fmt.Sprintf("--compression %q is none of auto, off, fastest, better, max", word))
	}
	return c, nil
}
