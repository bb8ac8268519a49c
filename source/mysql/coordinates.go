package mysql

import (
	"context"
	"regexp"
	"strconv"
	"strings"
)

// Coordinates are a place in a server's binary log.
type Coordinates struct {
	File     string `json:"file,omitempty"`
	Position uint64 `json:"position,omitempty"`
	GTID     string `json:"gtid,omitempty"`
}

// Replica is how far a server has followed another.
type Replica struct {
	Name   string      `json:"name,omitempty"` // of the connection
	Source string      `json:"source"`         // host:port of the other
	At     Coordinates `json:"at"`             // in the other's log
	// Exact says that it was the same before and after.
	Exact bool `json:"exact"`
}

var (
	logFile  = regexp.MustCompile(`(?:MASTER|SOURCE)_LOG_FILE='([^']*)'`)
	logPos   = regexp.MustCompile(`(?:MASTER|SOURCE)_LOG_POS=(\d+)`)
	logGTID  = regexp.MustCompile(`gtid_slave_pos='([^']*)'`)
	logGTIDs = regexp.MustCompile(`(?s)GTID_PURGED=[^']*(?:'\+'\*/ )?'\+?([\w:,\s-]*)'`)
)

// parseCoordinates reads what a dump says of them.
func parseCoordinates(texts []string) (c Coordinates) {
	text := strings.Join(texts, "\n")
	first := func(r *regexp.Regexp) string {
		if m := r.FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	}
	c.File = first(logFile)
	c.Position, _ = strconv.ParseUint(first(logPos), 10, 64) // digits, or nothing
	if c.GTID = first(logGTID); c.GTID == "" {
		c.GTID = strings.Join(strings.Fields(first(logGTIDs)), "")
	}
	return c
}

// coordinates returns where the server's own log is; zero where it keeps none.
func (s *Server) coordinates(ctx context.Context) (c Coordinates, err error) {
	show := "SHOW MASTER STATUS"
	if !s.MariaDB && s.since(8, 4, 0) {
		show = "SHOW BINARY LOG STATUS"
	}
	rows, err := s.query(ctx, show)
	if err != nil || len(rows) == 0 {
		return c, err
	}
	c.File, c.GTID = rows[0]["file"], rows[0]["executed_gtid_set"]
	if c.Position, err = strconv.ParseUint(rows[0]["position"], 10, 64); err != nil {
		return c, err
	}
	if s.MariaDB {
		c.GTID, err = s.variable(ctx, "gtid_binlog_pos")
	}
	c.GTID = strings.Join(strings.Fields(c.GTID), "")
	return c, err
}

// replicas returns what the server follows. Accounts that may not see it see nothing.
func (s *Server) replicas(ctx context.Context) ([]Replica, error) {
	show := "SHOW ALL SLAVES STATUS"
	if !s.MariaDB {
		show = "SHOW REPLICA STATUS"
	}
	rows, err := s.query(ctx, show)
	if n := number(err); n == 1227 || n == 1064 { // access denied, or an old server
		return nil, nil
	}
	var out []Replica
	for _, r := range rows {
		either := func(names ...string) string {
			for _, n := range names {
				if r[n] != "" {
					return r[n]
				}
			}
			return ""
		}
		at := Coordinates{File: either("relay_master_log_file", "relay_source_log_file"), GTID: either("gtid_slave_pos", "executed_gtid_set")}
		at.Position, _ = strconv.ParseUint(either("exec_master_log_pos", "exec_source_log_pos"), 10, 64)
		at.GTID = strings.Join(strings.Fields(at.GTID), "")
		out = append(out, Replica{
			Name: either("connection_name", "channel_name"), At: at,
			Source: either("master_host", "source_host") + ":" + either("master_port", "source_port"),
		})
	}
	return out, err
}

// unmoved marks those of before that are the same after.
func unmoved(before, after []Replica) []Replica {
	for i := range before {
		before[i].Exact = i < len(after) && before[i] == after[i]
	}
	return before
}
