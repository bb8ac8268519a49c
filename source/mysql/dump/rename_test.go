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

func TestRenamer_PartThatEndsInAStatement_Truncated(t *testing.T) {
	for _, text := range []string{"USE `a`", "INSERT INTO `t` VALUES (1),(2", "INSERT INTO `t` VALUES (1)"} {
		r := NewRenamer(new(strings.Builder), "a", "b")
		_, err := r.Write([]byte(text))
		if err = errors.Join(err, r.Flush()); !errors.Is(err, ErrTruncated) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
