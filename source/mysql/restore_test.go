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
	s.SQL(t, "CREATE PROCEDURE shop.names() SELECT * FROM shop.orders")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, out)
	s.SQL(t, "DELETE FROM shop.orders WHERE id = 2")
	m, d := manifest(t, out)
	p, err := m.Plan(Selection{Only: []Wanted{{Database: "shop"}}, Rename: map[string]string{"shop": "new `one`"}})
	if err != nil {
		t.Fatal(err)
	}
	server := open(t, configOf(s))
	mention, err := p.Load(t.Context(), server, files(out, d.Root))
	if err != nil {
		t.Fatal(err)
	}
	if len(mention) != 1 || mention[0].Kind != dump.Routines {
		t.Errorf("mentions: %v", mention)
	}
	if err := errors.Join(p.Count(t.Context(), server), p.Compare(t.Context(), configOf(s), false)); err != nil {
		t.Error(err)
	}
	if n := s.Number(t, "SELECT COUNT(*) FROM shop.orders"); n != 2 {
		t.Errorf("the old database has %d orders", n)
	}
	if got := s.SQL(t, "SHOW CREATE TABLE `new ``one```.fk"); !strings.Contains(got, "nextval(`new ``one```.`seq1`)") {
		t.Errorf("the default still is of the old database: %s", got)
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
		{Selection{}, []string{"database other-db with 1 tables and views", "database shop with 10 tables and views"}},
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
	for _, text := range []string{"", "{", "[]", `{"redis":{}}`, `{"mysql":{}}`, `{"mysql":7}`} {
		if d := ReadDetails([]byte(text)); d != nil {
			t.Errorf("%s: %+v", text, d)
		}
	}
}
