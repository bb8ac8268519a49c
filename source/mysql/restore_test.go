package mysql

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/dump"
	"github.com/kura-backup/kura/source/sourcetest"
)

func TestRestore_OneTable_NothingElse(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, out)
	s.SQL(t, "DELETE FROM shop.orders; DROP TABLE shop.`we``ird $/na.me`; UPDATE `other-db`.t SET id = 7")
	p := load(t, out, configOf(s), Selection{Only: []Wanted{{"shop", "orders"}, {"shop", "we`ird $/na.me"}}})
	if len(p.Tables) != 2 || s.Number(t, "SELECT COUNT(*) FROM shop.orders") != 3 || s.Number(t, "SELECT id FROM `other-db`.t") != 7 {
		t.Errorf("%+v", p.Tables)
	}
	if got := s.SQL(t, "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop'"); got != "tr" {
		t.Errorf("triggers: %q", got)
	}
	s.SQL(t, "DROP VIEW shop.vv")
	load(t, out, configOf(s), Selection{Only: []Wanted{{"shop", "vv"}}})
	if s.Number(t, "SELECT COUNT(*) FROM shop.vv") != 3 {
		t.Error("the view is not there")
	}
}

func TestRestore_Renamed_BesideTheOld(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE PROCEDURE shop.names() SELECT * FROM shop.orders; CREATE TRIGGER shop.t2 AFTER INSERT ON shop.orders FOR EACH ROW SET @a = 1; CREATE EVENT shop.ev2 ON SCHEDULE EVERY 1 DAY DO SET @a = 1;"+
		"SET sql_mode = ANSI_QUOTES; CREATE TRIGGER \"shop\" . t3 BEFORE DELETE ON /* here */ \"shop\".orders FOR EACH ROW SET @a = 1")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, out)
	s.SQL(t, "DELETE FROM shop.orders WHERE id = 2; DROP TRIGGER shop.t2; DROP TRIGGER shop.t3")
	m, d := manifest(t, out)
	p, err := m.Plan(Selection{Only: []Wanted{{Database: "shop"}}, Rename: map[string]string{"shop": "new `one`"}})
	if err != nil {
		t.Fatal(err)
	}
	server := open(t, configOf(s))
	renamed, err := p.Load(t.Context(), server, files(out, d.Root))
	if err != nil {
		t.Fatal(err)
	}
	if len(renamed.Mention) != 1 || renamed.Mention[0].Kind != dump.Routines || len(renamed.Disabled) != 1 || renamed.Disabled[0].Kind != dump.Events {
		t.Errorf("%+v", renamed)
	}
	if got := s.SQL(t, "SELECT trigger_schema, trigger_name, event_object_schema FROM information_schema.triggers WHERE event_object_table = 'orders' ORDER BY 1, 2"); got !=
		"new `one`\tt2\tnew `one`\nnew `one`\tt3\tnew `one`\nnew `one`\ttr\tnew `one`\nshop\ttr\tshop" {
		t.Errorf("triggers: %q", got)
	}
	if got := s.SQL(t, "SELECT event_schema, status FROM information_schema.events WHERE event_name = 'ev2' ORDER BY 1"); got != "new `one`\tDISABLED\nshop\tENABLED" {
		t.Errorf("events: %q", got)
	}
	if err := errors.Join(p.Count(t.Context(), server), p.Compare(t.Context(), configOf(s))); err != nil {
		t.Error(err)
	}
	if n := s.Number(t, "SELECT COUNT(*) FROM shop.orders"); n != 2 {
		t.Errorf("the old database has %d orders", n)
	}
	if got := s.SQL(t, "SHOW CREATE TABLE `new ``one```.fk"); !strings.Contains(got, "nextval(`new ``one```.`seq1`)") {
		t.Errorf("the default still is of the old database: %s", got)
	}
	s.SQL(t, "CREATE INDEX more ON `new ``one```.orders (n)")
	if err := p.Compare(t.Context(), configOf(s)); !errors.Is(err, ErrDiffers) || !strings.HasSuffix(err.Error(), ": new `one`.orders: another structure") {
		t.Errorf("another index: %v", err)
	}
}

func TestRestore_WhatIsThere_IsAConflict(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, out)
	m, _ := manifest(t, out)
	server := open(t, configOf(s))
	for _, c := range []struct {
		sel  Selection
		want []string
	}{
		{Selection{}, []string{"database other-db with 1 tables and views", "database shop with 10 tables and views, 2 routines, 1 events"}},
		{Selection{Only: []Wanted{{"shop", "orders"}}}, []string{"table shop.orders"}},
		{Selection{Only: []Wanted{{"shop", "orders"}}, Rename: map[string]string{"shop": "other-db"}}, nil},
		{Selection{Only: []Wanted{{"other-db", "t"}}, Rename: map[string]string{"other-db": "shop"}}, nil},
		{Selection{Only: []Wanted{{Database: "empty_db"}}}, nil},
	} {
		p, err := m.Plan(c.sel)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Conflicts(t.Context(), server)
		if err != nil || cmp.Diff(c.want, got) != "" {
			t.Errorf("%+v: %q, %v", c.sel, got, err)
		}
	}
}

// A database with nothing but routines or events is one that would be overwritten, too.
func TestRestore_OnlyRoutines_AreAConflict(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE lib; CREATE PROCEDURE lib.p() SELECT 1; CREATE DATABASE jobs; CREATE EVENT jobs.e ON SCHEDULE EVERY 1 DAY DISABLE DO SET @a = 1")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), NoUsers: true}, out)
	m, _ := manifest(t, out)
	p, err := m.Plan(Selection{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Conflicts(t.Context(), open(t, configOf(s)))
	if diff := cmp.Diff([]string{"database jobs with 1 events", "database lib with 1 routines"}, got); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
}

// Where capital letters do not count, other names are the same.
func TestRestore_ServerTakesCapitalsForSmallLetters_IsAConflict(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.Orders (id INT); CREATE TABLE shop.log (id INT); CREATE DATABASE Wiki; CREATE TABLE Wiki.t (id INT)")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), NoUsers: true}, out)
	m, _ := manifest(t, out)
	folding := testserver.NewMariaDB(t, "--lower-case-table-names=1")
	folding.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT); CREATE DATABASE wiki; CREATE TABLE wiki.other (id INT)")
	server := open(t, configOf(folding))
	for _, c := range []struct {
		sel  Selection
		want []string
	}{
		{Selection{Only: []Wanted{{"shop", "Orders"}, {"shop", "log"}}}, []string{"table shop.orders"}},
		{Selection{Only: []Wanted{{Database: "Wiki"}}}, []string{"database Wiki with 1 tables and views"}},
		{Selection{Only: []Wanted{{Database: "Wiki"}}, Rename: map[string]string{"Wiki": "SHOP"}}, []string{"database SHOP with 1 tables and views"}},
	} {
		p, err := m.Plan(c.sel)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Conflicts(t.Context(), server); err != nil || cmp.Diff(c.want, got) != "" {
			t.Errorf("%+v: %q, %v", c.sel, got, err)
		}
	}
	all, err := m.Plan(Selection{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := all.Others(t.Context(), server); err != nil || cmp.Diff([]string{"wiki.other"}, got) != "" {
		t.Errorf("beside the plan: %q, %v", got, err)
	}
	p, err := m.Plan(Selection{Rename: map[string]string{"Wiki": "Shop"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Conflicts(t.Context(), server); !errors.Is(err, ErrExists) {
		t.Errorf("two databases become one: %q, %v", got, err)
	}
	s.SQL(t, "CREATE TABLE shop.orders (id INT)")
	again := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), NoUsers: true}, again)
	m, _ = manifest(t, again)
	if p, err = m.Plan(Selection{Only: []Wanted{{Database: "shop"}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Conflicts(t.Context(), server); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "shop.orders") {
		t.Errorf("two tables become one: %q, %v", got, err)
	}
}

func TestPlan_WhatCanNotBe_Refused(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, out)
	m, _ := manifest(t, out)
	for name, c := range map[string]struct {
		sel  Selection
		want error
	}{
		"no database":     {Selection{Only: []Wanted{{Database: "shopp"}}}, ErrNoDatabase},
		"no table":        {Selection{Only: []Wanted{{"shop", "orderss"}}}, ErrNoDatabase},
		"one of two":      {Selection{Only: []Wanted{{Database: "shop"}, {"shop", "x"}}}, ErrNoDatabase},
		"nothing renamed": {Selection{Rename: map[string]string{"x": "y"}}, ErrNoDatabase},
		"two become one":  {Selection{Rename: map[string]string{"shop": "other-db"}}, ErrExists},
		"the server's":    {Selection{Rename: map[string]string{"shop": "MySQL"}}, ErrExists},
	} {
		if _, err := m.Plan(c.sel); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	swapped, err := m.Plan(Selection{Rename: map[string]string{"shop": "other-db", "other-db": "shop"}})
	if err != nil || !slices.ContainsFunc(swapped.Databases, func(d Target) bool { return d.Name == "shop" && cmp.Equal(d.Names, []string{"t"}) }) {
		t.Errorf("swapped: %+v, %v", swapped, err)
	}
}

// When the repository fails in the middle, the client must not take what it has of a statement for all of it.
func TestLoad_SourceFails_NothingOfTheStatementRuns(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.t (id INT)")
	server := open(t, configOf(s))
	lost := errors.New("a pack is lost")
	err := server.Client(t.Context(), func(w io.Writer) error {
		if _, err := io.WriteString(w, "INSERT INTO shop.t VALUES (1);\nDELETE FROM shop.t"); err != nil {
			return err
		}
		for s.Number(t, "SELECT COUNT(*) FROM shop.t") == 0 { // so that the client has read it
		}
		return lost
	})
	if !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
	if n := s.Number(t, "SELECT COUNT(*) FROM shop.t"); n != 1 {
		t.Errorf("%d rows", n)
	}
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), NoUsers: true}, out)
	m, d := manifest(t, out)
	p, err := m.Plan(Selection{})
	if err != nil {
		t.Fatal(err)
	}
	opener := files(out, d.Root)
	_, err = p.Load(t.Context(), server, func(path string) (io.ReadCloser, error) {
		r, err := opener(path)
		if path == "shop/t.sql" {
			return io.NopCloser(io.MultiReader(io.LimitReader(r, 100), iotest.ErrReader(lost))), nil
		}
		return r, err
	})
	if !errors.Is(err, lost) || !strings.Contains(err.Error(), "table shop.t") {
		t.Errorf("%v", err)
	}
}

func TestLoad_StatementFails_SaysWhy(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	err := open(t, configOf(s)).Client(t.Context(), func(w io.Writer) error {
		_, err := io.WriteString(w, "SELECT nothing FROM nowhere.at_all;\n"+strings.Repeat("SELECT 1;\n", 100_000))
		return err
	})
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("%v", err)
	}
	// In binary mode the client runs no programs for whoever wrote the SQL.
	marker := t.TempDir() + "/marker"
	_ = open(t, configOf(s)).Client(t.Context(), func(w io.Writer) error {
		_, err := io.WriteString(w, "SELECT 1;\n\\! touch "+marker+"\nsystem touch "+marker+"\n")
		return err
	})
	if _, err := os.Stat(marker); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a program was run: %v", err)
	}
}

func TestParseWanted_Names_WithAndWithoutQuotes(t *testing.T) {
	for text, want := range map[string]Wanted{
		"shop":               {Database: "shop"},
		"shop.orders":        {"shop", "orders"},
		"`my.db`":            {Database: "my.db"},
		"`my.db`.`a``b.c`":   {"my.db", "a`b.c"},
		"shop.`new\nline`":   {"shop", "new\nline"},
		"we ird.name-with-x": {"we ird", "name-with-x"},
	} {
		got, err := ParseWanted(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ".", "a.", ".a", "a.b.c", "`a", "`a`b", "``"} {
		if got, err := ParseWanted(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestReadManifest_HostileBytes_Refused(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", `{"format":2}`, `{"format":1,"parts":[]}`, `{"format":1,"parts":[{"kind":"footer"},{"kind":"header"}]}`} {
		if _, err := ReadManifest(bytes.NewReader([]byte(text))); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestReadDetails_OtherKindsAndFormats(t *testing.T) {
	const backup, archive = `"kind":"logical","root":"/mysql/local"}`, `"root":"/mysql/local/+binlog","digits":6,"logs":[[4,0,0]]}`
	for text, want := range map[string]struct{ backup, archive, newer bool }{
		"": {}, "{": {}, "[]": {}, `{"redis":{"format":1}}`: {}, `{"mysql":7}`: {}, `{"mysql":{"format":1}}`: {}, `{"mysql_binlog":{"format":1,"root":"r","digits":6}}`: {},
		`{"mysql":{` + backup + `}`: {}, `{"mysql_binlog":{` + archive + `}`: {}, `{"mysql":{"format":0,` + backup + `}`: {},
		`{"mysql":{"format":1,` + backup + `}`: {backup: true}, `{"mysql_binlog":{"format":1,` + archive + `}`: {archive: true},
		`{"mysql":{"format":2}}`: {newer: true}, `{"mysql_binlog":{"format":2,"logs":7}}`: {newer: true},
	} {
		d, err := ReadDetails([]byte(text))
		a, aerr := ReadArchiveDetails([]byte(text))
		if err == nil {
			err = aerr
		}
		if (d != nil) != want.backup || (a != nil) != want.archive || errors.Is(err, source.ErrNewer) != want.newer || (err != nil) != want.newer {
			t.Errorf("%s: %+v, %+v, %v", text, d, a, err)
		}
	}
}
