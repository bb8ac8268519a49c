package mysql

import (
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
)

// A table whose checksum is known can be altered while others are read, and one that somebody alters is waited for no longer than a while.
func TestView_ChecksumOfATable_KeepsNobodyWaiting(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE TABLE shop.first (id INT PRIMARY KEY); INSERT INTO shop.first VALUES (1); CREATE TABLE shop.second LIKE shop.first")
	v, err := openView(t.Context(), configOf(s))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	s.SQL(t, "INSERT INTO shop.second VALUES (1)") // which the view does not see
	empty, err := v.checksum(t.Context(), "shop", "second")
	if err != nil || empty != "0" {
		t.Errorf("%q, %v", empty, err)
	}
	if first, err := v.checksum(t.Context(), "shop", "first"); err != nil || first == "" || first == empty {
		t.Errorf("%q, %v", first, err)
	}
	other := open(t, configOf(s))
	for _, q := range []string{"SET SESSION lock_wait_timeout = 20", "ALTER TABLE shop.first ADD COLUMN x INT, ALGORITHM=COPY", "TRUNCATE TABLE shop.second"} {
		if err := other.exec(t.Context(), q); err != nil {
			t.Errorf("%v", err)
		}
	}
	if sum, err := v.checksum(t.Context(), "shop", "first"); err != nil || sum != "" {
		t.Errorf("of what the view does not see any more: %q, %v", sum, err)
	}

	few := configOf(s)
	few.User = "few"
	s.SQL(t, "CREATE USER few@localhost; GRANT SELECT, RELOAD, BINLOG MONITOR ON *.* TO few@localhost")
	if w, err := openView(t.Context(), few); err != nil || !w.keeps || v.keeps {
		t.Errorf("who may not keep out of the log: %+v, %v", w, err)
	} else if err := w.Close(); err != nil {
		t.Error(err)
	}

	if rows, err := v.query(t.Context(), "SELECT @@lock_wait_timeout AS seconds"); err != nil || rows[0]["seconds"] != "60" {
		t.Errorf("%v, %v", rows, err)
	}
	for _, err := range []error{v.exec(t.Context(), "SET SESSION lock_wait_timeout = 1"), other.exec(t.Context(), "LOCK TABLES shop.orders WRITE")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := v.checksum(t.Context(), "shop", "orders"); err != nil || sum != "" {
		t.Errorf("of what somebody else has locked: %q, %v", sum, err)
	}
	if err := other.exec(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	if sum, err := v.checksum(t.Context(), "shop", "orders"); err != nil || sum == "" {
		t.Errorf("afterwards: %q, %v", sum, err)
	}
}

// A view is idle for as long as the dump takes. Who bounds that for transactions that somebody has forgotten does not mean it.
func TestView_ServerEndsIdleTransactions_ViewStays(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "SET GLOBAL idle_transaction_timeout = 1; SET GLOBAL idle_readonly_transaction_timeout = 1")
	t.Cleanup(func() {
		s.SQL(t, "SET GLOBAL idle_transaction_timeout = 0; SET GLOBAL idle_readonly_transaction_timeout = 0")
	})
	v, err := openView(t.Context(), configOf(s))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	time.Sleep(2500 * time.Millisecond)
	if sum, err := v.checksum(t.Context(), "shop", "orders"); err != nil || sum == "" {
		t.Errorf("%q, %v", sum, err)
	}
}
