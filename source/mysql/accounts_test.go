package mysql

import (
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// Who has another password by now keeps it, with all that says how he may connect, and gets what he could do in addition.
func TestLoadUsers_AccountsThatAreThere_KeepTheirPasswords(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE USER x@localhost IDENTIFIED BY 'old'; GRANT SELECT ON shop.* TO x@localhost WITH GRANT OPTION; GRANT USAGE ON *.* TO x@localhost REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 7;"+
		"CREATE USER y@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD('old') OR unix_socket; GRANT INSERT ON *.* TO y@localhost WITH GRANT OPTION;"+
		"CREATE USER 'z`\n IDENTIFIED'@localhost IDENTIFIED BY 'old'; GRANT SELECT (id) ON shop.orders TO 'z`\n IDENTIFIED'@localhost")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, out)
	s.SQL(t, "ALTER USER x@localhost IDENTIFIED BY 'new' REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 0; ALTER USER y@localhost IDENTIFIED BY 'new'; ALTER USER 'z`\n IDENTIFIED'@localhost IDENTIFIED BY 'new';"+
		"REVOKE ALL ON shop.* FROM x@localhost; REVOKE INSERT, GRANT OPTION ON *.* FROM y@localhost; REVOKE SELECT (id) ON shop.orders FROM 'z`\n IDENTIFIED'@localhost")
	if err := loadUsers(t, out, configOf(s)); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"x", "y", "z`\n IDENTIFIED"} {
		open(t, Config{Socket: s.Socket, User: user, Password: "new"})
	}
	x, y := s.SQL(t, "SHOW GRANTS FOR x@localhost"), s.SQL(t, "SHOW GRANTS FOR y@localhost")
	if !strings.Contains(x, "GRANT SELECT ON `shop`.* TO `x`@`localhost` WITH GRANT OPTION") || strings.Contains(x, "SSL") || strings.Contains(x, "MAX_") {
		t.Error(x)
	}
	if !strings.Contains(y, "GRANT INSERT ON *.* TO `y`@`localhost`") || !strings.Contains(y, "WITH GRANT OPTION") || strings.Contains(y, "unix_socket") {
		t.Error(y)
	}
	if z := s.SQL(t, "SHOW GRANTS FOR 'z`\n IDENTIFIED'@localhost"); !strings.Contains(z, "SELECT (`id`)") {
		t.Error(z)
	}

	// And those that are not there get all of it.
	s.SQL(t, "DROP USER x@localhost, y@localhost")
	if err := loadUsers(t, out, configOf(s)); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Socket: s.Socket, User: "y", Password: "old"})
	x = s.SQL(t, "SHOW GRANTS FOR x@localhost")
	if !strings.Contains(x, "REQUIRE SSL") || !strings.Contains(x, "MAX_QUERIES_PER_HOUR 7") || !strings.Contains(x, "GRANT SELECT ON `shop`.*") {
		t.Error(x)
	}
}
