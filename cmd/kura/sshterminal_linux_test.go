package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
)

// ssh asks for the passphrase of its key at the terminal, then kura for the password of the repository.
func TestSFTP_KeyWithPassphrase_BothAskAtTheTerminal(t *testing.T) {
	t.Parallel()
	server := testserver.Sshd(t)
	repository := fmt.Sprintf("sftp:kura-test:%s", filepath.Join(server.Dir, "repo"))
	open := []string{"-r", repository, "-o", "sftp.args=-F " + server.Config}
	u := newUser(t, "KURA_PASSWORD=of the repository")
	u.run(exitOK, append([]string{"init"}, open...)...)

	key := server.NewKey(t, "of the key")
	server.Only(t, key)
	asking := []string{"-r", repository, "-o", "sftp.args=-o IdentityFile=" + key + " -F " + server.Config}

	// Without a terminal nobody can be asked, and ssh's reason is shown.
	if _, stderr := u.run(exitError, append([]string{"snapshots"}, open...)...); !strings.Contains(stderr, "Permission denied") {
		t.Errorf("refused: %s", stderr)
	}

	u = newUser(t)
	p := u.atTerminal(nil, append([]string{"backup", "files"}, asking...)...)
	p.expect("passphrase for key")
	p.send("of the key\n")
	p.expect("password")
	p.send("of the repository\n")
	p.expect(" saved")
	p.wait(exitOK)
	if n := strings.Count(p.text(), "passphrase for key"); n != 1 {
		t.Errorf("asked %d times", n)
	}

	// Ctrl-C at ssh's question ends kura, and the terminal shows again what is typed.
	p = u.atTerminal(nil, append([]string{"snapshots"}, asking...)...)
	p.expect("passphrase for key")
	p.send("\x03")
	p.wait(exitError)
	if !p.echoes() {
		t.Error("the terminal shows nothing any more")
	}
}

// The same for work on another machine: ssh asks once, then the progress is that of the other side, and Ctrl-C is heard there.
func TestOn_KeyWithPassphrase_AsksAtTheTerminal(t *testing.T) {
	t.Parallel()
	server := testserver.Sshd(t, "SetEnv XDG_CACHE_HOME="+keptAgents)
	u := newUser(t, "KURA_REPOSITORY="+filepath.Join(t.TempDir(), "repo"), "KURA_PASSWORD=of the repository")
	u.run(exitOK, "init")
	key := server.NewKey(t, "of the key")
	server.Only(t, key)
	asking := []string{"backup", "--keep-agent", "--ssh", "ssh -o IdentityFile=" + key + " -F " + server.Config}
	files := "ssh://kura-test" + filepath.Join(u.home, "files")

	// Without a terminal nobody can be asked.
	if _, stderr := u.run(exitError, append(asking, files)...); !strings.Contains(stderr, "Permission denied") || !strings.Contains(stderr, "ssh ssh://kura-test has to work") {
		t.Errorf("refused: %s", stderr)
	}

	p := u.atTerminal(nil, append(asking, files)...)
	p.expect("passphrase for key")
	p.send("of the key\n")
	p.expect(" saved")
	p.wait(exitOK)

	p = u.atTerminal(nil, append(asking, "--on", "ssh://kura-test", "--stdin-from-command", "--", "sh", "-c", "echo a; exec sleep 1000")...)
	p.expect("passphrase for key")
	p.send("of the key\n")
	p.expect("[0:") // the progress
	p.send("\x03")
	p.expect("interrupted")
	p.wait(exitInterrupted)
	if !p.echoes() {
		t.Error("the terminal shows nothing any more")
	}
}
