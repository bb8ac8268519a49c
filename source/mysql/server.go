package mysql

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"
)

// Server is a connection to a server. It is not safe for concurrent use.
type Server struct {
	Config  Config
	Version string // as it says itself: 10.11.6-MariaDB-log
	MariaDB bool
	number  [3]int // the version's
	id      uint64 // of the connection, by which the server lists it, and names it in its log

	db   *sql.DB
	conn *sql.Conn
}

// Open connects to a server.
func Open(ctx context.Context, c Config) (*Server, error) {
	cfg, err := c.driver()
	if err != nil {
		return nil, err
	}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("mysql: %w", err)
	}
	s := &Server{Config: c, db: sql.OpenDB(connector)}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("mysql: no connection to the server at %s: %w", c.Address(), err), s.db.Close())
	}
	if err := s.identify(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

var versionNumber = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)`)

func (s *Server) identify(ctx context.Context) error {
	var comment string
	if err := s.conn.QueryRowContext(ctx, "SELECT @@version, @@version_comment, CONNECTION_ID()").Scan(&s.Version, &comment, &s.id); err != nil {
		return fmt.Errorf("mysql: %w", err)
	}
	s.MariaDB = strings.Contains(s.Version+comment, "MariaDB")
	m := versionNumber.FindStringSubmatch(s.Version)
	if m == nil {
		return fmt.Errorf("mysql: the server calls itself %q, which is no version", s.Version)
	}
	for i := range s.number {
		s.number[i], _ = strconv.Atoi(m[i+1]) // digits; a huge number is a new one
	}
	return nil
}

// Vendor is "MariaDB" or "MySQL".
func (s *Server) Vendor() string {
	if s.MariaDB {
		return "MariaDB"
	}
	return "MySQL"
}

// Series is the version without what differs between releases that understand each other's files: 10.11.
func (s *Server) Series() string { return fmt.Sprintf("%d.%d", s.number[0], s.number[1]) }

// since reports whether the version is at least this one.
func (s *Server) since(major, minor, patch int) bool {
	for i, v := range []int{major, minor, patch} {
		if s.number[i] != v {
			return s.number[i] > v
		}
	}
	return true
}

// Close ends the connection, and with it its locks.
func (s *Server) Close() error {
	err := s.conn.Close()
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrInvalidConn) {
		err = nil // it has ended
	}
	return errors.Join(err, s.db.Close())
}

// exec runs a statement.
func (s *Server) exec(ctx context.Context, statement string) error {
	if _, err := s.conn.ExecContext(ctx, statement); err != nil {
		return s.failed(statement, err)
	}
	return nil
}

// failed is the error of a statement. If the connection has ended it says which it was: the driver's words for that help nobody who looks for
// the reason at the server.
func (s *Server) failed(statement string, err error) error {
	if hasEnded(err) {
		return fmt.Errorf("mysql: %s: connection %d has ended: %w", statement, s.id, err)
	}
	return fmt.Errorf("mysql: %s: %w", statement, err)
}

// hasEnded reports whether a connection is no more, by the error of a statement: what the driver says, or the last that servers say to a
// client, which are stopped, or have waited for it for too long, or were told to kill its connection.
func hasEnded(err error) bool {
	switch number(err) {
	case 1053, 1158, 1159, 1160, 1161, 1927, 3169, 4031:
		return true
	}
	return errors.Is(err, sqldriver.ErrBadConn) || errors.Is(err, driver.ErrInvalidConn) || errors.Is(err, sql.ErrConnDone)
}

// row is a row of a result whose columns differ between versions, by their names in small letters.
type row map[string]string

// query returns all rows of a result.
func (s *Server) query(ctx context.Context, query string, args ...any) ([]row, error) {
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.failed(query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out []row
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("mysql: %s: %w", query, err)
		}
		r := row{}
		for i, name := range columns {
			r[strings.ToLower(name)] = values[i].String
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, s.failed(query, err)
	}
	return out, nil
}

// variable returns a variable of the server, or "" if it has none of that name.
func (s *Server) variable(ctx context.Context, name string) (string, error) {
	rows, err := s.query(ctx, "SHOW GLOBAL VARIABLES LIKE '"+name+"'")
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0]["value"], nil
}

// number is the code of an error that the server has sent, or 0.
func number(err error) uint16 {
	if e := (*driver.MySQLError)(nil); errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// quote writes a name as SQL does.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// in writes (?, ?, …) for names, and the arguments.
func in(names []string) (string, []any) {
	args := make([]any, len(names))
	for i, n := range names {
		args[i] = n
	}
	return "(" + strings.TrimSuffix(strings.Repeat("?, ", len(names)), ", ") + ")", args
}
