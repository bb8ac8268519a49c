package testserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/kura-backup/kura/internal/testrand"
)

// Bank is a server with accounts between which two clients move money, each move noted in a second table, so that neither the
// sum nor the notes may ever be out of step.
type Bank struct {
	*MariaDB
	stop context.CancelFunc
	done sync.WaitGroup
}

// NewBank starts a server for one test, with further options, and the clients, which go on until Rest is called or the test ends.
func NewBank(t testing.TB, options ...string) *Bank {
	t.Helper()
	b := &Bank{MariaDB: NewMariaDB(t, options...)}
	b.SQL(t, `CREATE DATABASE bank; USE bank;
		CREATE TABLE accounts (id INT PRIMARY KEY, money INT NOT NULL, note VARCHAR(300));
		CREATE TABLE moves (id BIGINT PRIMARY KEY AUTO_INCREMENT, a INT, b INT, amount INT, what BLOB);
		INSERT INTO accounts SELECT seq, 1000, REPEAT(CHAR(65 + seq % 26), seq % 300) FROM seq_1_to_5000;`)
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	t.Cleanup(b.Rest)
	for i := range 2 {
		r := testrand.New(t)
		b.done.Go(func() {
			if err := b.client(ctx, r); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	for b.Moves(t) < 20 {
		if t.Failed() { // there may be no client any more
			t.FailNow()
		}
		time.Sleep(pollEvery)
	}
	return b
}

// Rest lets the clients end what they do.
func (b *Bank) Rest() {
	b.stop()
	b.done.Wait()
}

// Moves is how many there are by now.
func (b *Bank) Moves(t testing.TB) int {
	t.Helper()
	return b.Number(t, "SELECT COUNT(*) FROM bank.moves")
}

// client moves money until ctx ends, and then ends what it does.
func (b *Bank) client(ctx context.Context, r *rand.Rand) error {
	db, err := sql.Open("mysql", "root@unix("+b.Socket+")/")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	for ctx.Err() == nil {
		err := move(conn, r)
		const lockTimeout, deadlock = 1205, 1213
		if e, ok := errors.AsType[*mysql.MySQLError](err); err != nil && (!ok || e.Number != lockTimeout && e.Number != deadlock) {
			return err
		}
	}
	return nil
}

func move(conn *sql.Conn, r *rand.Rand) error {
	from, to, amount := 1+r.IntN(5000), 1+r.IntN(5000), r.IntN(100)
	statements := []string{
		"START TRANSACTION",
		fmt.Sprintf("UPDATE bank.accounts SET money = money - %d WHERE id = %d", amount, from),
		fmt.Sprintf("UPDATE bank.accounts SET money = money + %d WHERE id = %d", amount, to),
		fmt.Sprintf("INSERT INTO bank.moves (a, b, amount, what) VALUES (%d, %d, %d, REPEAT('\\0\\'x', %d))", from, to, amount, r.IntN(200)),
		"COMMIT",
	}
	for _, q := range statements {
		if _, err := conn.ExecContext(context.Background(), q); err != nil {
			_, rerr := conn.ExecContext(context.Background(), "ROLLBACK")
			return errors.Join(fmt.Errorf("%s: %w", q, err), rerr)
		}
	}
	return nil
}

// Replay makes a server as this one was at a place in its log, from the beginning.
func (b *Bank) Replay(t testing.TB, file string, position uint64) *MariaDB {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(b.Data, "binlog.[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(logs)
	last := slices.IndexFunc(logs, func(l string) bool { return filepath.Base(l) == file })
	if last < 0 {
		t.Fatalf("there is no %s: %q", file, logs)
	}
	b.SQL(t, "FLUSH BINARY LOGS") // so that what is read is complete
	args := append([]string{"--no-defaults", fmt.Sprintf("--stop-position=%d", position)}, logs[:last+1]...)
	sql, err := exec.Command("mariadb-binlog", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	to := NewMariaDB(t)
	to.SQL(t, string(sql))
	return to
}

// CheckBank fails the test if money was lost or made, or if an account is missing.
func CheckBank(t testing.TB, s *MariaDB) {
	t.Helper()
	if got := s.SQL(t, "SELECT SUM(money), COUNT(*) FROM bank.accounts"); got != "5000000\t5000" {
		t.Errorf("sum and number of accounts: %s", got)
	}
}

// BankSums are by what two servers are compared.
func BankSums(t testing.TB, s *MariaDB) string {
	t.Helper()
	return s.SQL(t, "CHECKSUM TABLE bank.accounts, bank.moves; SELECT COUNT(*) FROM bank.accounts; SELECT COUNT(*) FROM bank.moves")
}
