package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// grants are what an account may do: privileges in capital letters by where they hold ("*.*", "db.*", "db.table").
type grants struct {
	account string // as SQL writes it
	scopes  map[string][]string
}

// grants asks what the account of the connection may do, with the roles that it has now.
func (s *Server) grants(ctx context.Context) (g grants, err error) {
	rows, err := s.conn.QueryContext(ctx, "SHOW GRANTS")
	if err != nil {
		return g, fmt.Errorf("mysql: SHOW GRANTS: %w", err)
	}
	defer rows.Close()
	g.scopes = map[string][]string{}
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return g, err
		}
		g.add(line)
	}
	return g, rows.Err()
}

// add takes a line as SHOW GRANTS has it: GRANT privileges ON scope TO account ….
func (g *grants) add(line string) {
	what, found := strings.CutPrefix(line, "GRANT ")
	if !found {
		return
	}
	what, rest, found := strings.Cut(what, " ON ")
	if !found {
		return // a role
	}
	scope, to, _ := strings.Cut(rest, " TO ")
	if fields := strings.Fields(to); g.account == "" && len(fields) > 0 {
		g.account = fields[0]
	}
	scope = strings.ReplaceAll(scope, "`", "")
	for _, p := range strings.Split(what, ",") {
		p, _, _ = strings.Cut(strings.TrimSpace(p), " (") // of columns: not the whole table
		if !strings.Contains(what, "(") || p == "ALL PRIVILEGES" {
			g.scopes[scope] = append(g.scopes[scope], strings.ToUpper(p))
		}
	}
}

// has reports whether one of the privileges holds everywhere, or in all of the databases.
func (g *grants) has(databases []string, privileges ...string) bool {
	if g.in("*.*", privileges) {
		return true
	}
	return len(databases) > 0 && !slices.ContainsFunc(databases, func(db string) bool {
		for scope := range g.scopes {
			if pattern, found := strings.CutSuffix(scope, ".*"); found && likeDatabase(pattern, db) && g.in(scope, privileges) {
				return false
			}
		}
		return true
	})
}

func (g *grants) in(scope string, privileges []string) bool {
	return slices.ContainsFunc(g.scopes[scope], func(p string) bool {
		return p == "ALL PRIVILEGES" || p == "ALL" || slices.Contains(privileges, p)
	})
}

// likeDatabase matches a name with the pattern of a grant: % and _ are wild, a backslash makes them tame.
func likeDatabase(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	switch c := pattern[0]; {
	case c == '%':
		for i := 0; i <= len(name); i++ {
			if likeDatabase(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	case c == '_':
		return name != "" && likeDatabase(pattern[1:], name[1:])
	case c == '\\' && len(pattern) > 1:
		pattern = pattern[1:]
	}
	return name != "" && pattern[0] == name[0] && likeDatabase(pattern[1:], name[1:])
}

// need is a privilege that something needs, or others that will do as well.
type need struct {
	any    []string
	global bool   // no database's grant will do
	on     string // another place where it is enough to have it: mysql.*
}

// missing returns an error wrapping ErrPrivileges with the statement that mends it, unless the account has what is needed.
func (g *grants) missing(databases []string, needs []need) error {
	var lack []string
	for _, n := range needs {
		dbs := databases
		if n.global {
			dbs = nil
		}
		if g.has(dbs, n.any...) || n.on != "" && (g.in(n.on, n.any) || g.in(strings.SplitAfter(n.on, ".")[0]+"*", n.any)) {
			continue
		}
		lack = append(lack, n.any[0])
	}
	if len(lack) == 0 {
		return nil
	}
	slices.Sort(lack)
	lack = slices.Compact(lack)
	return fmt.Errorf("%w: %s; an administrator can give them: GRANT %[2]s ON *.* TO %[3]s", ErrPrivileges, strings.Join(lack, ", "), g.account)
}
