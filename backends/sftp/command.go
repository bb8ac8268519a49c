package sftp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// words cuts a text into words as a shell does: at spaces, but not within quotes, nor after a backslash.
// Nothing is replaced in it.
func words(option, text string) ([]string, error) {
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
		return nil, fmt.Errorf("%w: %s ends within quotes: %s", ErrOptions, option, text)
	}
	if inWord {
		out = append(out, word.String())
	}
	if option == "sftp.command" && len(out) == 0 {
		return nil, fmt.Errorf("%w: %s has no words", ErrOptions, option)
	}
	return out, nil
}

// ErrOptions is wrapped by errors about [Options].
var ErrOptions = errors.New("sftp: wrong option")
