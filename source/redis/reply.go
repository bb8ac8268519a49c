package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of what a server may answer. INFO is some 10 KiB.
const (
	longestLine  = 64 << 10
	longestBulk  = 16 << 20
	longestArray = 1 << 16
	deepest      = 8
)

// ServerError is an error that the server has answered with.
type ServerError string

func (e ServerError) Error() string { return "the server answers: " + string(e) }

// code is the first word, which says of what kind the error is.
func (e ServerError) code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

var errProtocol = errors.New("redis: this is not how a Redis server answers")

// readReply reads an answer: a string, an int64, a slice of answers, or nil. An error that the server answers with is
// a ServerError.
func readReply(r *bufio.Reader) (any, error) { return readNested(r, deepest) }

func readNested(r *bufio.Reader, depth int) (any, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	if line == "" || depth == 0 {
		return nil, errProtocol
	}
	switch rest := line[1:]; line[0] {
	case '+':
		return rest, nil
	case '-':
		return nil, ServerError(rest)
	case ':':
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return nil, errProtocol
		}
		return n, nil
	case '$':
		return readBulk(r, rest)
	case '*':
		return readArray(r, rest, depth)
	}
	return nil, errProtocol
}

// size is a length in an answer; -1 stands for none.
func size(text string, limit int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < -1 || n > limit {
		return 0, fmt.Errorf("%w: length %.20q", errProtocol, text)
	}
	return n, nil
}

func readBulk(r *bufio.Reader, length string) (any, error) {
	n, err := size(length, longestBulk)
	if err != nil || n < 0 {
		return nil, err
	}
	var b strings.Builder
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return nil, unexpected(err)
	}
	if end, err := readLine(r); err != nil || end != "" {
		return nil, errors.Join(errProtocol, err)
	}
	return b.String(), nil
}

func readArray(r *bufio.Reader, length string, depth int) (any, error) {
	n, err := size(length, longestArray)
	if err != nil || n < 0 {
		return nil, err
	}
	var all []any
	for range n {
		one, err := readNested(r, depth-1)
		if _, answer := errors.AsType[ServerError](err); err != nil && !answer {
			return nil, err
		} else if answer {
			one = err
		}
		all = append(all, one)
	}
	return all, nil
}

// readLine reads a line without its end.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > longestLine {
			return "", errProtocol
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", unexpected(err)
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

// unexpected is for the end of a connection where there should be more.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
