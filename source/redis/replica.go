package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/source"
)

// ErrNoReplica says that a server does not send its data.
var ErrNoReplica = errors.New("redis: the server does not send its data to replicas")

const (
	// A server that saves for a replica sends an empty line each second; one that forks, or starts late on purpose, is silent.
	silence    = 2 * time.Minute
	markerSize = 40
	emptyLines = 1 << 20 // that many seconds
	// Data has to come with at least this much in that time.
	slowest = 64 << 10
)

// receive lets the server send its data, as to a replica, and stores it.
func (s *Source) receive(ctx context.Context, c *conn, out source.Writer) error {
	sp, err := newSpool(s.o.Temp)
	if err != nil {
		return err
	}
	defer sp.close()
	wait, cancel := context.WithTimeoutCause(ctx, s.o.Wait, ErrSlowSave)
	defer cancel()
	head, err := s.join(wait, c)
	if err != nil {
		return err
	}
	if err := c.payload(ctx, head, sp); err != nil {
		return err
	}
	if err := sp.flush(); err != nil {
		return err
	}
	return s.store(ctx, sp, sp.size, out, nil)
}

// join introduces us as a replica and returns the line in front of the data.
func (s *Source) join(ctx context.Context, c *conn) (string, error) {
	// Data straight from memory, with a marker behind it; servers before 2.8.18 do not know it.
	if _, err := c.do(ctx, "REPLCONF", "capa", "eof"); err != nil && !isAnswer(err) {
		return "", err
	} else if errors.Is(err, ErrForbidden) {
		return "", fmt.Errorf("%w: %w", ErrNoReplica, err)
	}
	// Nothing of what is written meanwhile, for which the server would need memory; servers before 7 do not know it.
	if _, err := c.do(ctx, "REPLCONF", "rdb-only", "1"); err != nil && !isAnswer(err) {
		return "", err
	}
	if err := c.send(ctx, "PSYNC", "?", "-1"); err != nil {
		return "", err
	}
	line, err := c.nextLine(ctx)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(line, "-") {
		return "", fmt.Errorf("%w: %w", ErrNoReplica, ServerError(line[1:]))
	}
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != "+FULLRESYNC" {
		return "", fmt.Errorf("%w: to PSYNC", errProtocol)
	}
	offset, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return "", fmt.Errorf("%w: to PSYNC", errProtocol)
	}
	s.details.ReplicationID, s.details.ReplicationOffset, s.details.OffsetExact = words[1], offset, true
	return c.nextLine(ctx)
}

// isAnswer reports whether the server has answered with an error, and the connection is good.
func isAnswer(err error) bool {
	_, ok := errors.AsType[ServerError](err)
	return ok
}

// nextLine skips empty lines, by which a server says that it is still there.
func (c *conn) nextLine(ctx context.Context) (string, error) {
	for range emptyLines {
		c.extend(ctx, silence)
		line, err := readLine(c.r)
		if err != nil {
			return "", c.explain(ctx, err)
		}
		if line != "" {
			return line, nil
		}
	}
	return "", errProtocol
}

// payload copies the data, which a line announces by its length or by the marker at its end.
func (c *conn) payload(ctx context.Context, head string, w io.Writer) error {
	if strings.HasPrefix(head, "-") {
		return ServerError(head[1:])
	}
	text, ok := strings.CutPrefix(head, "$")
	if !ok {
		return fmt.Errorf("%w: in front of the data", errProtocol)
	}
	if marker, ok := strings.CutPrefix(text, "EOF:"); ok {
		if len(marker) != markerSize {
			return fmt.Errorf("%w: the marker is too short", errProtocol)
		}
		return c.untilMarker(ctx, []byte(marker), w)
	}
	left, err := strconv.ParseInt(text, 10, 64)
	if err != nil || left < 0 {
		return fmt.Errorf("%w: in front of the data", errProtocol)
	}
	buf := make([]byte, spoolBuffer)
	p := pace{c: c}
	for left > 0 {
		p.step(ctx)
		n, err := c.r.Read(buf[:min(left, int64(len(buf)))])
		left -= int64(n)
		p.came += n
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if err != nil {
			return c.explain(ctx, unexpected(err))
		}
	}
	return nil
}

// pace lets a connection be silent for a while each time that enough has come: a byte now and then would take for ever.
type pace struct {
	c    *conn
	came int
	on   bool
}

func (p *pace) step(ctx context.Context) {
	if !p.on || p.came >= slowest {
		p.c.extend(ctx, silence)
		p.on, p.came = true, 0
	}
}

// untilMarker copies what is in front of the marker. Behind it the server sends nothing until it is answered, so that the
// marker is the end of what has come.
func (c *conn) untilMarker(ctx context.Context, marker []byte, w io.Writer) error {
	buf := make([]byte, 0, spoolBuffer)
	p := pace{c: c}
	for {
		p.step(ctx)
		n, err := c.r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		p.came += n
		if bytes.HasSuffix(buf, marker) {
			_, err := w.Write(buf[:len(buf)-markerSize])
			return err
		}
		if err != nil {
			return c.explain(ctx, unexpected(err))
		}
		if keep := len(buf) - markerSize; keep > 0 {
			if _, err := w.Write(buf[:keep]); err != nil {
				return err
			}
			buf = append(buf[:0], buf[keep:]...)
		}
	}
}
