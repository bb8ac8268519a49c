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
	// largest is an answer with all that is in it, and each part of it costs at least partCost.
	largest  = 32 << 20
	partCost = 64
)

// ServerError is an error that the server has answered with.
type ServerError string

func (e ServerError) Error() string { return "the server answers: " + string(e) }

// code is the first word, which says of what kind the error is.
func (e ServerError) code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// withoutText is the error without what may be secret.
func (e ServerError) withoutText() ServerError {
	code := e.code()
	if len(code) > 20 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		code = "ERR"
	}
	return ServerError(code)
}

var errProtocol = errors.New("redis: this is not how a Redis server answers")

// readReply reads an answer: a string, an int64, a slice of answers, or nil. An error that the server answers with is
// a ServerError.
func readReply(r *bufio.Reader) (any, error) {
	left := largest
	return readNested(r, deepest, &left)
}

// readNested reads an answer, or a part of one, that may have so many bytes.
func readNested(r *bufio.Reader, depth int, left *int) (any, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	*left -= len(line) + partCost
	if line == "" || depth == 0 || *left < 0 {
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
		return readBulk(r, rest, left)
	case '*':
		return readArray(r, rest, depth, left)
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

func readBulk(r *bufio.Reader, length string, left *int) (any, error) {
	n, err := size(length, min(longestBulk, *left))
	if err != nil || n < 0 {
		return nil, err
	}
	*left -= n
	var b strings.Builder
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return nil, unexpected(err)
	}
	if end, err := readLine(r); err != nil || end != "" {
		return nil, errors.Join(errProtocol, err)
	}
	return b.String(), nil
}

func readArray(r *bufio.Reader, length string, depth int, left *int) (any, error) {
	n, err := size(length, longestArray)
	if err != nil || n < 0 {
		return nil, err
	}
	var all []any
	for range n {
		one, err := readNested(r, depth-1, left)
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
