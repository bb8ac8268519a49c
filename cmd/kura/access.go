package main

import (
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backends/location"
)

// access says which repository is meant, and what opens it: that which a command works on, by the global flags; or the
// one that it takes from.
type access struct {
	from            bool // the flags begin with --from-, the variables with KURA_FROM_
	repository      string
	repositoryFile  string
	passwordFile    string
	passwordCommand string
	keyFile         string
}

// The variables of the environment that name a repository and what opens it. Those of the one that is taken from have
// FROM_ behind KURA_.
const (
	envRepository      = "KURA_REPOSITORY"
	envRepositoryFile  = "KURA_REPOSITORY_FILE"
	envPassword        = "KURA_PASSWORD"
	envPasswordFile    = "KURA_PASSWORD_FILE"
	envPasswordCommand = "KURA_PASSWORD_COMMAND"
	envKeyFile         = "KURA_KEY_FILE"
)

// variable is the name of a variable, given the global one's.
func (o *access) variable(global string) string {
	if !o.from {
		return global
	}
	return strings.Replace(global, "KURA_", "KURA_FROM_", 1)
}

// env is the value of a variable, given the global one's name.
func (o *access) env(global string) string { return os.Getenv(o.variable(global)) }

// flag is the name of a flag, given the global one's.
func (o *access) flag(global string) string {
	if !o.from {
		return global
	}
	if global == "-r" {
		global = "--repo"
	}
	return strings.Replace(global, "--", "--from-", 1)
}

// addFromFlags adds the flags of a repository that is taken from. For other commands than copy it is named by a flag
// only, so that a variable that is set for copy does not change what they do.
func (o *access) addFromFlags(f *pflag.FlagSet) {
	o.from = true
	f.StringVar(&o.repository, "from-repo", "", "`repository` to take from")
	f.StringVar(&o.repositoryFile, "from-repository-file", "", "`file` with the location of the repository to take from")
	f.StringVar(&o.passwordFile, "from-password-file", "", "`file` with the password of the repository to take from (default: $"+o.variable(envPasswordFile)+")")
	f.StringVar(&o.passwordCommand, "from-password-command", "", "shell `command` that prints its password (default: $"+o.variable(envPasswordCommand)+")")
	f.StringVar(&o.keyFile, "from-key-file", "", "key `file` to use in place of its password (default: $"+o.variable(envKeyFile)+")")
}

// isNamed reports whether a flag names the repository.
func (o *access) isNamed() bool { return o.repository != "" || o.repositoryFile != "" }

// fromPlace is the repository that is taken from.
func (o *access) fromPlace() (*place, error) {
	name, err := o.named()
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, usage("no repository to take from was named",
			"name one with --from-repo, --from-repository-file, $"+o.variable(envRepository)+" or $"+o.variable(envRepositoryFile))
	}
	l, err := location.Parse(name)
	if err != nil {
		return nil, withHint(err, "name the repository with --from-repo, such as --from-repo /mnt/disk/backup")
	}
	return &place{Location: l, source: o}, nil
}

// named returns the repository that flags or else the environment name, or "".
func (o *access) named() (string, error) {
	if o.repository != "" && o.repositoryFile != "" {
		return "", usage("both "+o.flag("-r")+" and "+o.flag("--repository-file")+" were given", "give one of them")
	}
	name, file := o.repository, o.repositoryFile
	if name == "" && file == "" {
		name, file = o.env(envRepository), o.env(envRepositoryFile)
		if name != "" && file != "" {
			return "", usage("both $"+o.variable(envRepository)+" and $"+o.variable(envRepositoryFile)+" are set",
				"unset one of them, or use "+o.flag("-r"))
		}
	}
	if file != "" {
		return readLine(file, "repository file")
	}
	return name, nil
}
