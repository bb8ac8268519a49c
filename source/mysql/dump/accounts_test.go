package dump

import (
	"errors"
	"testing"
)

func TestAccounts_Grants_LoseWhatIsNoPrivilege(t *testing.T) {
	for from, want := range map[string]string{
		"GRANT USAGE ON *.* TO `x`@`%` IDENTIFIED BY PASSWORD '*AB';\n":                                               "GRANT USAGE ON *.* TO `x`@`%`;\n",
		"GRANT USAGE ON *.* TO `x`@`%` IDENTIFIED VIA a USING ' WITH GRANT OPTION' OR b REQUIRE SUBJECT 'it''s'  ;\n": "GRANT USAGE ON *.* TO `x`@`%`;\n",
		"GRANT SELECT ON *.* TO `x`@`%` REQUIRE SSL WITH GRANT OPTION MAX_QUERIES_PER_HOUR 10;":                       "GRANT SELECT ON *.* TO `x`@`%` WITH GRANT OPTION;",
		"GRANT USAGE ON *.* TO `x`@`%` WITH MAX_QUERIES_PER_HOUR 10;":                                                 "GRANT USAGE ON *.* TO `x`@`%`;",
		"/*M!100005 GRANT 'r' TO 'x'@'localhost' IDENTIFIED BY 'y' WITH ADMIN OPTION */;":                             "/*M!100005 GRANT 'r' TO 'x'@'localhost' WITH ADMIN OPTION */;",
		"/*M!100005 SET DEFAULT ROLE NONE FOR 'x'@'localhost' */;\n":                                                  "\n",
		"/*!80001 ALTER USER 'x'@'localhost' DEFAULT ROLE NONE */;\n":                                                 "\n",

		"GRANT SELECT (`to`) ON `IDENTIFIED`.`REQUIRE` TO `i`` IDENTIFIED by`@`localhost`;\n":    "",
		"/*M!100005 GRANT 'r' TO 'x'@'localhost' WITH ADMIN OPTION */;\n":                        "",
		"GRANT PROXY ON ``@`%` TO `root`@`::1` WITH GRANT OPTION;\n":                             "",
		"GRANT mariadb_dump_import_role TO CURRENT_USER();\n":                                    "",
		"CREATE USER IF NOT EXISTS `x`@`%` IDENTIFIED BY PASSWORD '*AB' REQUIRE SSL;\n":          "",
		"/*M!100005 SET DEFAULT ROLE 'NONE' FOR 'x'@'localhost' */;\nSET ROLE NONE;\n":           "",
		"-- GRANT USAGE ON *.* TO `x`@`%` IDENTIFIED BY 'y';\nDROP ROLE r;\n-- Dump completed\n": "",
	} {
		if want == "" {
			want = from
		}
		if got, err := Accounts([]byte(from)); err != nil || string(got) != want {
			t.Errorf("%s: %v, %s", from, err, got)
		}
	}
	if _, err := Accounts([]byte("GRANT USAGE ON *.* TO `x")); !errors.Is(err, ErrTruncated) {
		t.Errorf("cut off: %v", err)
	}
}
