package dump

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func rename(t *testing.T, text, from, to string, size int) (string, *Renamer) {
	t.Helper()
	var out bytes.Buffer
	r := NewRenamer(&out, from, to)
	for p := []byte(text); len(p) > 0; {
		n := min(size, len(p))
		if _, err := r.Write(bytes.Clone(p[:n])); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String(), r
}

func TestRenamer_Database_RenamedWhereItIsMeant(t *testing.T) {
	text := "--\n-- Current Database: `a`\n--\n\nCREATE DATABASE /*!32312 IF NOT EXISTS*/ `a` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;\n\nUSE `a`;\n" +
		"CREATE TABLE `a` (\n  `a` int DEFAULT nextval(`a`.`s`) COMMENT '`a`.`s`',\n  `b``` int,\n  CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `aa`.`t` (`a`)\n);\n" +
		"INSERT INTO `a` VALUES (1,'USE `a`;'),\n(2,'`a`.`s`');\nALTER DATABASE `a` CHARACTER SET latin1 ;\n"
	want := "--\n-- Current Database: `b``c`\n--\n\nCREATE DATABASE /*!32312 IF NOT EXISTS*/ `b``c` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;\n\nUSE `b``c`;\n" +
		"CREATE TABLE `a` (\n  `a` int DEFAULT nextval(`b``c`.`s`) COMMENT '`a`.`s`',\n  `b``` int,\n  CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `aa`.`t` (`a`)\n);\n" +
		"INSERT INTO `a` VALUES (1,'USE `a`;'),\n(2,'`a`.`s`');\nALTER DATABASE `b``c` CHARACTER SET latin1 ;\n"
	for _, size := range []int{1, 2, 5, 1000} {
		got, r := rename(t, text, "a", "b`c", size)
		if got != want || r.Mentions() {
			t.Errorf("in pieces of %d, mentions %v:\n%s", size, r.Mentions(), got)
		}
	}
}

func TestRenamer_BodiesThatNameTheDatabase_StayAndAreToldOf(t *testing.T) {
	for _, body := range []string{"SELECT * FROM `shop`.`orders`", "SELECT * FROM shop.orders"} {
		text := "DELIMITER ;;\nCREATE PROCEDURE p() " + body + ";;\nDELIMITER ;\n"
		got, r := rename(t, text, "shop", "shop2", 3)
		if got != text || !r.Mentions() {
			t.Errorf("%s: mentions %v: %s", body, r.Mentions(), got)
		}
	}
	if _, r := rename(t, "/*!50001 VIEW `v` AS select `orders`.`id` from `orders` */;\n", "shop", "b", 9); r.Mentions() {
		t.Error("mentions what is not there")
	}
}

// A trigger says in its author's words which table it is for: of the renamed database, or it would be made in the old one.
func TestRenamer_Triggers_BelongToTheNewDatabase(t *testing.T) {
	const begin = "/*!50003 CREATE*/ /*!50017 DEFINER=`shop`@`localhost`*/ /*!50003 "
	for from, want := range map[string]string{
		"trigger shop.t2 before insert on shop.orders for each row set new.t='shop.x'":         "trigger `n`.t2 before insert on `n`.orders for each row set new.t='shop.x'",
		"TRIGGER `shop` . `t``.2` AFTER DELETE ON /* shop.x */ `shop`.orders FOR EACH ROW f()": "TRIGGER `n` . `t``.2` AFTER DELETE ON /* shop.x */ `n`.orders FOR EACH ROW f()",
		"trigger SHOP/**/.t5 -- shop.hi\n after delete on orders FOR\nEACH ROW set @a=1":       "trigger `n`/**/.t5 -- shop.hi\n after delete on orders FOR\nEACH ROW set @a=1",
		"trigger `for each row`.`on` before insert on `a.b` for each row set @a=1":             "trigger `n`.`on` before insert on `a.b` for each row set @a=1",
		"trigger t /*!50000 before*/ update on /*!shop.*/ orders for each row set @a=1":        "trigger t /*!50000 before*/ update on /*!`n`.*/ orders for each row set @a=1",
		"trigger tr after insert on orders for each row insert into log values (new.id)":       "trigger tr after insert on orders for each row insert into log values (new.id)",
	} {
		for _, size := range []int{2, 1000} {
			got, r := rename(t, "DELIMITER ;;\n"+begin+from+" */;;\nDELIMITER ;\n", "shop", "n", size)
			if got != "DELIMITER ;;\n"+begin+want+" */;;\nDELIMITER ;\n" || r.Mentions() != strings.Contains(from, "='shop") {
				t.Errorf("in pieces of %d, mentions %v:\n%s\nwant\n%s", size, r.Mentions(), got, want)
			}
		}
	}
	ansi := "/*!50003 SET sql_mode              = 'ANSI_QUOTES' */ ;\nCREATE TRIGGER \"shop\".\"t 4\" BEFORE UPDATE ON \"shop\" . orders FOR EACH ROW SET @a=1;\n"
	if got, _ := rename(t, ansi, "shop", "n", 1000); !strings.Contains(got, "TRIGGER `n`.\"t 4\" BEFORE UPDATE ON `n` . orders FOR") {
		t.Error(got)
	}
	for _, text := range []string{"CREATE TRIGGER shop.t BEFORE INSERT ON shop.orders;\n", "CREATE TRIGGER shop.`t;\n`;\n", "CREATE EVENT `e` DO DELETE FROM shop.log;\n"} {
		r := NewRenamer(new(strings.Builder), "shop", "n")
		if _, err := r.Write([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRenamer_Events_AreSwitchedOff(t *testing.T) {
	for from, want := range map[string]string{
		"EVENT `ev` ON SCHEDULE EVERY 1 DAY STARTS '2026-11-21 18:26:19' ON COMPLETION NOT PRESERVE ENABLE DO delete from log where ENABLE": "EVENT `ev` ON SCHEDULE EVERY 1 DAY STARTS '2026-11-21 18:26:19' ON COMPLETION NOT PRESERVE DISABLE DO delete from log where ENABLE",
		"EVENT `PRESERVE` ON SCHEDULE AT '2040-01-02' ON COMPLETION PRESERVE ENABLE COMMENT 'it''s DO' DO x()":                              "EVENT `PRESERVE` ON SCHEDULE AT '2040-01-02' ON COMPLETION PRESERVE DISABLE COMMENT 'it''s DO' DO x()",
		"EVENT `ev` ON SCHEDULE EVERY '1:2' DAY_HOUR ON COMPLETION NOT PRESERVE DISABLE ON SLAVE DO begin delete from log; end":             "EVENT `ev` ON SCHEDULE EVERY '1:2' DAY_HOUR ON COMPLETION NOT PRESERVE DISABLE ON SLAVE DO begin delete from log; end",
	} {
		const begin, end = "DELIMITER ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=`root`@`localhost`*/ /*!50106 ", "\n*/ ;;\nDELIMITER ;\n"
		got, r := rename(t, begin+from+end, "shop", "n", 7)
		if got != begin+want+end || r.Disabled() != (from != want) || r.Mentions() {
			t.Errorf("switched off: %v, mentions: %v: %s", r.Disabled(), r.Mentions(), got)
		}
	}
}

func TestRenamer_PartThatEndsInAStatement_Truncated(t *testing.T) {
	for _, text := range []string{"USE `a`", "INSERT INTO `t` VALUES (1),(2", "INSERT INTO `t` VALUES (1)"} {
		r := NewRenamer(new(strings.Builder), "a", "b")
		_, err := r.Write([]byte(text))
		if err = errors.Join(err, r.Flush()); !errors.Is(err, ErrTruncated) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
