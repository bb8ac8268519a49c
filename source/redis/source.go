package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/redis/rdb"
)

// Via says how the data is taken.
type Via string

// Ways of taking the data.
const (
	BGSave  Via = "bgsave"  // the server saves a file, which is read
	Replica Via = "replica" // the server sends it as to a replica
	RDB     Via = "rdb"     // a file that is there is read
	AOF     Via = "aof"     // the files of an append-only folder are read
)

// Names in a snapshot.
const (
	Kind     = "redis"
	root     = "/redis"
	dumpFile = "dump.rdb"
	// The folder of append-only files.
	aofFolder = "appendonlydir"
	// Beside a file in the form Exact.
	orderSuffix = ".order"
	apartSuffix = ".apart"
)

// DefaultWait is how long a server may take to save.
const DefaultWait = 2 * time.Hour

// Options say what is backed up, and how.
type Options struct {
	Server *Server // nil: no server is asked, RDB or AOF is read
	Via    Via     // empty: the first one that fits
	RDB    string  // with BGSave: where the file is that the server saves; with RDB the file
	AOF    string  // append-only folder
	Name   string  // in the snapshot; empty: the server's
	Exact  bool    // keep what the canonical form leaves out
	Wait   time.Duration
	// AllowStale takes a replica's data though it has no link to its master.
	AllowStale bool
	Temp       string // folder for what a server sends; empty: the system's
	Memory     int    // for sorting; 0: rdb.DefaultMemory
}

// Mistakes in Options.
var (
	ErrNoSource = errors.New("redis: neither a server nor a file is named")
	ErrVia      = errors.New("redis: these options do not go together")
)

// Source is a server, or what it has left. It implements source.Source.
type Source struct {
	o       Options
	details Details
}

var _ source.Source = (*Source)(nil)

// New returns a Source.
func New(o Options) (*Source, error) {
	if o.Via == "" {
		o.Via = o.choose()
	}
	switch {
	case o.Server == nil && o.RDB == "" && o.AOF == "":
		return nil, ErrNoSource
	case o.AOF != "" && (o.RDB != "" || o.Via != AOF), o.Via == AOF && o.AOF == "", o.Via == RDB && (o.RDB == "" || o.Server != nil),
		(o.Via == BGSave || o.Via == Replica) && o.Server == nil, o.Via == Replica && o.RDB != "":
		return nil, ErrVia
	}
	for _, p := range []*string{&o.RDB, &o.AOF} {
		if *p == "" {
			continue
		}
		var err error
		if *p, err = filepath.Abs(*p); err != nil {
			return nil, err
		}
	}
	if o.Name == "" {
		o.Name = "local"
		if o.Server != nil {
			o.Name = o.Server.Name()
		}
	}
	if o.Wait <= 0 {
		o.Wait = DefaultWait
	}
	if o.Temp == "" {
		o.Temp = os.TempDir()
	}
	if o.Memory == 0 {
		o.Memory = rdb.DefaultMemory
	}
	s := &Source{o: o, details: Details{Format: detailsFormat, Name: o.Name, Via: o.Via}}
	if !isName(o.Name) {
		return nil, fmt.Errorf("%w: %q is not a name of a folder", ErrVia, o.Name)
	}
	return s, source.CheckPath(s.folder())
}

// choose returns the way that fits what was given.
func (o *Options) choose() Via {
	switch {
	case o.AOF != "":
		return AOF
	case o.Server == nil:
		return RDB
	case o.RDB != "" || o.Server.Local():
		return BGSave
	}
	return Replica
}

// Kind is of source.Source.
func (s *Source) Kind() string { return Kind }

// Paths is of source.Source.
func (s *Source) Paths() []string { return []string{s.folder()} }

func (s *Source) folder() string { return s.details.Folder() }

// Details is what is known, after Write, of what was saved.
func (s *Source) Details() *Details { return &s.details }

// Write is of source.Source.
func (s *Source) Write(ctx context.Context, out source.Writer) error {
	if err := out.Add(s.folder(), source.FolderNode(0o700)); err != nil {
		return err
	}
	if err := s.take(ctx, out); err != nil {
		return err
	}
	return out.Describe(map[string]any{Kind: &s.details})
}

func (s *Source) take(ctx context.Context, out source.Writer) error {
	var c *conn
	if s.o.Server != nil {
		var err error
		if c, err = dial(ctx, s.o.Server); err != nil {
			return err
		}
		defer c.close()
		if err := s.ask(ctx, c); err != nil {
			return err
		}
	}
	switch s.o.Via {
	case AOF:
		return s.readAOF(ctx, out)
	case Replica:
		return s.receive(ctx, c, out)
	case BGSave:
		return s.save(ctx, c, out)
	}
	return s.readRDB(ctx, s.o.RDB, out)
}

// ask notes what the server says of itself.
func (s *Source) ask(ctx context.Context, c *conn) error {
	info, err := c.info(ctx, "server")
	if err != nil {
		return err
	}
	s.details.Server = "redis " + info["redis_version"]
	if v := info["valkey_version"]; v != "" {
		s.details.Server = "valkey " + v
	}
	s.details.Cluster = info["redis_mode"] == "cluster"
	if info, err = c.info(ctx, "persistence"); err != nil {
		return err
	}
	if info["loading"] == "1" {
		return fmt.Errorf("%w: it is still loading its data", ErrNotReady)
	}
	s.details.AppendOnly = info["aof_enabled"] == "1"
	return s.askOffset(ctx, c)
}
