package dump

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
)

// maxCoordinates bounds the part that is kept in memory.
const maxCoordinates = 32 << 10

// Piece is a part as it occurs in a dump.
type Piece struct {
	Part
	Bytes int64 `json:"bytes"`
}

// Summary is what a dump has of a table.
type Summary struct {
	Database string `json:"database"`
	Table    string `json:"table"`
	Rows     int64  `json:"rows"`
	Digest   string `json:"digest"`             // of the rows, in hexadecimal: see the package's comment
	DDL      string `json:"ddl"`                // SHA-256 of CREATE TABLE without AUTO_INCREMENT=, in hexadecimal
	Checksum string `json:"checksum,omitempty"` // of CHECKSUM TABLE, which is not of the dump
}

// Splitter is an io.Writer that cuts the dump written to it into parts. It is not safe for concurrent use.
type Splitter struct {
	begin func(Part) (io.WriteCloser, error)
	lex   lexer
	buf   []byte // the begin of a token
	err   error  // sticks

	out      io.WriteCloser // nil before the first part and for coordinates
	piece    *Piece
	pieces   []Piece
	tables   []Summary
	current  *tableState
	seen     map[string]bool // databases that had their part
	database string
	coords   []string
	inLine   bool // the last byte was not the end of a line
	footed   bool // the last part has begun
	complete bool // the last line was seen
	closed   bool
	names    map[string]string // see Rename
}

// tableState is what is known of the table whose part is being written.
type tableState struct {
	Summary
	digest Digest
	hasher rowHasher
}

// NewSplitter returns a Splitter. It calls begin for each part but the coordinates, and closes what that returns when the
// part is complete.
func NewSplitter(begin func(Part) (io.WriteCloser, error)) *Splitter {
	return &Splitter{begin: begin, seen: map[string]bool{}}
}

// Rename makes structures be digested as if databases had other names: so what was loaded under a new name is compared with what was backed up
// under the old one. It is called before anything is written.
func (s *Splitter) Rename(names map[string]string) { s.names = names }

// Write takes more of the dump.
func (s *Splitter) Write(p []byte) (int, error) {
	n := len(p)
	if len(s.buf) > 0 {
		s.buf = append(s.buf, p...)
		p = s.buf
	}
	rest := s.feed(p, false)
	s.buf = append(s.buf[:0], rest...)
	if s.err != nil {
		return 0, s.err
	}
	return n, nil
}

// Close ends the dump. It returns an error wrapping ErrTruncated unless the dump was complete. It closes the part that is open
// either way.
func (s *Splitter) Close() error {
	if s.closed {
		return s.err
	}
	s.closed = true
	if s.err == nil {
		if rest := s.feed(s.buf, true); len(rest) > 0 || s.lex.inRows || !s.complete {
			s.err = ErrTruncated // whatever the last bytes look like
		}
	}
	s.err = errors.Join(s.err, s.endPart())
	return s.err
}

// Pieces returns the parts in the order in which they are in the dump.
func (s *Splitter) Pieces() []Piece { return s.pieces }

// Tables returns what the dump has of each table.
func (s *Splitter) Tables() []Summary { return s.tables }

// Coordinates returns the texts of the parts of that kind.
func (s *Splitter) Coordinates() []string { return s.coords }

// feed takes tokens off p, and returns what is not one yet.
func (s *Splitter) feed(p []byte, final bool) (rest []byte) {
	if s.err != nil {
		return nil
	}
	from, at := 0, 0 // p[from:at] is still to be written to the current part
	for at < len(p) {
		tok, n, err := s.lex.next(p[at:], final)
		if err != nil {
			s.err = err
			return nil
		}
		if n == 0 {
			break
		}
		text := p[at : at+n]
		part, err := s.takes(tok, text)
		s.inLine = text[n-1] != '\n'
		if err == nil && (part != nil || s.piece == nil) {
			if part == nil {
				part = &Part{Kind: Header}
			}
			if err = s.write(p[from:at]); err == nil {
				err = s.beginPart(*part)
			}
			from = at
		}
		if err == nil {
			err = s.count(tok, text)
		}
		if err != nil {
			s.err = err
			return nil
		}
		at += n
	}
	s.err = s.write(p[from:at])
	return p[at:]
}

func (s *Splitter) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	s.piece.Bytes += int64(len(p))
	if s.out != nil {
		_, err := s.out.Write(p)
		return err
	}
	if s.piece.Bytes > maxCoordinates || len(s.coords) > 8 {
		return bad("coordinates of more than %d bytes", maxCoordinates)
	}
	s.coords[len(s.coords)-1] += string(p)
	return nil
}

func (s *Splitter) beginPart(p Part) (err error) {
	if err := s.endPart(); err != nil {
		return err
	}
	s.pieces = append(s.pieces, Piece{Part: p})
	s.piece = &s.pieces[len(s.pieces)-1]
	if p.Kind == Table {
		s.current = &tableState{Summary: Summary{Database: p.Database, Table: p.Name}}
	}
	if p.Kind == Coordinates {
		s.coords = append(s.coords, "")
		return nil
	}
	s.out, err = s.begin(p)
	return err
}

func (s *Splitter) endPart() error {
	if t := s.current; t != nil {
		t.Digest = t.digest.String()
		s.tables = append(s.tables, t.Summary)
		s.current = nil
	}
	if s.out == nil {
		return nil
	}
	err := s.out.Close()
	s.out = nil
	return err
}

// markers are the comments that parts begin with.
var markers = []struct {
	text string
	kind Kind
}{
	{"Current Database: ", Database},
	{"Table structure for table ", Table},
	{"Sequence structure for ", Sequence},
	{"Temporary table structure for view ", ViewStub},
	{"Temporary view structure for view ", ViewStub},
	{"Final view structure for view ", View},
	{"Dumping events for database ", Events},
	{"Dumping routines for database ", Routines},
	{"Position to start replication ", Coordinates},
	{"Alternately, following is the position of the binary log", Coordinates},
	{"GTID to start replication ", Coordinates},
	{"GTID state at the ", Coordinates},
}

// footers are the statements that the last part begins with.
var footers = []string{"/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;", "SET @@SESSION.SQL_LOG_BIN = @MYSQLDUMP_TEMP_LOG_BIN;"}

func isFooter(text []byte) bool {
	return slices.ContainsFunc(footers, func(f string) bool { return string(text) == f })
}

// takes returns the part that begins with a token, if any does.
func (s *Splitter) takes(tok token, text []byte) (*Part, error) {
	if s.complete && tok != space {
		return nil, bad("it goes on behind its last line")
	}
	switch tok {
	case comment:
		p, err := s.marker(text)
		if p != nil && s.footed && p.Kind != Coordinates {
			return nil, bad("%v behind the end", *p)
		}
		return p, err
	case statement:
		if !s.footed && !s.inLine && s.piece != nil && isFooter(text) {
			s.footed = true
			return &Part{Kind: Footer}, nil
		}
	}
	return nil, nil
}

// marker returns the part that a comment announces.
func (s *Splitter) marker(text []byte) (*Part, error) {
	block, bare := bytes.CutPrefix(text, []byte("--\n"))
	if bare {
		block = bytes.TrimSuffix(block, []byte("\n--\n"))
	}
	text, found := bytes.CutPrefix(block, []byte("-- "))
	switch {
	case !found:
		return nil, nil
	case !bare && bytes.HasPrefix(text, []byte("Dump completed")):
		s.complete = true
		return nil, nil
	case !bare && bytes.HasPrefix(text, []byte("The deferred gtid setting ")):
		return s.partOf(Coordinates, nil)
	}
	for _, m := range markers {
		name, found := bytes.CutPrefix(text, []byte(m.text))
		if !bare || !found {
			continue
		}
		return s.partOf(m.kind, bytes.ReplaceAll(name, []byte("\n-- "), []byte("\n")))
	}
	return nil, nil
}

func (s *Splitter) partOf(kind Kind, text []byte) (*Part, error) {
	p := &Part{Kind: kind, Database: s.database}
	switch kind {
	case Coordinates:
		if p.Database = ""; s.piece != nil && s.piece.Kind == Coordinates {
			return nil, nil // more of them
		}
		return p, nil
	case Events, Routines:
	default:
		name, _, ok := unquote(text)
		if !ok {
			return nil, bad("a %s without a name: %q", kind, text)
		}
		p.Name = name
	}
	if kind == Database {
		p.Database, p.Name, s.database = p.Name, "", p.Name
		if s.seen[p.Database] {
			p.Kind = Use
		}
		s.seen[p.Database] = true
	}
	if p.Database == "" {
		return nil, bad("%s without a database", kind)
	}
	return p, nil
}

// count takes note of rows and structures.
func (s *Splitter) count(tok token, text []byte) error {
	switch t := s.current; {
	case tok == insert && t == nil:
		return bad("rows in the part %v", s.piece.Part)
	case tok == insert:
		if table, _, _ := insertInto(text); table != t.Table {
			return bad("rows of %q in the part of %q", table, t.Table)
		}
	case tok == row:
		t.hasher.more(text)
	case tok == rowEnd:
		t.digest.add(t.hasher.end(text))
		t.Rows++
	case tok == statement && t != nil:
		return t.structure(s.renamed(text))
	case tok == statement && (s.piece.Kind == Database || s.piece.Kind == Use):
		if rest, found := bytes.CutPrefix(text, []byte("USE ")); found {
			if name, _, ok := unquote(rest); !ok || name != s.piece.Database {
				return bad("%q in the part %v", text, s.piece.Part)
			}
		}
	}
	return nil
}

// renamed returns a structure as Rename asks for it, and all else as it is.
func (s *Splitter) renamed(text []byte) []byte {
	name, ok := s.names[s.piece.Database]
	if !ok || !hasWord(text, "CREATE TABLE ") {
		return text
	}
	return NewRenamer(nil, s.piece.Database, name).qualifiers(text)
}

var autoIncrement = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

// structure takes note of CREATE TABLE.
func (t *tableState) structure(text []byte) error {
	rest, found := bytes.CutPrefix(text, []byte("CREATE TABLE "))
	if !found {
		if bytes.HasPrefix(text, []byte("INSERT")) {
			return bad("%q in the part of %q", text[:min(len(text), 100)], t.Table)
		}
		return nil
	}
	name, _, ok := unquote(rest)
	if !ok || name != t.Table {
		return bad("the structure of %q in the part of %q", name, t.Table)
	}
	// Only the options behind the last parenthesis have it; a comment in there may say the same, which costs nothing.
	last := max(bytes.LastIndex(text, []byte("\n)")), 0)
	sum := sha256.New()
	fmt.Fprintf(sum, "%s%s", text[:last], autoIncrement.ReplaceAll(text[last:], nil))
	t.DDL = hex.EncodeToString(sum.Sum(nil))
	return nil
}
