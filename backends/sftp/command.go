package sftp

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/kura-backup/kura/internal/sshrun"
)

// How ssh is to notice that the network is gone: after a minute.
const (
	aliveInterval = 15 // seconds
	aliveCount    = 4

	connectTimeout = 30 // seconds, without those in which it asks
)

// argv returns the command of a connection. Only one that may ask does so.
func (o Options) argv(l Location, mayAsk bool) ([]string, error) {
	if o.Command != "" {
		return words("sftp.command", o.Command)
	}
	own, err := words("sftp.args", o.Args)
	if err != nil {
		return nil, err
	}
	// ssh takes the first value that it meets, so the user's come first.
	args := append([]string{"ssh"}, own...)
	args = append(
		args, "-o", "ServerAliveInterval="+strconv.Itoa(aliveInterval), "-o", "ServerAliveCountMax="+strconv.Itoa(aliveCount),
		"-o", "ConnectTimeout="+strconv.Itoa(connectTimeout), "-o", "ClearAllForwardings=yes", "-o", "RequestTTY=no", "-o", "RemoteCommand=none",
	)
	if !mayAsk {
		args = append(args, "-o", "BatchMode=yes")
	}
	if l.Port != 0 {
		args = append(args, "-p", strconv.Itoa(l.Port))
	}
	if l.User != "" {
		args = append(args, "-l", l.User)
	}
	return append(args, "-s", "--", l.Host, "sftp"), nil
}

// words cuts an option into words.
func words(option, text string) ([]string, error) {
	out, err := sshrun.Words(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w: %s", ErrOptions, option, err, text)
	}
	if option == "sftp.command" && len(out) == 0 {
		return nil, fmt.Errorf("%w: %s has no words", ErrOptions, option)
	}
	return out, nil
}

// ErrOptions is wrapped by errors about [Options].
var ErrOptions = errors.New("sftp: wrong option")
