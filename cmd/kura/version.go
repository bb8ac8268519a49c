package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo"
)

// version is the program's version. A release sets it with -ldflags "-X main.version=…".
var version = "0.1.0-dev"

// program is what a snapshot says of the program that made it.
func program() string { return "kura " + version }

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "print the version",
		Long:    `Print the version of kura, of the Go release it was built with, and of the repository format that it writes.`,
		Example: `  kura version --json`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			a.runVersion()
			return nil
		},
	}
}

type versionMessage struct {
	MessageType string `json:"message_type"` // "version"
	Version     string `json:"version"`
	Revision    string `json:"revision,omitempty"`
	GoVersion   string `json:"go_version"`
	GoTarget    string `json:"go_target"`
	Format      int    `json:"format"`
}

func (a *app) runVersion() {
	m := versionMessage{
		MessageType: "version", Version: version, Revision: revision(),
		GoVersion: runtime.Version(), GoTarget: runtime.GOOS + "/" + runtime.GOARCH, Format: repo.FormatNumber,
	}
	if a.term.JSON {
		a.term.Message(m)
		return
	}
	v := m.Version
	if m.Revision != "" {
		v += " (" + m.Revision + ")"
	}
	a.term.Print(fmt.Sprintf("kura %s, repository format %d, built with %s for %s", v, m.Format, m.GoVersion, m.GoTarget))
}

// revision is the commit that the program was built from, if the build knows it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var rev, dirty string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+"
			}
		}
	}
	if rev == "" {
		return ""
	}
	return rev + dirty
}
