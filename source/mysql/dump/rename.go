package dump

import (
	"bufio"
	"bytes"
	"io"
	"slices"
)

// Renamer is an io.Writer that passes a dump's parts of one database on as those of another: it renames the database where it is
// made, used and altered, in structures of tables and sequences, and where triggers say what they belong to. Events are switched off:
// their authors did not mean them to run twice. What views, triggers, routines and events do is their author's, and stays as it is;
// Mentions says whether they name the database. It is not safe for concurrent use.
type Renamer struct {
	out      io.Writer
	from, to []byte // quoted
	lex      lexer
	buf      []byte
	mentions bool
	disabled bool
}

// NewRenamer returns a Renamer that writes to out.
func NewRenamer(out io.Writer, from, to string) *Renamer {
	return &Renamer{out: out, from: []byte(quote(from)), to: []byte(quote(to))}
}

// Write takes more of a part.
func (r *Renamer) Write(p []byte) (int, error) {
	n := len(p)
	if len(r.buf) > 0 {
		r.buf = append(r.buf, p...)
		p = r.buf
	}
	rest, err := r.feed(p, false)
	r.buf = append(r.buf[:0], rest...)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Flush passes on what is left of a part. It returns an error wrapping ErrTruncated if that ends in the middle of a statement.
func (r *Renamer) Flush() error {
	rest, err := r.feed(r.buf, true)
	r.buf = r.buf[:0]
	if err == nil && (len(rest) > 0 || r.lex.inRows) {
		err = ErrTruncated
	}
	return err
}

// Mentions reports whether something that was passed on as it is names the database that was renamed.
func (r *Renamer) Mentions() bool { return r.mentions }

// Disabled reports whether an event was switched off.
func (r *Renamer) Disabled() bool { return r.disabled }

func (r *Renamer) feed(p []byte, final bool) (rest []byte, err error) {
	from, at := 0, 0 // p[from:at] is to be written as it is
	for at < len(p) {
		tok, n, err := r.lex.next(p[at:], final)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		text := p[at : at+n]
		if tok == statement || tok == comment {
			renamed, err := r.rename(tok, text)
			if err != nil {
				return nil, err
			}
			if renamed != nil {
				if err := r.write(p[from:at], renamed); err != nil {
					return nil, err
				}
				from = at + n
			}
		}
		at += n
	}
	return p[at:], r.write(p[from:at])
}

func (r *Renamer) write(pieces ...[]byte) error {
	for _, p := range pieces {
		if len(p) == 0 {
			continue
		}
		if _, err := r.out.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// rename returns what becomes of a statement or comment, or nil if it stays.
func (r *Renamer) rename(tok token, text []byte) ([]byte, error) {
	if tok == comment {
		if bytes.HasPrefix(text, []byte("--\n-- Current Database: ")) {
			return bytes.Replace(text, r.from, r.to, 1), nil
		}
		return nil, nil
	}
	for _, begin := range []string{"CREATE DATABASE ", "USE ", "ALTER DATABASE ", "/*!40000 DROP DATABASE IF EXISTS "} {
		if hasWord(text, begin) {
			return bytes.Replace(text, r.from, r.to, 1), nil
		}
	}
	for _, begin := range []string{"CREATE TABLE ", "CREATE SEQUENCE "} {
		if hasWord(text, begin) {
			return r.qualifiers(text), nil
		}
	}
	h := head{text: text, ansiQuotes: r.lex.ansiQuotes}
	switch h.creates() {
	case "TRIGGER":
		return r.trigger(&h)
	case "EVENT":
		return r.event(&h)
	}
	r.mention(text)
	return nil, nil
}

// mention takes note of SQL that is passed on as it is.
func (r *Renamer) mention(text []byte) {
	r.mentions = r.mentions || bytes.Contains(text, slices.Concat(r.from, []byte("."))) ||
		bytes.Contains(text, slices.Concat(r.from[1:len(r.from)-1], []byte(".")))
}

// trigger renames the database in front of a trigger's name and of its table's, which are as the author has written them. There it can
// be no other database than the trigger's own, however it is spelt.
func (r *Renamer) trigger(h *head) ([]byte, error) {
	var out []byte
	var last word
	done := 0 // of the text
	for w := h.next(); !w.is("EACH"); w = h.next() {
		if w.end == 0 {
			return nil, bad("a trigger of which kura can not see what table it is for: %.200q", h.text)
		}
		if string(w.text) == "." && last.isName() {
			out = append(append(out, h.text[done:last.start]...), r.to...)
			done = last.end
		}
		last = w
	}
	r.mention(h.text[last.end:])
	return append(out, h.text[done:]...), nil
}

// event switches an event off. All in front of what it does is as the server writes it.
func (r *Renamer) event(h *head) ([]byte, error) {
	r.mention(h.text)
	for w := h.next(); !w.is("PRESERVE"); w = h.next() {
		if w.end == 0 || w.is("DO") {
			return nil, bad("an event of which kura can not see whether it is enabled: %.200q", h.text)
		}
	}
	w := h.next()
	if !w.is("ENABLE") {
		return nil, nil
	}
	r.disabled = true
	return slices.Concat(h.text[:w.start], []byte("DISABLE"), h.text[w.end:]), nil
}

// qualifiers renames `database`. outside of strings, where in a structure nothing else can be meant.
func (r *Renamer) qualifiers(text []byte) []byte {
	var out []byte
	for i := 0; i < len(text); {
		c := text[i]
		if c != '\'' && c != '"' && c != '`' {
			out = append(out, c)
			i++
			continue
		}
		l := lexer{quote: c}
		n, closed := l.quoted(text[i+1:])
		end := i + 1 + n
		for closed && end < len(text) && text[end] == c { // a doubled quote
			n, closed = l.quoted(text[end+1:])
			end += 1 + n
		}
		name := text[i:end]
		if c == '`' && bytes.Equal(name, r.from) && end < len(text) && text[end] == '.' {
			name = r.to
		}
		out = append(out, name...)
		i = end
	}
	return out
}

// Copy copies SQL without the line in front that forbids a client to run programs: older clients and those of the other vendor fail
// at it.
func Copy(out io.Writer, in io.Reader) error {
	r := bufio.NewReaderSize(in, maxLine)
	head, err := r.Peek(len("/*M!999999"))
	if err != nil && err != io.EOF {
		return err
	}
	if hasWord(head, "/*M!999999") || hasWord(head, "/*!999999") {
		if _, err := r.ReadSlice('\n'); err != nil {
			return bad("its first line does not end")
		}
	}
	_, err = io.Copy(out, r)
	return err
}
