package dump

import "bytes"

const insertBegin = "INSERT INTO `"

// insert returns INSERT INTO … VALUES.
func (l *lexer) insert(p []byte) (token, int, error) {
	_, n, ok := insertInto(p)
	switch {
	case ok:
		l.inRows = true
		l.noBackslash, l.ansiQuotes = false, false // rows are dumped in the session's own mode, whatever that of a trigger before was
		return insert, n, nil
	case n < 0:
		return 0, 0, bad("%q", p[:min(len(p), 100)])
	}
	return l.more(p)
}

// insertInto reads INSERT INTO `table` [(`column`, …)] VALUES. It returns the length of that, or 0 if p ends before, or -1 if it
// is something else.
func insertInto(p []byte) (table string, n int, ok bool) {
	table, rest, ok := unquote(p[len(insertBegin)-1:])
	if !ok {
		return "", 0, false
	}
	rest = bytes.TrimLeft(rest, " ")
	if len(rest) > 0 && rest[0] == '(' {
		for rest[0] != ')' {
			if _, rest, ok = columnName(bytes.TrimLeft(rest[1:], " ")); !ok || len(rest) == 0 {
				return "", 0, false
			}
			if rest[0] != ',' && rest[0] != ')' {
				return "", -1, false
			}
		}
		rest = rest[1:]
	}
	rest = bytes.TrimLeft(rest, " \n")
	if len(rest) < len("VALUES") {
		return "", 0, false
	}
	if !hasWord(rest, "VALUES") {
		return "", -1, false
	}
	return table, len(p) - len(rest) + len("VALUES"), true
}

// columnName reads a column's name; those of the history of a table are not quoted.
func columnName(p []byte) (name string, rest []byte, ok bool) {
	for _, name := range []string{"row_start", "row_end"} {
		if hasWord(p, name) {
			return name, p[len(name):], true
		}
	}
	return unquote(p)
}

// nextInRows returns what is behind VALUES: rows, what is between them, and the end.
func (l *lexer) nextInRows(p []byte) (token, int, error) {
	if l.inRow {
		return l.row(p, 0)
	}
	switch c := p[0]; {
	case isSpace(c) || c == ',':
		n := 1
		for n < len(p) && (isSpace(p[n]) || p[n] == ',') {
			n++
		}
		return space, n, nil
	case c == '(':
		l.inRow, l.depth = true, 1
		return l.row(p, 1)
	case c == ';':
		l.inRows = false
		return insertEnd, 1, nil
	default:
		return 0, 0, bad("%q among rows", p[:min(len(p), 20)])
	}
}

// row returns what p has of the row, of which p[:i] was looked at. What it leaves is not more than an escape that is cut off.
func (l *lexer) row(p []byte, i int) (token, int, error) {
	for i < len(p) {
		if l.quote != 0 {
			i += l.inQuote(p[i:])
			if l.quote != 0 {
				break
			}
			continue
		}
		switch c := p[i]; c {
		case '\'', '"', '`':
			l.quote = c
		case '(':
			l.depth++
		case ')':
			l.depth--
			if l.depth == 0 {
				l.inRow = false
				return rowEnd, i + 1, nil
			}
		case ';':
			return 0, 0, bad("a row that does not end")
		}
		i++
	}
	return row, i, nil // 0 if an escape was cut off
}
