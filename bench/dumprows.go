package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math"
	"strconv"
)

// dumpRows is a table of orders in its generations. Whether a row is there, and what is in it, follows from the
// seed and its id alone, so that nothing has to be kept: ids have gaps, in which later rows appear at random places.
type dumpRows struct {
	seed uint64
	rows uint64 // in the first generation
}

// dumpSpread is how many ids there are for each row of the first generation: more than the table grows in the most
// generations that there can be.
const (
	dumpSpread         = 4
	maxDumpGenerations = 100
)

// dumpRowBytes is about what a row takes in the dump.
const dumpRowBytes = 223

// mix is a hash of three numbers (the finalizer of splitmix64, three times).
func mix(a, b, c uint64) uint64 {
	h := a
	for _, v := range [...]uint64{b, c, 0x9e3779b97f4a7c15} {
		h = (h ^ v) + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// dumpBounds are the shares of ids that are in the generations, of 1<<64.
var dumpBounds = func() (bounds [maxDumpGenerations]uint64) {
	for g := range bounds {
		bounds[g] = uint64(math.MaxUint64 / dumpSpread * math.Pow(1.01, float64(g)))
	}
	return bounds
}()

// exists says whether the row is there: in each generation there are 1 % more than in the one before.
func (d *dumpRows) exists(id uint64, generation int) bool {
	return mix(d.seed, id, 0) < dumpBounds[generation]
}

// updated says whether the row is one of the 1 % that change in the generation.
func (d *dumpRows) updated(id uint64, generation int) bool {
	return generation > 0 && mix(d.seed, id, uint64(generation))%100 == 0 && d.exists(id, generation-1)
}

// each calls f with the ids of all rows of the generation, in order.
func (d *dumpRows) each(ctx context.Context, generation int, f func(id uint64) error) error {
	for id := uint64(1); id <= d.rows*dumpSpread; id++ {
		if id%(1<<16) == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if d.exists(id, generation) {
			if err := f(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendRow appends the row as it is in the generation, as a dump has it.
func (d *dumpRows) appendRow(dst []byte, id uint64, generation int) []byte {
	changed := generation
	for changed > 0 && !d.updated(id, changed) {
		changed--
	}
	never, last := mix(d.seed, id, 1<<32), mix(d.seed, id, 1<<33+uint64(changed))
	word := func(n uint64) string { return words[mix(never, n, 1)%uint64(len(words))] }
	dst = strconv.AppendUint(append(dst, '('), id, 10)
	dst = append(append(append(append(append(dst, ",'"...), word(0)...), ' '), word(1)...), "','"...)
	dst = append(append(append(dst, word(0)...), '.'), word(1)...)
	dst = append(strconv.AppendUint(dst, never%10000, 10), "@example.org','"...)
	dst = append(append(dst, [...]string{"new", "paid", "sent", "returned"}[last%4]...), "',"...)
	dst = append(appendDigits(append(strconv.AppendUint(dst, last>>8%5000, 10), '.'), last>>32%100), ",'2026"...)
	for i, part := range [...]uint64{uint64(1 + changed%12), 1 + last>>16%28, last >> 24 % 24, last >> 32 % 60, last >> 40 % 60} {
		dst = appendDigits(append(dst, "-- ::"[i]), part)
	}
	var token [16]byte
	binary.BigEndian.PutUint64(token[:], mix(last, 1, 1))
	binary.BigEndian.PutUint64(token[8:], mix(last, 2, 2))
	dst = append(hex.AppendEncode(append(dst, "','"...), token[:]), "','"...)
	for n := range 8 + never>>8%20 {
		if n > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, word(2+n)...)
	}
	return append(dst, "')"...)
}

// appendDigits appends a number below 100 with two digits.
func appendDigits(dst []byte, n uint64) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// What mariadb-dump 10.19 of MariaDB 10.11 writes before and after the rows, without the date.
const (
	dumpHead = "/*M!999999\\- enable the sandbox mode */ \n" + `-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: shop
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Table structure for table ` + "`orders`" + `
--

DROP TABLE IF EXISTS ` + "`orders`" + `;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE ` + "`orders`" + ` (
  ` + "`id`" + ` bigint(20) unsigned NOT NULL,
  ` + "`customer`" + ` varchar(64) NOT NULL,
  ` + "`email`" + ` varchar(96) NOT NULL,
  ` + "`status`" + ` enum('new','paid','sent','returned') NOT NULL,
  ` + "`amount`" + ` decimal(12,2) NOT NULL,
  ` + "`updated`" + ` datetime NOT NULL,
  ` + "`token`" + ` char(32) NOT NULL,
  ` + "`note`" + ` text NOT NULL,
  PRIMARY KEY (` + "`id`" + `)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table ` + "`orders`" + `
--

LOCK TABLES ` + "`orders`" + ` WRITE;
/*!40000 ALTER TABLE ` + "`orders`" + ` DISABLE KEYS */;
`
	dumpInsert = "INSERT INTO `orders` VALUES\n"
	dumpTail   = "/*!40000 ALTER TABLE `orders` ENABLE KEYS */;\n" + `UNLOCK TABLES;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed
`
)

// dumpStatement is the most bytes of an INSERT, mariadb-dump's net-buffer-length.
const dumpStatement = 1024*1024 - 2048

// writeDump writes the generation as mariadb-dump does.
func (d *dumpRows) writeDump(ctx context.Context, to io.Writer, generation int) error {
	w := bufio.NewWriterSize(to, 1<<20)
	w.WriteString(dumpHead) // a failure is told by Flush
	err := d.statements(w, dumpInsert, func(f func(id uint64) error) error { return d.each(ctx, generation, f) }, generation)
	if err != nil {
		return err
	}
	w.WriteString(dumpTail)
	return w.Flush()
}

// writeChanges writes statements that make the generation of the one before.
func (d *dumpRows) writeChanges(ctx context.Context, to io.Writer, generation int) error {
	w := bufio.NewWriterSize(to, 1<<20)
	w.WriteString("START TRANSACTION;\n")
	err := d.statements(w, "REPLACE INTO `orders` VALUES\n", func(f func(id uint64) error) error {
		return d.each(ctx, generation, func(id uint64) error {
			if d.updated(id, generation) || !d.exists(id, generation-1) {
				return f(id)
			}
			return nil
		})
	}, generation)
	if err != nil {
		return err
	}
	w.WriteString("COMMIT;\n")
	return w.Flush()
}

// statements writes the rows, many in each statement.
func (d *dumpRows) statements(w *bufio.Writer, verb string, each func(func(id uint64) error) error, generation int) error {
	var row []byte
	length := 0 // of the statement that is begun
	err := each(func(id uint64) error {
		row = d.appendRow(row[:0], id, generation)
		size := 2 + len(row)
		switch {
		case length == 0:
			w.WriteString(verb)
			length = len(verb)
		case length+size >= dumpStatement:
			w.WriteString(";\n" + verb)
			length = len(verb)
		default:
			w.WriteString(",\n")
		}
		length += size
		_, err := w.Write(row)
		return err
	})
	if length > 0 {
		w.WriteString(";\n")
	}
	return err
}
