package mysql

import (
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// indexed makes a backup of tables with indexes of several kinds.
func indexed(t *testing.T, s *testserver.MariaDB) *sourcetest.Writer {
	t.Helper()
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, `CREATE DATABASE shop; USE shop;
		CREATE TABLE orders (id INT PRIMARY KEY, who VARCHAR(100), town VARCHAR(100), KEY by_who (who(10), town), UNIQUE KEY by_town (town, id));
		CREATE TABLE log (id INT PRIMARY KEY, o INT, FOREIGN KEY from_orders (o) REFERENCES orders (id));
		INSERT INTO orders SELECT seq, CONCAT('who', seq), CONCAT('town', seq) FROM seq_1_to_200; INSERT INTO log SELECT seq, seq FROM seq_1_to_100`)
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), NoUsers: true}, out)
	return out
}

// Without an index, or with another one, counts and rows are right all the same, and a server is slow that was not, or takes twice what
// was to be there once.
func TestCompare_Indexes_AreOfTheStructure(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	out := indexed(t, s)
	for change, table := range map[string]string{
		"DROP INDEX by_who ON orders":                                                                     "orders",
		"CREATE INDEX more ON orders (town)":                                                              "orders",
		"ALTER TABLE orders RENAME INDEX by_who TO other":                                                 "orders",
		"ALTER TABLE orders DROP INDEX by_who, ADD INDEX by_who (who(11), town)":                          "orders",
		"ALTER TABLE orders DROP INDEX by_who, ADD INDEX by_who (town, who(10))":                          "orders",
		"ALTER TABLE orders DROP INDEX by_who, ADD INDEX by_who (who(10) DESC, town)":                     "orders",
		"ALTER TABLE orders DROP INDEX by_who, ADD UNIQUE INDEX by_who (who(10), town)":                   "orders",
		"ALTER TABLE orders DROP INDEX by_who, ADD FULLTEXT INDEX by_who (who, town)":                     "orders",
		"ALTER TABLE orders DROP INDEX by_town, ADD INDEX by_town (town, id)":                             "orders",
		"ALTER TABLE orders MODIFY who VARCHAR(100) COLLATE utf8mb4_bin":                                  "orders",
		"ALTER TABLE orders DROP PRIMARY KEY, ADD PRIMARY KEY (id, town), ADD INDEX for_the_foreign (id)": "orders",
		"ALTER TABLE log DROP FOREIGN KEY from_orders":                                                    "log",
	} {
		wipe(t, s)
		p := load(t, out, configOf(s), Selection{})
		if err := p.Compare(t.Context(), configOf(s)); err != nil {
			t.Fatalf("before %s: %v", change, err)
		}
		s.SQL(t, "USE shop; "+change)
		if err := p.Count(t.Context(), open(t, configOf(s))); err != nil {
			t.Errorf("%s: %v", change, err)
		}
		err := p.Compare(t.Context(), configOf(s))
		if !errors.Is(err, ErrDiffers) || !strings.HasSuffix(err.Error(), ": shop."+table+": another structure") {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// What a server has estimated of an index is not: another one estimates otherwise.
func TestCompare_IndexStatistics_AreNotOfTheStructure(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	out := indexed(t, s)
	wipe(t, s)
	p := load(t, out, configOf(s), Selection{})
	s.SQL(t, "SET GLOBAL innodb_stats_auto_recalc = OFF")
	t.Cleanup(func() { s.SQL(t, "SET GLOBAL innodb_stats_auto_recalc = ON") })
	estimate := "SELECT stat_value FROM mysql.innodb_index_stats WHERE database_name = 'shop' AND table_name = 'orders' AND index_name = 'PRIMARY' AND stat_name = 'n_diff_pfx01'"
	for n, tries := 0, 0; n < 1000; tries++ { // what was put down to be estimated before may still be
		if tries == 10 {
			t.Fatalf("the server still estimates what is true, %d", n)
		}
		s.SQL(t, "USE shop; INSERT INTO orders SELECT seq, 'who', 'town' FROM seq_1000_to_9000; ANALYZE TABLE orders; DELETE FROM orders WHERE id >= 1000")
		n = s.Number(t, estimate)
	}
	if err := p.Compare(t.Context(), configOf(s)); err != nil {
		t.Error(err)
	}
}
