package dump

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

// memory keeps parts by their paths.
type memory struct {
	t     interface{ Errorf(string, ...any) }
	files map[string]*bytes.Buffer
	open  int
}

type memoryFile struct {
	*bytes.Buffer
	m *memory
}

func (f memoryFile) Close() error {
	f.m.open--
	return nil
}

func (m *memory) begin(p Part) (io.WriteCloser, error) {
	if m.files[p.Path()] != nil {
		m.t.Errorf("%s is written twice", p.Path())
	}
	m.open++
	if m.open > 1 {
		m.t.Errorf("%d parts are open", m.open)
	}
	b := new(bytes.Buffer)
	m.files[p.Path()] = b
	return memoryFile{b, m}, nil
}

// split splits a dump that comes in pieces of the given size; 0 is all at once.
func split(t interface{ Errorf(string, ...any) }, text []byte, size int) (*Splitter, *memory, error) {
	m := &memory{t: t, files: map[string]*bytes.Buffer{}}
	s := NewSplitter(m.begin)
	if size == 0 {
		size = len(text)
	}
	for len(text) > 0 {
		n := min(size, len(text))
		if _, err := s.Write(bytes.Clone(text[:n])); err != nil {
			return s, m, errors.Join(err, s.Close())
		}
		text = text[n:]
	}
	err := s.Close()
	if m.open != 0 {
		t.Errorf("%d parts are open in the end", m.open)
	}
	return s, m, err
}

// whole puts a dump together again.
func (m *memory) whole(s *Splitter) []byte {
	var out []byte
	coordinates := s.Coordinates()
	for _, p := range s.Pieces() {
		if p.Kind == Coordinates {
			out = append(out, coordinates[0]...)
			coordinates = coordinates[1:]
			continue
		}
		out = append(out, m.files[p.Path()].Bytes()...)
	}
	return out
}

func dumps(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(err, "no dumps")
	}
	out := map[string][]byte{}
	for _, name := range names {
		if out[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestSplitter_RealDumps_SplitAsBefore(t *testing.T) {
	for name, text := range dumps(t) {
		s, m, err := split(t, text, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := m.whole(s); !bytes.Equal(got, text) {
			t.Errorf("%s: %s", name, cmp.Diff(string(text), string(got)))
		}
		type part struct {
			Path string
			Piece
		}
		var golden struct {
			Coordinates []string
			Parts       []part
			Tables      []Summary
		}
		golden.Coordinates, golden.Tables = s.Coordinates(), s.Tables()
		for _, p := range s.Pieces() {
			golden.Parts = append(golden.Parts, part{p.Path(), p})
		}
		got, err := json.MarshalIndent(golden, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		file := strings.TrimSuffix(name, ".sql") + ".json"
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v: %s", name, err, cmp.Diff(string(want), string(got)))
		}
	}
}

// However a dump comes, its parts and digests are the same.
func TestSplitter_AnyPieces_SameParts(t *testing.T) {
	for name, text := range dumps(t) {
		want, wantFiles, err := split(t, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 2, 3, 7, 64, 1000} {
			s, m, err := split(t, text, size)
			if err != nil {
				t.Fatalf("%s in pieces of %d: %v", name, size, err)
			}
			if diff := cmp.Diff(want.Pieces(), s.Pieces()); diff != "" {
				t.Errorf("%s in pieces of %d: %s", name, size, diff)
			}
			if diff := cmp.Diff(want.Tables(), s.Tables()); diff != "" {
				t.Errorf("%s in pieces of %d: %s", name, size, diff)
			}
			for p, b := range wantFiles.files {
				if !bytes.Equal(b.Bytes(), m.files[p].Bytes()) {
					t.Errorf("%s in pieces of %d: %s differs", name, size, p)
				}
			}
		}
	}
}

// A dump that ends anywhere before its last line is not complete.
func TestSplitter_CutAnywhere_Truncated(t *testing.T) {
	for name, text := range dumps(t) {
		last := bytes.LastIndex(text, []byte("-- Dump completed"))
		for n := 0; n < last; n += 1 + n%37 {
			if _, _, err := split(t, text[:n], 0); !errors.Is(err, ErrTruncated) {
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
	}
}

const (
	before = "-- MariaDB dump\n\n--\n-- Current Database: `a`\n--\n\nUSE `a`;\n\n--\n-- Table structure for table `t`\n--\n\nCREATE TABLE `t` (\n  `id` int(11)\n) ENGINE=InnoDB AUTO_INCREMENT=7;\n"
	after  = "\n/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n\n-- Dump completed\n"
)

func TestSplitter_RowsOfAnotherTable_Refused(t *testing.T) {
	for name, text := range map[string]string{
		"rows":       before + "INSERT INTO `u` VALUES (1);\n" + after,
		"structure":  before + "CREATE TABLE `u` (\n  `id` int(11)\n);\n" + after,
		"database":   "-- dump\n--\n-- Current Database: `a`\n--\nUSE `b`;\n" + after,
		"no table":   "-- dump\n--\n-- Current Database: `a`\n--\nUSE `a`;\nINSERT INTO `t` VALUES (1);\n" + after,
		"other rows": before + "INSERT IGNORE INTO `t` VALUES (1);\n" + after,
		"behind":     before + after + "DROP DATABASE a;\n",
		"end of row": before + "INSERT INTO `t` VALUES (1;\n" + after,
		"delimiter":  before + "DELIMITER '\n" + after,
	} {
		if _, _, err := split(t, []byte(text), 0); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What looks like the begin of a part in a string, a body or a comment is none: who may make routines could otherwise put SQL
// into the parts of others.
func TestSplitter_ForgedMarkers_Ignored(t *testing.T) {
	forged := "--\n-- Table structure for table `victim`\n--\nINSERT INTO `victim` VALUES (666);\n"
	for name, text := range map[string]string{
		"string":       "SELECT '" + forged + "';\n",
		"doubled":      "SELECT 'it''s" + forged + "';\n",
		"escaped":      `SELECT 'a\'` + forged + "';\n",
		"name":         "SELECT `a``" + forged + "`;\n",
		"comment":      "SELECT /* ' " + forged + "*/ 1;\n",
		"body":         "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN\nSELECT \"\nx;;\nDELIMITER ;\n" + forged + "\"; END ;;\nDELIMITER ;\n",
		"line comment": "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN -- it's\n# it's\nSELECT '" + forged + "'; END ;;\nDELIMITER ;\n",
		"no escapes":   "/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\nCREATE PROCEDURE p() SELECT 'a\\', '" + forged + "';;\nDELIMITER ;\n/*!50003 SET sql_mode = @saved_sql_mode */ ;\n",
		"ansi quotes":  "/*!50003 SET sql_mode              = 'ANSI_QUOTES' */ ;\nDELIMITER ;;\nCREATE PROCEDURE p() SELECT \"a\\\", '" + forged + "';;\nDELIMITER ;\n/*!50003 SET sql_mode = @saved_sql_mode */ ;\n",
		"row":          "INSERT INTO `t` VALUES (1,'" + forged + "');\n",
		"executed":     "/*!50001 CREATE VIEW v AS SELECT '*/" + forged + "' */;\n",
	} {
		s, m, err := split(t, []byte(before+text+after), 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(s.Tables()) != 1 || s.Tables()[0].Table != "t" || m.files["a/victim.sql"] != nil {
			t.Errorf("%s: %+v", name, s.Tables())
		}
	}
}

// Whoever may make a table chooses a name, and names stand in statements. None of them says how strings are read, or where the end begins.
func TestSplitter_ForgedNames_Ignored(t *testing.T) {
	for _, name := range []string{"sql_mode NO_BACKSLASH_ESCAPES", "SET sql_mode = 'ANSI_QUOTES'", "/*!50003 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */"} {
		for _, s := range []string{
			"/*!40000 ALTER TABLE `" + name + "` DISABLE KEYS */;\n", "/*!50001 DROP VIEW IF EXISTS `" + name + "`*/;\n", "/*!50106 DROP EVENT IF EXISTS `" + name + "` */;\n",
			"/*!50003 DROP PROCEDURE IF EXISTS `" + name + "` */;\n",
		} {
			rows := "INSERT INTO `t` VALUES (1,'it\\'s','x'),(2,'\\'); SET @@SESSION.SQL_LOG_BIN = @MYSQLDUMP_TEMP_LOG_BIN; DROP DATABASE a; x','');\n"
			sp, m, err := split(t, []byte(before+s+rows+s+rows+after), 0)
			if err != nil || sp.Tables()[0].Rows != 4 || bytes.Contains(m.files["+footer.sql"].Bytes(), []byte("DROP")) {
				t.Errorf("%s: %+v, %v", s, sp.Tables(), err)
			}
		}
	}
}

// Rows are written in the session's own mode, whatever has been left of one before.
func TestSplitter_ModeOfATrigger_IsNotThatOfRows(t *testing.T) {
	text := before + "/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES' */ ;\nINSERT INTO `t` VALUES ('a\\'),(1'),(\"b\\\"),(2\");\n" + after
	if s, _, err := split(t, []byte(text), 0); err != nil || s.Tables()[0].Rows != 2 {
		t.Errorf("%+v, %v", s.Tables(), err)
	}
}

// The last part begins with a line of its own, once, and no other follows it.
func TestSplitter_ForgedEnd_IsNotTheEnd(t *testing.T) {
	const end = "/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;"
	for name, text := range map[string]string{
		"behind another statement": "SELECT 1; " + end + "\n",
		"behind rows":              "INSERT INTO `t` VALUES (1);" + end + "\n",
		"with more in it":          "/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE, @a=1 */;\n",
	} {
		s, m, err := split(t, []byte(before+text+after), 0)
		if err != nil || !bytes.HasPrefix(m.files["+footer.sql"].Bytes(), []byte(end+"\n\n-- Dump completed")) || len(s.Pieces()) != 4 {
			t.Errorf("%s: %+v, %v", name, s.Pieces(), err)
		}
	}
	table := "--\n-- Table structure for table `u`\n--\nCREATE TABLE `u` (\n  `id` int\n);\n"
	if _, _, err := split(t, []byte(before+end+"\n"+table+"-- Dump completed\n"), 0); !errors.Is(err, ErrFormat) {
		t.Errorf("a part behind the end: %v", err)
	}
}

// mysqldump from 8.0.26 on writes GTIDs in a comment behind which there is no ;.
func TestSplitter_CommentedGTIDs_AreCoordinates(t *testing.T) {
	text := strings.Replace(before, "-- MariaDB dump\n", `-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
/*!40103 SET TIME_ZONE='+00:00' */;

--
-- GTID state at the beginning of the backup 
--

/* SET @@GLOBAL.GTID_PURGED='+3e11fa47-71ca-11e1-9e33-c80aa9429562:1-184,
7664fad8-49fd-11e8-a546-4201c0a8010a:1-7';*/

--
-- Position to start replication or point-in-time recovery from
--

-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000233', MASTER_LOG_POS=314582450;
`, 1)
	for _, size := range []int{0, 1, 5} {
		s, m, err := split(t, []byte(text+after), size)
		if err != nil || len(s.Coordinates()) != 1 || !strings.Contains(s.Coordinates()[0], "GTID_PURGED='+3e11") || !strings.Contains(s.Coordinates()[0], "LOG_POS=314582450") {
			t.Fatalf("in pieces of %d: %q, %v", size, s.Coordinates(), err)
		}
		if got := m.files["a/+database.sql"]; got == nil || !bytes.HasPrefix(got.Bytes(), []byte("--\n-- Current Database: `a`")) || !bytes.Equal(m.whole(s), []byte(text+after)) {
			t.Errorf("in pieces of %d: %+v", size, s.Pieces())
		}
	}
}

// The names of the columns that say since when and until when a row was so are not quoted.
func TestSplitter_RowsWithHistory_AreCounted(t *testing.T) {
	s, _, err := split(t, []byte(before+"INSERT INTO `t` (`id`, `t`, row_start, row_end) VALUES (1,'a','2026-11-21 18:22:43.781400','2026-11-21 18:22:44.793999'),\n(1,'b','2026-11-21 18:22:44.793999','2038-01-19 03:14:07.999999');\n"+after), 3)
	if err != nil || s.Tables()[0].Rows != 2 {
		t.Errorf("%+v, %v", s.Tables(), err)
	}
}

func TestSplitter_Digest_DependsOnRowsNotOnTheirOrder(t *testing.T) {
	digest := func(rows string) Summary {
		s, _, err := split(t, []byte(before+rows+after), 0)
		if err != nil {
			t.Fatal(err)
		}
		return s.Tables()[0]
	}
	a := digest("INSERT INTO `t` VALUES (1,'a'),(2,'b)'),\n(3,NULL);\n")
	b := digest("INSERT INTO `t` VALUES\n(3,NULL);\nINSERT INTO `t` VALUES (2,'b)'),(1,'a');\n")
	if a != b || a.Rows != 3 {
		t.Errorf("%+v\n%+v", a, b)
	}
	if c := digest("INSERT INTO `t` VALUES (1,'a'),(2,'b)'),(3,'');\n"); c.Digest == a.Digest || c.Rows != 3 {
		t.Errorf("another row: %+v", c)
	}
	var want Digest
	for range 2 {
		sum := sha256.Sum256([]byte("(1)"))
		want.add(&sum)
	}
	if d := digest("INSERT INTO `t` VALUES (1),(1);\n"); d.Digest != want.String() || d.Rows != 2 {
		t.Errorf("twice the same row: %+v, want %v", d, want)
	}
	if e := digest(""); e.Digest != strings.Repeat("0", 64) || e.Rows != 0 {
		t.Errorf("no rows: %+v", e)
	}
}

func TestSplitter_DDL_IgnoresTheCounter(t *testing.T) {
	ddl := func(text string) string {
		s, _, err := split(t, []byte(text+after), 0)
		if err != nil {
			t.Fatal(err)
		}
		return s.Tables()[0].DDL
	}
	a := ddl(before)
	if b := ddl(strings.Replace(before, " AUTO_INCREMENT=7", " AUTO_INCREMENT=12", 1)); a != b || a == "" {
		t.Errorf("%s, %s", a, b)
	}
	if b := ddl(strings.Replace(before, "int(11)", "int(10)", 1)); a == b {
		t.Error("another structure, the same digest")
	}
}

func TestSplitter_DDL_OfARenamedDatabase(t *testing.T) {
	text := func(database, value string) []byte {
		return []byte(strings.Replace(strings.ReplaceAll(before, "`a`", quote(database)), "int(11)", "int(11) DEFAULT "+value+" COMMENT '`a`.`s`'", 1) + after)
	}
	ddl := func(names map[string]string, text []byte) string {
		m := &memory{t: t, files: map[string]*bytes.Buffer{}}
		s := NewSplitter(m.begin)
		s.Rename(names)
		if _, err := s.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return s.Tables()[0].DDL
	}
	was, names := ddl(nil, text("a", "nextval(`a`.`s`)")), map[string]string{"b`c": "a"}
	if got := ddl(names, text("b`c", "nextval(`b``c`.`s`)")); got != was || got == "" {
		t.Errorf("%s, %s", was, got)
	}
	for name, got := range map[string]string{
		"of another database":     ddl(names, text("b`c", "nextval(`b`.`s`)")),
		"another structure":       ddl(names, text("b`c", "nextval(`b``c`.`r`)")),
		"a database by its name":  ddl(nil, text("b`c", "nextval(`b``c`.`s`)")),
		"another one was renamed": ddl(map[string]string{"b": "a"}, text("b`c", "nextval(`b``c`.`s`)")),
	} {
		if got == was {
			t.Errorf("%s: the same digest", name)
		}
	}
}

func TestPath_AnyNames_SafeAndDistinct(t *testing.T) {
	kinds := []Kind{Database, Use, Table, Sequence, ViewStub, View, Events, Routines}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[.+%/a\\-]{1,6}`), rapid.SampledFrom([]string{"..", ".", "+database", "a.view", "events", "t.sql", "a%2Eb"}))
		part := func(label string) Part {
			p := Part{Kind: rapid.SampledFrom(kinds).Draw(t, label), Database: "d" + name.Draw(t, label)}
			if p.Kind == Table || p.Kind == Sequence || p.Kind == View || p.Kind == ViewStub {
				p.Name = "n" + name.Draw(t, label)
				p.Name = rapid.SampledFrom([]string{p.Name, p.Name[1:] + "x"}).Draw(t, label)
			}
			return p
		}
		a, b := part("a"), part("b")
		if a != b && a.Path() == b.Path() {
			t.Fatalf("%+v and %+v have the path %s", a, b, a.Path())
		}
		if dir, file := filepath.Split(a.Path()); filepath.Clean(a.Path()) != a.Path() || strings.HasPrefix(a.Path(), ".") || strings.Count(a.Path(), "/") != 1 || dir == "" || file == "" {
			t.Fatalf("%+v has the path %q", a, a.Path())
		}
	})
}
