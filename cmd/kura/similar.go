package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/repo"
)

// similars are the words for --similar.
var similars = map[string]repo.Similar{
	"auto":   repo.SimilarAuto,
	"always": repo.SimilarAlways,
	"never":  repo.SimilarNever,
}

func addSimilar(f *pflag.FlagSet, word *string) {
	f.StringVar(word, "similar", "auto", "store what is like something stored before as the difference to it: `auto` (where that can be read nearby), always (also if it has to be fetched), never")
}

func parseSimilar(word string) (repo.Similar, error) {
	s, ok := similars[word]
	if !ok {
		return s, usage(fmt.Sprintf("--similar %q is none of auto, always, never", word))
	}
	return s, nil
}
