package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// system are databases that are the server's own.
var system = []string{"information_schema", "performance_schema", "mysql", "sys"}

// Facts are what there is to know before a backup.
type Facts struct {
	Vendor    string
	Version   string
	Databases []string // to be dumped
	Tables    int      // in them, without views
	// NonTransactional are tables whose rows change while they are dumped unless a lock keeps them: "db.table (MyISAM)".
	NonTransactional []Name
	Engines          map[string]int // how many tables each engine has
	Versioned        []Name         // tables that keep their history (WITH SYSTEM VERSIONING)
	Precise          []Name         // of which by transactions, which dump programs can not dump
	Floats           []Name         // tables with columns of the type FLOAT, which servers print with six digits
	All              bool           // no databases were named: those that the account may see
	Binlog           bool           // the server keeps one
}

// Name is a table's.
type Name struct{ Database, Table, Engine string }

func (n Name) String() string { return n.Database + "." + n.Table + " (" + n.Engine + ")" }

// facts looks at what is to be dumped: these databases, or all but the server's own.
func (s *Server) facts(ctx context.Context, databases []string) (*Facts, error) {
	f := &Facts{Vendor: s.Vendor(), Version: s.Version, Engines: map[string]int{}, All: len(databases) == 0}
	logs, err := s.variable(ctx, "log_bin")
	if err != nil {
		return nil, err
	}
	f.Binlog = logs == "ON" || logs == "1"
	if f.Databases, err = s.choose(ctx, databases); err != nil {
		return nil, err
	}
	return f, s.engines(ctx, f)
}

// choose returns the databases that are meant, in the server's order.
func (s *Server) choose(ctx context.Context, wanted []string) ([]string, error) {
	rows, err := s.query(ctx, "SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, r := range rows {
		if name := r["name"]; !slices.Contains(system, strings.ToLower(name)) && !strings.HasPrefix(name, "#mysql50#") {
			all = append(all, name)
		}
	}
	if len(wanted) == 0 {
		if len(all) == 0 {
			return nil, fmt.Errorf("%w: the server has none but its own, or the account may see none", ErrNoDatabase)
		}
		return all, nil
	}
	for _, name := range wanted {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%w: %s, or the account may not see it; there are: %s", ErrNoDatabase, name, strings.Join(all, ", "))
		}
	}
	return slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(wanted, name) }), nil
}

// engines looks at how the tables keep their rows.
func (s *Server) engines(ctx context.Context, f *Facts) error {
	marks, args := in(f.Databases)
	rows, err := s.query(ctx, `SELECT t.TABLE_SCHEMA AS db, t.TABLE_NAME AS name, t.TABLE_TYPE AS type, t.ENGINE AS engine, e.TRANSACTIONS AS transactions, t.TABLE_COMMENT AS comment
		FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
		WHERE t.TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW') AND t.TABLE_SCHEMA IN `+marks+` ORDER BY 1, 2`, args...)
	if err != nil {
		return err
	}
	for _, r := range rows {
		n := Name{r["db"], r["name"], r["engine"]}
		f.Tables++
		f.Engines[n.Engine]++
		if r["type"] == "SYSTEM VERSIONED" {
			f.Versioned = append(f.Versioned, n)
		}
		switch {
		case n.Engine == "":
			return fmt.Errorf("mysql: the server can not open the table %s.%s: %s", n.Database, n.Table, r["comment"])
		case r["transactions"] != "YES" && n.Engine != "BLACKHOLE":
			f.NonTransactional = append(f.NonTransactional, n)
		}
	}
	return nil
}

// columns looks for those that can not be dumped as they are.
func (s *Server) columns(ctx context.Context, f *Facts) error {
	marks, args := in(f.Databases)
	of := func(to *[]Name, where string) error {
		rows, err := s.query(ctx, `SELECT DISTINCT c.TABLE_SCHEMA AS db, c.TABLE_NAME AS name, t.ENGINE AS engine
			FROM information_schema.COLUMNS c JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
			WHERE t.TABLE_TYPE <> 'VIEW' AND `+where+` AND c.TABLE_SCHEMA IN `+marks+` ORDER BY 1, 2`, args...)
		for _, r := range rows {
			*to = append(*to, Name{r["db"], r["name"], r["engine"]})
		}
		return err
	}
	if err := of(&f.Floats, "c.DATA_TYPE = 'float'"); err != nil || len(f.Versioned) == 0 {
		return err
	}
	return of(&f.Precise, "c.GENERATION_EXPRESSION = 'ROW START' AND c.DATA_TYPE = 'bigint'")
}

// needs are the privileges for a dump.
func (s *Server) needs(f *Facts, users bool) []need {
	log := "REPLICATION CLIENT"
	if s.MariaDB && s.since(10, 5, 2) {
		log = "BINLOG MONITOR"
	}
	// Who has it in some databases only sees these, and would take them for all.
	needs := []need{{any: []string{"SELECT"}, global: f.All}, {any: []string{"SHOW VIEW"}}, {any: []string{"TRIGGER"}}, {any: []string{"EVENT"}}}
	if s.MariaDB {
		needs = append(needs, need{any: []string{"SELECT"}, on: "mysql.proc", global: true}) // bodies of routines
	} else {
		needs = append(needs, need{any: []string{"SELECT", "SHOW_ROUTINE"}, global: true})
	}
	if f.Binlog {
		needs = append(needs, need{any: []string{log, "SUPER", "REPLICATION CLIENT"}, global: true})
		if !s.MariaDB {
			needs = append(needs, need{any: []string{"RELOAD", "FLUSH_TABLES"}, global: true})
		}
	}
	if len(f.NonTransactional) > 0 {
		needs = append(needs, need{any: []string{"LOCK TABLES"}})
	}
	if users {
		needs = append(needs, need{any: []string{"SELECT"}, on: "mysql.*", global: true})
	}
	return needs
}

// some lists the first of many.
func some[T fmt.Stringer](list []T) string {
	const most = 10
	var names []string
	for _, v := range list[:min(len(list), most)] {
		names = append(names, v.String())
	}
	if n := len(list) - most; n > 0 {
		names = append(names, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(names, ", ")
}
