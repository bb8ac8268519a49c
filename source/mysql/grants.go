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
	revoked map[string][]string // of those that hold everywhere, by the databases in which they do not
}

func newGrants() grants { return grants{scopes: map[string][]string{}, revoked: map[string][]string{}} }

// grants asks what the account of the connection may do, with the roles that it has now.
func (s *Server) grants(ctx context.Context) (grants, error) {
	g := newGrants()
	rows, err := s.conn.QueryContext(ctx, "SHOW GRANTS")
	if err != nil {
		return g, fmt.Errorf("mysql: SHOW GRANTS: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return g, err
		}
		g.add(line)
	}
	return g, rows.Err()
}

// add takes a line as SHOW GRANTS has it: GRANT privileges ON scope TO account …, and of MySQL also REVOKE privileges ON scope FROM account.
func (g *grants) add(line string) {
	into, before := g.scopes, " TO "
	what, found := strings.CutPrefix(line, "GRANT ")
	if !found {
		if what, found = strings.CutPrefix(line, "REVOKE "); !found {
			return
		}
		into, before = g.revoked, " FROM "
	}
	what, rest, found := strings.Cut(what, " ON ")
	if !found {
		return // a role
	}
	scope, to, _ := strings.Cut(rest, before)
	if fields := strings.Fields(to); g.account == "" && len(fields) > 0 {
		g.account = fields[0]
	}
	scope = strings.ReplaceAll(scope, "`", "")
	for _, p := range strings.Split(what, ",") {
		p, _, _ = strings.Cut(strings.TrimSpace(p), " (") // of columns: not the whole table
		if !strings.Contains(what, "(") || p == "ALL PRIVILEGES" {
			into[scope] = append(into[scope], strings.ToUpper(p))
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
	return anyOf(g.scopes[scope], privileges)
}

// anyOf reports whether those that there are have one of these.
func anyOf(there, privileges []string) bool {
	return slices.ContainsFunc(there, func(p string) bool {
		return p == "ALL PRIVILEGES" || p == "ALL" || slices.Contains(privileges, p)
	})
}

// inDatabases are the privileges that dumps need, and that can hold in some databases alone.
var inDatabases = []string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES"}

// unseen returns an error wrapping ErrPrivileges if something of what is needed was revoked in one of the databases, or in any, if all are
// meant: such a one may not even be listed. In the server's own ones much is revoked as a rule, and only what is needed there counts.
func (g *grants) unseen(f *Facts, needs []need) error {
	var lack []string
	for scope, revoked := range g.revoked {
		pattern := strings.TrimSuffix(scope, ".*")
		meant := f.All || slices.ContainsFunc(f.Databases, func(db string) bool { return likeDatabase(pattern, db) })
		own := slices.Contains(system, strings.ToLower(pattern))
		for _, n := range needs {
			if slices.Contains(inDatabases, n.any[0]) && anyOf(revoked, n.any[:1]) && (own && strings.HasPrefix(n.on, pattern+".") || !own && meant) {
				lack = append(lack, n.any[0]+" on "+scope)
			}
		}
	}
	if len(lack) == 0 {
		return nil
	}
	slices.Sort(lack)
	return fmt.Errorf("%w: revoked was %s; an administrator can grant it there, or other databases have to be named, or accounts be left out", ErrPrivileges, strings.Join(slices.Compact(lack), ", "))
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
