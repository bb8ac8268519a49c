package dump

import (
	"bytes"
	"regexp"
)

// Limits of what is kept in memory. Rows are not: they may have a gigabyte.
const (
	maxLine      = 64 << 10 // of a comment
	maxStatement = 64 << 20
)

// token says what a stretch of a dump is.
type token uint8

const (
	space     token = iota + 1 // between statements, or between the rows of one
	comment                    // a line that begins with --; with a bare one in front of it both
	sandbox                    // the line that forbids a client to run programs
	delimiter                  // a line that says what ends statements from now on
	statement                  // with what ends it
	insert                     // INSERT INTO … VALUES
	row                        // from its opening parenthesis on, as far as it was there
	rowEnd                     // the rest of it, with its closing one
	insertEnd                  // the ; behind the last row
)

// lexer cuts SQL into tokens. The zero value is ready.
type lexer struct {
	end         []byte // what ends a statement; nil is ;
	inRows      bool   // in an INSERT
	inRow       bool
	noBackslash bool // the session's sql_mode
	ansiQuotes  bool

	// Where the token that is being looked at was left off, for lack of bytes.
	at    int
	quote byte // of a string or name; '-' in a comment up to the line's end, '*' in one up to */
	depth int  // of parentheses in a row
}

// next returns the token that p begins with, and its length; 0 if there must be more of p to know, unless it is final.
func (l *lexer) next(p []byte, final bool) (token, int, error) {
	if l.inRows {
		return l.nextInRows(p)
	}
	switch c := p[0]; {
	case isSpace(c):
		n := 1
		for n < len(p) && isSpace(p[n]) {
			n++
		}
		return space, n, nil
	case bytes.HasPrefix(p, []byte("--")):
		return l.comment(p, final)
	case hasWord(p, "DELIMITER "):
		return l.delimiter(p, final)
	case hasWord(p, "/*M!999999"), hasWord(p, "/*!999999"):
		n, err := line(p, final)
		return sandbox, n, err
	case isRemark(p):
		return l.remark(p)
	case !final && len(p) < len(insertBegin):
		return 0, 0, nil // may become one of these
	case hasWord(p, insertBegin):
		return l.insert(p)
	}
	return l.statement(p)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func hasWord(p []byte, word string) bool { return len(p) >= len(word) && string(p[:len(word)]) == word }

// line returns the length of the line that p begins with.
func line(p []byte, final bool) (int, error) {
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return i + 1, nil
	}
	if len(p) > maxLine {
		return 0, bad("a line of more than %d bytes", maxLine)
	}
	if final {
		return len(p), nil
	}
	return 0, nil
}

// comment takes the block of comments that a bare -- opens as one: a part begins with it. It ends with the next bare one, or with
// a line that is no comment. A line end in a name is a new line of the block.
func (l *lexer) comment(p []byte, final bool) (token, int, error) {
	n, err := line(p, final)
	if n == 0 || err != nil || !isBare(p[:n]) {
		return comment, n, err
	}
	for {
		more := p[n:]
		switch {
		case len(more) < len("--") && !final:
			return comment, 0, nil
		case !hasWord(more, "--"):
			return comment, n, nil
		}
		m, err := line(more, final)
		if m == 0 || err != nil {
			return comment, 0, err
		}
		if n += m; isBare(more[:m]) {
			return comment, n, nil
		}
		if n > maxLine {
			return comment, 0, bad("a comment of more than %d bytes", maxLine)
		}
	}
}

func isBare(line []byte) bool { return string(line) == "--\n" }

// isRemark reports whether p begins with a comment that no server executes: mysqldump writes GTIDs in one, without a ; behind it.
func isRemark(p []byte) bool {
	return hasWord(p, "/*") && len(p) >= len(insertBegin) && p[2] != '!' && !hasWord(p, "/*M!")
}

func (l *lexer) remark(p []byte) (token, int, error) {
	if end := bytes.Index(p[2:], []byte("*/")); end >= 0 {
		return comment, 2 + end + 2, nil
	}
	if len(p) > maxLine {
		return 0, 0, bad("a comment of more than %d bytes", maxLine)
	}
	return 0, 0, nil
}

func (l *lexer) delimiter(p []byte, final bool) (token, int, error) {
	n, err := line(p, final)
	if n == 0 || err != nil {
		return 0, 0, err
	}
	end := bytes.TrimSpace(p[len("DELIMITER "):n])
	if len(end) == 0 || len(end) > 16 || bytes.ContainsAny(end, "'\"`\\#-/*") {
		return 0, 0, bad("delimiter %q", end)
	}
	l.end = bytes.Clone(end)
	return delimiter, n, nil
}

// statement finds the end of a statement outside of strings, quoted names and comments.
func (l *lexer) statement(p []byte) (token, int, error) {
	end := l.end
	if end == nil {
		end = []byte(";")
	}
	i := l.at
	for i < len(p) {
		if l.quote != 0 {
			i += l.inQuote(p[i:])
			if l.quote != 0 {
				break
			}
			continue
		}
		c := p[i]
		switch {
		case c == end[0]:
			if len(p)-i < len(end) {
				l.at = i
				return l.more(p)
			}
			if bytes.HasPrefix(p[i:], end) {
				l.at = 0
				l.mode(p[:i])
				return statement, i + len(end), nil
			}
		case c == '\'' || c == '"' || c == '`':
			l.quote = c
		case c == '#':
			l.quote = '-'
		case c == '-' || c == '/':
			opens, n := opensComment(p[i:])
			if n == 0 {
				l.at = i
				return l.more(p)
			}
			l.quote = opens
			i += n - 1
		}
		i++
	}
	l.at = i
	return l.more(p)
}

// opensComment returns what kind of comment begins with a - or / (0 if none does) and how many bytes were looked at; 0 if there must
// be more to know. What is in /*! */ and /*M! */ is no comment.
func opensComment(p []byte) (quote byte, n int) {
	second := p[0] // of -- and of /*
	if second == '/' {
		second = '*'
	}
	switch {
	case len(p) < 2:
		return 0, 0
	case p[1] != second:
		return 0, 1
	case len(p) < 3:
		return 0, 0
	case second == '-' && p[2] <= ' ':
		return '-', 2
	case second == '-' || p[2] == '!':
		return 0, 2
	case p[2] == 'M' && len(p) < 4:
		return 0, 0
	case p[2] == 'M' && p[3] == '!':
		return 0, 2
	}
	return '*', 2
}

// more asks for more bytes of a statement.
func (l *lexer) more(p []byte) (token, int, error) {
	if len(p) > maxStatement {
		return 0, 0, bad("a statement of more than %d bytes", maxStatement)
	}
	return 0, 0, nil
}

// inQuote returns how many bytes of p belong to what was opened by l.quote, and forgets that when it ends there.
func (l *lexer) inQuote(p []byte) int {
	n, closed := l.quoted(p)
	if closed {
		l.quote = 0
	}
	return n
}

// quoted returns how many bytes of p belong to what was opened by l.quote, and whether that ends there. An escape that
// is cut off is left for the next time.
func (l *lexer) quoted(p []byte) (n int, closed bool) {
	switch l.quote {
	case '-':
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			return i + 1, true
		}
		return len(p), false
	case '*':
		if i := bytes.Index(p, []byte("*/")); i >= 0 {
			return i + 2, true
		}
		return max(0, len(p)-1), false
	}
	escapes := l.quote != '`' && !l.noBackslash && (l.quote != '"' || !l.ansiQuotes)
	for {
		end := bytes.IndexByte(p[n:], l.quote)
		upto := len(p)
		if end >= 0 {
			upto = n + end
		}
		if escapes {
			if esc := bytes.IndexByte(p[n:upto], '\\'); esc >= 0 {
				if n+esc+2 > len(p) {
					return n + esc, false
				}
				n += esc + 2
				continue
			}
		}
		if end < 0 {
			return len(p), false
		}
		return upto + 1, true // a doubled quote opens it again
	}
}

// modeSet is how dumps set the session's mode in front of triggers, routines and events. Nothing else is believed: statements have
// names in them, which are chosen by whoever may make a table.
var modeSet = regexp.MustCompile(`^/\*!50003 SET sql_mode += (?:'([A-Z0-9_,]*)'|@saved_sql_mode) \*/ ?$`)

// longestMode bounds a statement that sets it.
const longestMode = 2048

// mode takes note of the modes of the session that say how strings are read.
func (l *lexer) mode(s []byte) {
	if len(s) > longestMode {
		return
	}
	if m := modeSet.FindSubmatch(s); m != nil {
		l.noBackslash = bytes.Contains(m[1], []byte("NO_BACKSLASH_ESCAPES"))
		l.ansiQuotes = bytes.Contains(m[1], []byte("ANSI_QUOTES"))
	}
}
