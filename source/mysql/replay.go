package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"time"

	"github.com/kura-backup/kura/source/mysql/binlog"
)

var (
	// ErrOrder is logs whose times do not say where a moment is.
	ErrOrder = errors.New("mysql: the times in the logs are not in their order")
	// ErrTarget is a server on which logs would not do what they did.
	ErrTarget = errors.New("mysql: the server would do more than the logs say")
	// ErrAccount is logs that change an account which the server has not, or make one that it has.
	ErrAccount = errors.New("mysql: the logs are about an account that is not as it was then")
)

// Until says up to where logs are replayed: to the first transaction of a time or later, without it, or to a transaction, with it.
type Until struct {
	Time time.Time
	GTID *binlog.GTID
}

// ParseGTID reads a GTID as MariaDB writes it: domain-server-number.
func ParseGTID(text string) (*binlog.GTID, error) {
	g, err := binlog.ParseGTID(text)
	return &g, err
}

func (u Until) String() string {
	if u.GTID != nil {
		return "GTID " + u.GTID.String()
	}
	return u.Time.Format(time.RFC3339)
}

// Replay is a stretch of an archive's logs that begins where a backup was and ends with a transaction.
type Replay struct {
	From, To     Coordinates // To.GTID is the last transaction
	Transactions int
	Last         time.Time // of the last of them

	pieces  []piece
	open    Opener
	stopped bool // at a transaction that the archive has, too
}

// piece is of a log its head, which describes its format, and what is to be replayed of it.
type piece struct {
	name           string
	head, from, to int64
}

// Ready says by an error wrapping ErrTarget if logs would do more on a server than they did: its events would do their work, which the
// logs have already, a second time, and so would its triggers.
func (r *Replay) Ready(ctx context.Context, s *Server) error {
	for name, harmless := range map[string][]string{"event_scheduler": {"", "OFF", "DISABLED"}, "slave_run_triggers_for_rbr": {"", "NO"}} {
		value, err := s.variable(ctx, name)
		if err != nil {
			return err
		}
		if !slices.Contains(harmless, value) {
			return fmt.Errorf("%w: %s is %s", ErrTarget, name, value)
		}
	}
	return nil
}

// Run replays the logs on a server, which has to be Ready.
func (r *Replay) Run(ctx context.Context, s *Server) error {
	if r.Transactions == 0 {
		return nil
	}
	if err := r.Ready(ctx, s); err != nil {
		return err
	}
	t, err := findTool(ctx, true, "mariadb-binlog", "mysqlbinlog")
	if err != nil {
		return err
	}
	// One client for all of them: a temporary table may be made in one log and used in the next.
	err = s.Client(ctx, func(w io.Writer) error {
		for _, p := range r.pieces {
			if err := r.translate(ctx, t, p, w); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		return nil
	})
	if err != nil && ofAccount.MatchString(err.Error()) {
		return fmt.Errorf("%w: %w", ErrAccount, err)
	}
	return err
}

// ofAccount is what the client says when ALTER USER, SET PASSWORD, GRANT, REVOKE, CREATE USER or DROP USER fails for who there is.
var ofAccount = regexp.MustCompile(`\bERROR (1133|1141|1269|1396) `)

// translate makes SQL of a piece. The program reads it as it comes from the archive: nothing of it comes to lie on a disk.
func (r *Replay) translate(ctx context.Context, t *tool, p piece, w io.Writer) (err error) {
	f, err := r.open(p.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Servers may let numbers of transactions go down; what is replayed is decided already.
	cmd, release, err := t.command(ctx, &Config{}, "--loose-skip-gtid-strict-mode", "-")
	if err != nil {
		return err
	}
	defer release()
	in := &part{r: f, piece: p}
	cmd.Stdin, cmd.Stdout = in, w
	err = cmd.Run()
	switch exit := (*exec.ExitError)(nil); {
	case in.err != nil:
		return in.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return fmt.Errorf("reading the log: %w", failure(cmd, err))
	}
	return err
}

// part reads a piece of a log.
type part struct {
	r io.Reader
	piece
	at  int64
	err error // of the reader; a log that is too short is one
}

func (p *part) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.at == p.head && p.at < p.from {
		n, err := io.CopyN(io.Discard, p.r, p.from-p.at)
		if p.at += n; err != nil {
			return 0, p.fail(err)
		}
	}
	end := p.to
	if p.at < p.head {
		end = p.head
	}
	if p.at == end {
		return 0, io.EOF
	}
	n, err := p.r.Read(b[:min(int64(len(b)), end-p.at)])
	if p.at += int64(n); err != nil && p.at < p.to {
		return n, p.fail(err)
	}
	return n, nil
}

func (p *part) fail(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	p.err = err
	return err
}
