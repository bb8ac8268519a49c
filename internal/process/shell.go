package process

import (
	"errors"
	"os/exec"
	"strings"
	"sync"
)

// ErrNoPipefail is returned for a pipeline where there is no shell that tells when a part of one fails.
var ErrNoPipefail = errors.New("process: neither sh nor bash can tell here whether all of a pipeline went well (pipefail)")

// pipefailShell is the shell in which a pipeline fails if any of its commands does, or nothing.
var pipefailShell = sync.OnceValue(func() string {
	for _, shell := range []string{"sh", "bash"} {
		if exec.Command(shell, "-c", "set -o pipefail").Run() == nil {
			return shell
		}
	}
	return ""
})

// Shell returns the command that runs a shell's command line, and fails if any part of a pipeline in it does.
func Shell(line string) ([]string, error) {
	if shell := pipefailShell(); shell != "" {
		return []string{shell, "-o", "pipefail", "-c", line}, nil
	}
	if strings.Contains(strings.ReplaceAll(line, "||", ""), "|") {
		return nil, ErrNoPipefail
	}
	return []string{"sh", "-c", line}, nil
}
