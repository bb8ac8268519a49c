package dump

import (
	"bytes"
	"slices"
)

// Accounts passes on SQL that makes accounts and grants them privileges, without what would change accounts that are there already: GRANT
// statements of MariaDB have the password, and what the connection must be like, which CREATE USER IF NOT EXISTS says as well; and
// accounts without a default role are given none.
func Accounts(text []byte) ([]byte, error) {
	var lex lexer
	var out []byte
	for at := 0; at < len(text); {
		tok, n, err := lex.next(text[at:], true)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, ErrTruncated
		}
		piece := text[at : at+n]
		if tok == statement {
			piece = account(piece)
		}
		out = append(out, piece...)
		at += n
	}
	return out, nil
}

// account returns what becomes of a statement.
func account(text []byte) []byte {
	h := head{text: text}
	switch w := h.next(); {
	case w.is("GRANT"):
		return grant(&h)
	case w.is("SET"), w.is("ALTER"):
		if h.seek("DEFAULT") && h.follow("ROLE", "NONE") {
			return nil
		}
	}
	return text
}

// grant takes off a GRANT statement what is neither a privilege nor the right to grant it to others.
func grant(h *head) []byte {
	if !h.seek("TO") {
		return h.text
	}
	var end int // of the account
	w := h.next()
	for ; w.end > 0 && !slices.ContainsFunc([]string{"IDENTIFIED", "REQUIRE", "WITH", ";"}, w.is); w = h.next() {
		end = w.end
	}
	var option []byte
	extra := false
	for ; w.end > 0; w = h.next() {
		switch {
		case w.is("GRANT"), w.is("ADMIN"):
			option = slices.Concat([]byte(" WITH "), bytes.ToUpper(w.text), []byte(" OPTION"))
		case w.is("WITH"), w.is("OPTION"), w.is(";"):
		default:
			extra = true
		}
	}
	if !extra {
		return h.text
	}
	closing := []byte(";")
	if bytes.HasPrefix(h.text, []byte("/*")) {
		closing = []byte(" */;")
	}
	return slices.Concat(h.text[:end], option, closing)
}
