package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/limit"
	"github.com/kura-backup/kura/repo"
)

// globalOptions are the flags of all commands.
type globalOptions struct {
	access
	cacheDir      string
	noCache       bool
	private       string // folder of an agent, in place of one for caches
	noLock        bool
	limitUpload   int // KiB a second
	limitDownload int
	packSize      string
	parity        string
	parityGroups  bool
	store         storeFlags
	quiet         bool
	verbose       int
	json          bool
}

// The variables of the environment that kura reads, beside those of the XDG folders, of [access] and of stores.
const (
	envCacheDir     = "KURA_CACHE_DIR"
	envPackSize     = "KURA_PACK_SIZE"
	envParity       = "KURA_PARITY"
	envParityGroups = "KURA_PARITY_GROUPS"
)

func (o *globalOptions) addFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.repository, "repo", "r", "", "`repository` to work on: /path, s3:https://host/bucket/prefix or sftp:user@host:/path (default: $"+envRepository+")")
	f.StringVar(&o.repositoryFile, "repository-file", "", "`file` with the repository's location in it (default: $"+envRepositoryFile+")")
	f.StringVarP(&o.passwordFile, "password-file", "p", "", "`file` with the password in it (default: $"+envPasswordFile+")")
	f.StringVar(&o.passwordCommand, "password-command", "", "shell `command` that prints the password (default: $"+envPasswordCommand+")")
	f.StringVar(&o.keyFile, "key-file", "", "key `file` to use in place of a password (default: $"+envKeyFile+")")
	f.StringVar(&o.cacheDir, "cache-dir", "", "`folder` for caches (default: $"+envCacheDir+", or kura in the user's cache folder)")
	f.BoolVar(&o.noCache, "no-cache", false, "use a throw-away cache: slower, and a rolled back repository is not noticed")
	f.BoolVar(&o.noLock, "no-lock", false, "does nothing: kura has no locks")
	f.IntVar(&o.limitUpload, "limit-upload", 0, "write to the repository no faster than this `rate`, in KiB/s (default: no limit)")
	f.IntVar(&o.limitDownload, "limit-download", 0, "read from the repository no faster than this `rate`, in KiB/s (default: no limit)")
	f.StringVar(&o.packSize, "pack-size", "", "`size` of new packs in MiB, 4 to 120 (default: $"+envPackSize+", or 16)")
	f.StringVar(&o.parity, "parity", "", "`percent` of new packs that mends their damage, 0 to 50 (default: $"+envParity+", or 3)")
	f.BoolVar(&o.parityGroups, "parity-groups", false, "store parity across packs as well, so that a lost pack can be made again (default: $"+envParityGroups+")")
	o.store.addFlags(f)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors and what was asked for")
	f.CountVarP(&o.verbose, "verbose", "v", "print more; twice: even more")
	f.BoolVar(&o.json, "json", false, "print JSON, for programs")
}

// noneEmpty refuses global flags, and those that name a repository to take from, with an empty value. It is that of a variable which a script forgot to set,
// and must not lead to another repository or password than the one that was meant.
func noneEmpty(cmd *cobra.Command) (err error) {
	globals := cmd.Root().PersistentFlags()
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if err == nil && flag.Value.String() == "" && (globals.Lookup(flag.Name) != nil || strings.HasPrefix(flag.Name, "from-")) {
			err = usage("--"+flag.Name+" is empty", "is a variable not set? leave the flag out to use its default")
		}
	})
	return err
}

// given returns the flag's value, or that of the variable.
func given(flag, variable string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv(variable)
}

// givenBy is given for values that can be wrong: it also returns the name of the flag or variable that is to blame.
func givenBy(flag, value, variable string) (text, name string) {
	if value != "" {
		return value, flag
	}
	return os.Getenv(variable), "$" + variable
}

// cache returns the folder for caches, or "" for a throw-away one.
func (o *globalOptions) cache() (string, error) {
	if o.private != "" {
		return o.private, nil
	}
	if o.noCache {
		return "", nil
	}
	if dir := given(o.cacheDir, envCacheDir); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", withHint(fmt.Errorf("no folder for caches: %w", err), "name one with --cache-dir or $"+envCacheDir+", or use --no-cache")
	}
	return filepath.Join(dir, "kura"), nil
}

// rates are those that a store is slowed down to.
func (o *globalOptions) rates() (limit.Rates, error) {
	for _, l := range []struct {
		flag string
		rate int
	}{{"--limit-upload", o.limitUpload}, {"--limit-download", o.limitDownload}} {
		if l.rate < 0 || l.rate > math.MaxInt64>>10 {
			return limit.Rates{}, usage(fmt.Sprintf("%s %d is not a number of KiB/s, nor 0 for no limit", l.flag, l.rate))
		}
	}
	return limit.Rates{Upload: int64(o.limitUpload) << 10, Download: int64(o.limitDownload) << 10}, nil
}

// limited slows a store down to the rates.
func limited(s backends.Store, r limit.Rates) backends.Store {
	if r == (limit.Rates{}) {
		return s
	}
	return limit.New(s, r)
}

// packing returns how new packs are made.
func (o *globalOptions) packing() (p repo.Packing, err error) {
	if text, name := givenBy("--pack-size", o.packSize, envPackSize); text != "" {
		mib, err := strconv.Atoi(text)
		if err != nil || mib < 4 || mib > 120 {
			return p, usage(fmt.Sprintf("%s %q is not a size in MiB from 4 to 120", name, text))
		}
		p.Size = mib << 20
	}
	if text, name := givenBy("--parity", o.parity, envParity); text != "" {
		if p.Parity, err = strconv.Atoi(text); err != nil || p.Parity < 0 || p.Parity > 50 {
			return p, usage(fmt.Sprintf("%s %q is not a number of percent from 0 to 50", name, text))
		}
		if p.Parity == 0 {
			p.Parity = -1
		}
	}
	p.Groups = o.parityGroups
	if text := os.Getenv(envParityGroups); text != "" && !o.parityGroups {
		if p.Groups, err = strconv.ParseBool(text); err != nil {
			return p, usage(fmt.Sprintf("$%s is %q, and should be true or false", envParityGroups, text))
		}
	}
	return p, nil
}

// readLine returns the only line of a small file, or pipe, that holds one thing, such as a password.
func readLine(path, what string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLine+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if len(b) > maxLine {
		return "", fmt.Errorf("%s: %s has more than %d bytes", what, path, maxLine)
	}
	line, err := oneLine(bytes.TrimPrefix(b, []byte("\uFEFF"))) // some editors put it there, and nobody can see or type it
	if err != nil {
		return "", fmt.Errorf("%s: %s %w", what, path, err)
	}
	return line, nil
}

const maxLine = 64 << 10

// oneLine returns the text without the end of its only line.
func oneLine(b []byte) (string, error) {
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case s == "":
		return "", errEmpty
	case strings.Contains(s, "\x00"):
		return "", errZero
	case strings.ContainsAny(s, "\r\n"):
		return "", errLines
	}
	return s, nil
}

// The validators of arguments return usage errors.

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		if cmd.HasSubCommands() {
			return noCommand(cmd, args[0])
		}
		return wrongArgs(cmd, fmt.Sprintf("unexpected argument %q", args[0]))
	}
	return nil
}

func wrongArgs(cmd *cobra.Command, message string) error {
	return usage(message, "usage: "+cmd.UseLine())
}
