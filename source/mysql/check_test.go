package mysql

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// An account that may do too little is told what is missing, and the statement that gives it.
func TestCheck_PrivilegesMissing_SaysTheGrant(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE USER weak@localhost IDENTIFIED BY 'it''s \"#1\\\\'; GRANT SELECT ON shop.* TO weak@localhost")
	b := &Logical{Config: Config{Socket: s.Socket, User: "weak", Password: `it's "#1\`}}
	for range 2 {
		_, err := b.Check(t.Context())
		if !errors.Is(err, ErrPrivileges) {
			t.Fatal(err)
		}
		grant := regexp.MustCompile("GRANT .*").FindString(err.Error())
		for _, want := range []string{"BINLOG MONITOR", "EVENT", "SELECT", "SHOW VIEW", "TRIGGER", "weak"} {
			if !strings.Contains(grant, want) {
				t.Fatalf("%s is not in %s", want, grant)
			}
		}
		if err := b.Write(t.Context(), sourcetest.NewWriter()); !errors.Is(err, ErrPrivileges) {
			t.Errorf("a backup: %v", err)
		}
		s.SQL(t, "FLUSH PRIVILEGES")
	}
	_, err := b.Check(t.Context())
	s.SQL(t, regexp.MustCompile("GRANT .*").FindString(err.Error()))
	if _, err := b.Check(t.Context()); err != nil {
		t.Errorf("after the statement: %v", err)
	}
	backUp(t, b, sourcetest.NewWriter()) // which also hands over the password as it is
	if _, err := (&Logical{Config: Config{Socket: s.Socket, User: "weak", Password: "wrong"}}).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "Access denied") {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := (&Logical{Config: Config{Socket: filepath.Join(t.TempDir(), "none")}}).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("no server: %v", err)
	}
}

// An account that sees some databases only would take them for all.
func TestCheck_AccountSeesSomeDatabases_AllIsRefused(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE USER some@localhost IDENTIFIED BY 'x'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON shop.* TO some@localhost; GRANT SELECT ON mysql.* TO some@localhost; GRANT BINLOG MONITOR ON *.* TO some@localhost")
	c := Config{Socket: s.Socket, User: "some", Password: "x"}
	if f, err := (&Logical{Config: c}).Check(t.Context()); !errors.Is(err, ErrPrivileges) || !strings.Contains(err.Error(), "GRANT SELECT ON *.*") {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := (&Logical{Config: c, Databases: []string{"shop"}}).Check(t.Context()); err != nil {
		t.Errorf("the one that it sees: %v", err)
	}
}

func TestCheck_NoSuchDatabase_SaysWhichThereAre(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	_, err := (&Logical{Config: configOf(s), Databases: []string{"shop", "shopp"}}).Check(t.Context())
	if !errors.Is(err, ErrNoDatabase) || !strings.Contains(err.Error(), "shopp") || !strings.Contains(err.Error(), "empty_db, other-db, shop") {
		t.Error(err)
	}
	wipe(t, s)
	if _, err := (&Logical{Config: configOf(s)}).Check(t.Context()); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("without any: %v", err)
	}
}

func TestCheck_DumpProgramMissingOrOfTheOtherVendor_Refused(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	b := &Logical{Config: configOf(s)}
	if _, err := b.Check(t.Context()); !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), "mariadb-dump or mysqldump") {
		t.Errorf("missing: %v", err)
	}
	script := "#!/bin/sh\necho 'mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)'\n"
	if err := os.WriteFile(filepath.Join(dir, "mysqldump"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Check(t.Context()); !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), "other vendor") {
		t.Errorf("the other vendor's: %v", err)
	}
	tool, err := findTool(t.Context(), false, "mysqldump")
	if err != nil || tool.version != "8.0.36" || !tool.since(8, 0, 26) || tool.since(8, 0, 37) || tool.series() != "8.0" {
		t.Errorf("%+v, %v", tool, err)
	}
}

func TestLogical_TablesWithoutTransactions_RefusedOrLocked(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM; INSERT INTO shop.old VALUES (1),(2); CREATE TABLE shop.aria (id INT) ENGINE=Aria; CREATE TABLE shop.hole (id INT) ENGINE=InnoDB")
	b := &Logical{Config: configOf(s), NoUsers: true}
	if err := b.Write(t.Context(), sourcetest.NewWriter()); !errors.Is(err, ErrNonTransactional) || !strings.Contains(err.Error(), "shop.aria (Aria), shop.old (MyISAM)") {
		t.Errorf("%v", err)
	}
	b.Tables = Lock
	out := &slowWriter{Writer: sourcetest.NewWriter(), reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- b.Write(t.Context(), out) }()
	<-out.reached
	other := open(t, configOf(s))
	if err := other.exec(t.Context(), "SET STATEMENT lock_wait_timeout=1 FOR INSERT INTO shop.old VALUES (3)"); number(err) != 1205 {
		t.Errorf("a write while the table is dumped: %v", err)
	}
	if err := other.exec(t.Context(), "INSERT INTO shop.hole VALUES (3)"); err != nil {
		t.Errorf("a write into a table with transactions: %v", err)
	}
	close(out.goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := other.exec(t.Context(), "INSERT INTO shop.old VALUES (3)"); err != nil {
		t.Errorf("a write afterwards: %v", err)
	}
	m, d := manifest(t, out.Writer)
	if d.Locked != 2 || d.LockMS < 1000 || m.table("shop", "old").Rows != 2 || m.table("shop", "hole").Rows != 0 {
		t.Errorf("%+v, %+v", d, m.table("shop", "old"))
	}
}

// The lock on such tables is bounded, too: waiting for it, and holding it.
func TestLogical_LockTakesTooLong_Fails(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM")
	other := open(t, configOf(s))
	if err := other.exec(t.Context(), "LOCK TABLES shop.old WRITE"); err != nil {
		t.Fatal(err)
	}
	b := &Logical{Config: configOf(s), NoUsers: true, Tables: Lock, Limits: Limits{Wait: 1}}
	if err := b.Write(t.Context(), sourcetest.NewWriter()); !errors.Is(err, ErrBusy) {
		t.Errorf("the lock is not had: %v", err)
	}
	if err := other.exec(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	fakeDump(t, "exec sleep 1000\n")
	b.Limits = Limits{Hold: 200_000_000}
	if err := b.Write(t.Context(), sourcetest.NewWriter()); !errors.Is(err, ErrHeldTooLong) {
		t.Errorf("the dump takes too long: %v", err)
	}
	if err := other.exec(t.Context(), "INSERT INTO shop.old VALUES (3)"); err != nil {
		t.Errorf("a write afterwards: %v", err)
	}
}

func TestGrants_Scopes_CountAsTheServerHasThem(t *testing.T) {
	grant := func(lines ...string) *grants {
		g := newGrants()
		for _, l := range lines {
			g.add(l)
		}
		return &g
	}
	for _, c := range []struct {
		g    *grants
		dbs  string
		priv string
		want bool
	}{
		{grant("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"), "", "EVENT", true},
		{grant("GRANT SELECT, SHOW VIEW ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*X'"), "", "SHOW VIEW", true},
		{grant("GRANT SELECT ON `shop`.* TO `a`@`%`"), "shop", "SELECT", true},
		{grant("GRANT SELECT ON `shop`.* TO `a`@`%`"), "shop wiki", "SELECT", false},
		{grant("GRANT SELECT ON `shop`.* TO `a`@`%`"), "", "SELECT", false},
		{grant("GRANT SELECT ON `shop`.* TO `a`@`%`", "GRANT ALL PRIVILEGES ON `wi%`.* TO `a`@`%`"), "shop wiki", "SELECT", true},
		{grant("GRANT SELECT ON `my\\_db`.* TO `a`@`%`"), "myxdb", "SELECT", false},
		{grant("GRANT SELECT ON `my_db`.* TO `a`@`%`"), "myxdb", "SELECT", true},
		{grant("GRANT SELECT ON `shop`.`orders` TO `a`@`%`"), "shop", "SELECT", false},
		{grant("GRANT SELECT (id) ON `shop`.* TO `a`@`%`"), "shop", "SELECT", false},
		{grant("GRANT `role` TO `a`@`%`", "GRANT USAGE ON *.* TO `a`@`%`"), "shop", "SELECT", false},
	} {
		if got := c.g.has(strings.Fields(c.dbs), c.priv); got != c.want {
			t.Errorf("%v: %s in %q: %v", c.g.scopes, c.priv, c.dbs, got)
		}
	}
	err := grant("GRANT USAGE ON *.* TO `a`@`10.%` IDENTIFIED BY PASSWORD '*X'").missing([]string{"x"}, []need{{any: []string{"EVENT"}}, {any: []string{"SELECT"}}, {any: []string{"SELECT"}, global: true}})
	if fmt.Sprint(err) != "mysql: the account lacks privileges: EVENT, SELECT; an administrator can give them: GRANT EVENT, SELECT ON *.* TO `a`@`10.%`" {
		t.Error(err)
	}
}

// MySQL 8 can take privileges back in some databases, and where others run it they do so in its own.
func TestGrants_Revoked_CountsWhereItIsNeeded(t *testing.T) {
	mysql := &Server{number: [3]int{8, 0, 36}}
	all, shop := &Facts{All: true, Binlog: true, Databases: []string{"shop"}}, &Facts{Databases: []string{"shop"}}
	for _, c := range []struct {
		revoke string
		f      *Facts
		users  bool
		want   string
	}{
		{"INSERT, UPDATE, DELETE, CREATE, DROP, EVENT, TRIGGER ON `mysql`.*", all, true, ""},
		{"ALL PRIVILEGES ON `sys`.*", all, true, ""},
		{"SELECT ON `mysql`.*", all, true, "SELECT on mysql.*"},
		{"SELECT ON `mysql`.*", all, false, ""},
		{"INSERT, DROP ON `hidden`.*", all, true, ""},
		{"SELECT ON `hidden`.*", all, true, "SELECT on hidden.*"},
		{"INSERT, TRIGGER ON `hidden`.*", all, true, "TRIGGER on hidden.*"}, // the dump would lack triggers, and not fail
		{"ALL PRIVILEGES ON `hidden`.*", all, false, "EVENT on hidden.*, SELECT on hidden.*, SHOW VIEW on hidden.*, TRIGGER on hidden.*"},
		{"SELECT ON `hidden`.*", shop, true, ""},
		{"SELECT ON `shop`.*", shop, true, "SELECT on shop.*"},
	} {
		g := newGrants()
		g.add("GRANT SELECT, INSERT, SHOW VIEW, TRIGGER, EVENT, RELOAD, REPLICATION CLIENT ON *.* TO `a`@`%`")
		g.add("REVOKE " + c.revoke + " FROM `a`@`%`")
		needs := mysql.needs(c.f, c.users)
		if err := g.missing(c.f.Databases, needs); err != nil {
			t.Errorf("%s: %v", c.revoke, err)
		}
		err := g.unseen(c.f, needs)
		if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && !strings.Contains(got, "revoked was "+c.want+";") || err != nil && !errors.Is(err, ErrPrivileges) {
			t.Errorf("%s, all: %v, users: %v: %v", c.revoke, c.f.All, c.users, err)
		}
	}
}
