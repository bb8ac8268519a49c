package sshrun

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// How ssh is to notice that the network is gone, in seconds.
const (
	aliveInterval  = 15
	aliveCount     = 3
	connectTimeout = 30 // without the time in which it asks
)

// ErrCommand is wrapped by the error about a command in place of ssh that is none.
var ErrCommand = errors.New("sshrun: not a command")

// bootstrap is what the login shell there is given. That may be any shell, which is why there is so little in it: in all of them
// this starts a POSIX shell, which takes the script from its input, as long as the line before says.
const bootstrap = `exec sh -c 'read -r n; s=$(head -c "$n"); eval "$s"'`

// argv returns the command of a connection. One that may not ask fails in place of that.
func argv(m Machine, command string, mayAsk bool) ([]string, error) {
	args := []string{"ssh"}
	if command != "" {
		var err error
		if args, err = Words(command); err != nil {
			return nil, fmt.Errorf("%w: %w: %s", ErrCommand, err, command)
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("%w: there are no words in it", ErrCommand)
		}
	}
	// ssh takes the first value that it meets, so the user's come first.
	args = append(
		args, "-T", "-o", "ServerAliveInterval="+strconv.Itoa(aliveInterval), "-o", "ServerAliveCountMax="+strconv.Itoa(aliveCount),
		"-o", "ConnectTimeout="+strconv.Itoa(connectTimeout), "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none",
		"-o", "ForwardAgent=no", "-o", "ForwardX11=no", // which are none of all, and would lend that machine what is here
	)
	if !mayAsk {
		args = append(args, "-o", "BatchMode=yes")
	}
	if m.Port != 0 {
		args = append(args, "-p", strconv.Itoa(m.Port))
	}
	if m.User != "" {
		args = append(args, "-l", m.User)
	}
	return append(args, "--", m.Host, bootstrap), nil
}

var errQuotes = errors.New("it ends within quotes")

// Words cuts a text into words as a shell does: at spaces, but not within quotes, nor after a backslash.
// Nothing is replaced in it.
func Words(text string) ([]string, error) {
	var out []string
	var word strings.Builder
	var quote rune // that of the quotes we are in
	inWord, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			inWord, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			inWord, quote = true, c
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if inWord {
				out = append(out, word.String())
				word.Reset()
				inWord = false
			}
		default:
			inWord = true
			word.WriteRune(c)
		}
	}
	if quote != 0 || escaped {
		return nil, errQuotes
	}
	if inWord {
		out = append(out, word.String())
	}
	return out, nil
}
