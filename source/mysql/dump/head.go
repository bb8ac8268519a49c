package dump

import (
	"bytes"
	"strings"
)

// head reads the words that a statement begins with. What stands in /*! */ and /*M! */ counts, as it does for a server.
type head struct {
	text       []byte
	ansiQuotes bool
	at         int
}

// word is a keyword, a name, or a single other byte. Behind the last one comes the zero value.
type word struct {
	text       []byte
	start, end int
	quoted     bool // a name, or a string
}

// is reports whether a word is a keyword.
func (w *word) is(keyword string) bool {
	return !w.quoted && strings.EqualFold(string(w.text), keyword)
}

// isName reports whether a word can be a name.
func (w *word) isName() bool {
	return w.end > 0 && (w.quoted && w.text[0] != '\'' || !w.quoted && isNameByte(w.text[0]))
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// creates returns what a statement makes in capital letters, or nothing. Names of accounts in front of that are quoted.
func (h *head) creates() string {
	if w := h.next(); !w.is("CREATE") {
		return ""
	}
	for w := h.next(); w.end > 0; w = h.next() {
		for _, kind := range []string{"TRIGGER", "EVENT", "PROCEDURE", "FUNCTION", "PACKAGE", "VIEW", "TABLE"} {
			if w.is(kind) {
				return kind
			}
		}
	}
	return ""
}

// next returns the next word.
func (h *head) next() word {
	h.skip()
	if h.at >= len(h.text) {
		return word{}
	}
	start := h.at
	switch c := h.text[start]; {
	case c == '\'' || c == '"' || c == '`':
		l := lexer{quote: c, ansiQuotes: h.ansiQuotes}
		for {
			h.at++ // the quote
			h.at += l.inQuote(h.text[h.at:])
			if l.quote != 0 || h.at >= len(h.text) || h.text[h.at] != c {
				break
			}
			l.quote = c // it was doubled
		}
		if l.quote != 0 { // it does not end
			h.at = len(h.text)
			return word{}
		}
		return word{h.text[start:h.at], start, h.at, true}
	case isNameByte(c):
		for h.at < len(h.text) && isNameByte(h.text[h.at]) {
			h.at++
		}
	default:
		h.at++
	}
	return word{h.text[start:h.at], start, h.at, false}
}

// skip goes on to the next word.
func (h *head) skip() {
	for h.at < len(h.text) {
		switch rest := h.text[h.at:]; {
		case isSpace(rest[0]) || rest[0] == '\f' || rest[0] == '\v':
			h.at++
		case hasWord(rest, "/*!"), hasWord(rest, "/*M!"):
			h.at += bytes.IndexByte(rest, '!') + 1
			for h.at < len(h.text) && h.text[h.at] >= '0' && h.text[h.at] <= '9' {
				h.at++
			}
		case hasWord(rest, "*/"): // of one of these
			h.at += 2
		case hasWord(rest, "/*"):
			h.comment(rest, "*/")
		case rest[0] == '#', hasWord(rest, "--") && (len(rest) == 2 || rest[2] <= ' '):
			h.comment(rest, "\n")
		default:
			return
		}
	}
}

func (h *head) comment(rest []byte, end string) {
	if n := bytes.Index(rest, []byte(end)); n >= 0 {
		h.at += n + len(end)
	} else {
		h.at = len(h.text)
	}
}

// seek goes on behind a keyword, if there is one.
func (h *head) seek(keyword string) bool {
	for w := h.next(); w.end > 0; w = h.next() {
		if w.is(keyword) {
			return true
		}
	}
	return false
}

// follow reports whether the next words are these.
func (h *head) follow(keywords ...string) bool {
	for _, k := range keywords {
		if w := h.next(); !w.is(k) {
			return false
		}
	}
	return true
}
