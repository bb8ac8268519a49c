package mysql

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

func versioned(t *testing.T) *testserver.MariaDB {
	t.Helper()
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE shop; USE shop; CREATE TABLE v (id INT PRIMARY KEY, t TEXT) WITH SYSTEM VERSIONING; CREATE TABLE n (id INT); INSERT INTO n VALUES (1);"+
		"INSERT INTO v VALUES (1, 'a'), (2, 'it\\'s'); UPDATE v SET t = 'b' WHERE id = 1; DELETE FROM v WHERE id = 2")
	return s
}

const history = "SELECT id, t, row_start, row_end FROM shop.v FOR SYSTEM_TIME ALL ORDER BY row_start, id"

func TestLogical_History_IsBackedUpAndRestored(t *testing.T) {
	s := versioned(t)
	before := s.SQL(t, history)
	out, without := sourcetest.NewWriter(), sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), NoUsers: true}, out)
	backUp(t, &Logical{Config: configOf(s), NoUsers: true, NoHistory: true}, without)
	if _, d := manifest(t, out); d.Versioned != 1 || !d.History || d.Rows != 4 {
		t.Errorf("%+v", d)
	}
	if _, d := manifest(t, without); d.Versioned != 1 || d.History || d.Rows != 2 {
		t.Errorf("without: %+v", d)
	}
	s.SQL(t, "DROP DATABASE shop")
	p := load(t, out, configOf(s), Selection{})
	if diff := cmp.Diff(before, s.SQL(t, history)); diff != "" || strings.Count(before, "\n") != 2 {
		t.Errorf("%q: %s", before, diff)
	}
	if err := p.Compare(t.Context(), configOf(s)); err != nil {
		t.Error(err)
	}
	s.SQL(t, "DROP DATABASE shop")
	p = load(t, without, configOf(s), Selection{})
	if err := p.Compare(t.Context(), configOf(s)); err != nil {
		t.Error(err)
	}
	if n := s.Number(t, "SELECT COUNT(*) FROM shop.v FOR SYSTEM_TIME ALL"); n != 1 {
		t.Errorf("without: %d rows", n)
	}
}

// History that can not be dumped is not left out unasked.
func TestCheck_HistoryThatCanNotBeDumped_Refused(t *testing.T) {
	s := versioned(t)
	check := func(noHistory bool) error {
		_, err := (&Logical{Config: configOf(s), NoUsers: true, NoHistory: noHistory}).Check(t.Context())
		return err
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mariadb-dump"), []byte("#!/bin/sh\necho 'mariadb-dump  Ver 10.19 Distrib 10.6.16-MariaDB, for debian-linux-gnu (x86_64)'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", dir+":"+path)
	if err := check(false); !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), "10.6.16") || !strings.Contains(err.Error(), "shop.v") {
		t.Errorf("an old program: %v", err)
	}
	if err := check(true); err != nil {
		t.Errorf("an old program, without history: %v", err)
	}
	t.Setenv("PATH", path)
	s.SQL(t, "CREATE TABLE shop.tx (id INT, a BIGINT UNSIGNED GENERATED ALWAYS AS ROW START, b BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME(a, b)) WITH SYSTEM VERSIONING ENGINE=InnoDB")
	if err := check(false); !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), "shop.tx") || strings.Contains(err.Error(), "shop.v") {
		t.Errorf("by transactions: %v", err)
	}
	if err := check(true); err != nil {
		t.Errorf("by transactions, without history: %v", err)
	}
}
