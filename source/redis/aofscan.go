package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// ErrDamagedAOF says that an append-only file has something in it that is no command.
var ErrDamagedAOF = errors.New("redis: an append-only file is damaged")

const (
	longestNumber = 32      // bytes of a line with a length, or with a time
	longestNote   = 4 << 10 // of another note
	maxArguments  = 1 << 30
	maxArgument   = 1 << 40
)

// scanned is what there is in an append-only file of commands.
type scanned struct {
	whole    int64 // up to the end of the last complete command or transaction
	read     int64
	commands uint64
	until    time.Time
}

// commands reads an append-only file.
type commands struct {
	r   *bufio.Reader
	at  int64
	got scanned
}

// scanAOF reads commands to the end. That the last one is cut off is no error: the server was writing it.
func scanAOF(r io.Reader) (scanned, error) {
	c := &commands{r: bufio.NewReaderSize(r, 256<<10)}
	inside := false // a transaction
	for {
		name, err := c.next()
		if errors.Is(err, io.EOF) {
			c.got.read = c.at
			return c.got, nil
		}
		if err != nil {
			return scanned{}, err
		}
		if name == "" { // a note
			if !inside {
				c.got.whole = c.at
			}
			continue
		}
		c.got.commands++
		switch strings.ToUpper(name) {
		case "MULTI":
			inside = true
		case "EXEC":
			inside = false
		}
		if !inside {
			c.got.whole = c.at
		}
	}
}

func (c *commands) damaged(what string) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrDamagedAOF, c.at, what)
}

// next reads a command and returns its name, or of a note nothing. The end of the file is io.EOF wherever it is.
func (c *commands) next() (name string, err error) {
	line, err := c.line(longestNote)
	if err != nil {
		return "", err
	}
	if note, ok := strings.CutPrefix(line, "#"); ok {
		if sec, err := strconv.ParseInt(strings.TrimPrefix(note, "TS:"), 10, 64); err == nil && strings.HasPrefix(note, "TS:") {
			c.got.until = time.Unix(sec, 0).UTC()
		}
		return "", nil
	}
	n, ok := number(line, '*', maxArguments)
	if !ok || n == 0 {
		return "", c.damaged("there is no command")
	}
	for i := range n {
		arg, err := c.argument(i == 0)
		if err != nil {
			return "", err
		}
		if i == 0 {
			name = arg
		}
	}
	return name, nil
}

func number(line string, mark byte, limit int64) (int64, bool) {
	if len(line) < 2 || len(line) > longestNumber || line[0] != mark {
		return 0, false
	}
	n, err := strconv.ParseInt(line[1:], 10, 64)
	return n, err == nil && n >= 0 && n <= limit
}

// argument reads an argument, and returns it if it is wanted and short.
func (c *commands) argument(want bool) (string, error) {
	line, err := c.line(longestNumber)
	if err != nil {
		return "", err
	}
	n, ok := number(line, '$', maxArgument)
	if !ok {
		return "", c.damaged("an argument has no length")
	}
	text := "?"
	if want && n > 0 && n <= longestNumber {
		p, err := c.r.Peek(int(n))
		if err != nil {
			return "", err
		}
		text = string(p)
	}
	if err := c.skip(n); err != nil {
		return "", err
	}
	if end, err := c.line(longestNumber); err != nil {
		return "", err
	} else if end != "" {
		return "", c.damaged("an argument does not end where it should")
	}
	return text, nil
}

func (c *commands) skip(n int64) error {
	for n > 0 {
		got, err := c.r.Discard(int(min(n, 1<<30)))
		c.at += int64(got)
		n -= int64(got)
		if err != nil {
			return err
		}
	}
	return nil
}

// line reads a line without its end.
func (c *commands) line(limit int) (string, error) {
	p, err := c.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return "", err
	}
	if err != nil || len(p) > limit {
		return "", c.damaged("there is no command")
	}
	c.at += int64(len(p))
	return strings.TrimSuffix(strings.TrimSuffix(string(p), "\n"), "\r"), nil
}
