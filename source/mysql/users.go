package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/dump"
)

// maxUsers bounds what is kept of accounts in memory.
const maxUsers = 256 << 20

// users writes +users.sql: accounts and what they may do. Loaded, it makes those that are missing, and leaves the passwords of
// others as they are; see dump.Accounts.
func (b *Logical) users(ctx context.Context, s *Server, t *tool, out source.Writer) error {
	var text []byte
	var err error
	if s.MariaDB && t.since(10, 5, 3) {
		text, err = b.usersByProgram(ctx, t)
	} else {
		text, err = s.users(ctx)
	}
	if err == nil {
		text, err = dump.Accounts(text)
	}
	if err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	return writeFile(out, b.details.Root+"/"+usersName, text)
}

func (b *Logical) usersByProgram(ctx context.Context, t *tool) ([]byte, error) {
	var text limited
	if err := b.pipe(ctx, t, &text, []string{"--system=users", "--insert-ignore", "--skip-dump-date", "--default-character-set=utf8mb4"}); err != nil {
		return nil, err
	}
	if !bytes.HasSuffix(bytes.TrimSpace(text.Bytes()), []byte("-- Dump completed")) {
		return nil, fmt.Errorf("%w: %s: its output ends in the middle", ErrFailed, t.path)
	}
	return text.Bytes(), nil
}

// LoadUsers makes accounts that are not there, and grants all accounts of a backup what they could do then.
func (s *Server) LoadUsers(ctx context.Context, open Opener) error {
	f, err := open(usersName)
	if err != nil {
		return err
	}
	var text limited
	_, err = io.Copy(struct{ io.Writer }{&text}, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	sql, err := dump.Accounts(text.Bytes()) // which it should be already; passwords stay, whatever has written the file
	if err != nil {
		return err
	}
	return s.Client(ctx, func(w io.Writer) error { return dump.Copy(w, bytes.NewReader(sql)) })
}

// limited is a buffer for what should not be large.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxUsers {
		return 0, fmt.Errorf("%w: more than %d bytes of accounts", ErrFailed, maxUsers)
	}
	return l.Buffer.Write(p)
}

// users asks a server whose dump program can not for its accounts.
func (s *Server) users(ctx context.Context) ([]byte, error) {
	rows, err := s.query(ctx, "SELECT User AS user, Host AS host FROM mysql.user ORDER BY User, Host")
	if err != nil {
		return nil, err
	}
	if !s.MariaDB {
		// Otherwise hashes of passwords come as bytes that no text can carry.
		if err := s.exec(ctx, "SET SESSION print_identified_with_as_hex = ON"); err != nil && number(err) != 1193 {
			return nil, err
		}
	}
	var made, granted strings.Builder
	for _, r := range rows {
		account := "'" + quoted(r["user"]) + "'@'" + quoted(r["host"]) + "'"
		create, err := s.column(ctx, "SHOW CREATE USER "+account)
		if err != nil {
			return nil, err
		}
		for _, c := range create {
			made.WriteString(strings.Replace(c, "CREATE USER ", "CREATE USER IF NOT EXISTS ", 1) + ";\n")
		}
		grants, err := s.column(ctx, "SHOW GRANTS FOR "+account)
		if err != nil {
			return nil, err
		}
		for _, g := range grants {
			granted.WriteString(g + ";\n")
		}
	}
	return []byte(made.String() + granted.String() + "-- Dump completed\n"), nil
}

// column returns the first column of a result.
func (s *Server) column(ctx context.Context, query string) (out []string, err error) {
	rows, err := s.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("mysql: %s: %w", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, rows.Err()
}

// quoted writes the inside of a string as SQL does.
func quoted(s string) string { return strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) }
