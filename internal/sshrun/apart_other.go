//go:build !unix

package sshrun

import (
	"os"
	"os/exec"
)

func startApart(cmd *exec.Cmd, _ bool) (handBack func(), err error) {
	return func() {}, cmd.Start()
}

func terminate(p *os.Process, _ bool) { _ = p.Kill() }
