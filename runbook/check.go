package runbook

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// checkAction tries something until it goes well.
type checkAction struct{ s *Step }

func newCheck(s *Step) action { return checkAction{s} }

const (
	oneTry  = 10 * time.Second // for a connection or an answer
	maxBody = 64 << 10
)

func (c checkAction) preflight(ctx context.Context, a *attempt, p *preflight) (errs []error) {
	if c.s.HTTP != "" {
		if u, err := url.Parse(c.s.HTTP); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("%q is no address such as http://localhost:8774/", c.s.HTTP))
		}
	}
	if c.s.TCP != "" {
		if _, port, err := net.SplitHostPort(c.s.TCP); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("%q is no address such as localhost:5672", c.s.TCP))
		}
	}
	return append(errs, p.program(ctx, a, c.s.Command)...)
}

func (c checkAction) prepare(context.Context, *attempt) (note, error) { return note{}, nil }

func (c checkAction) run(ctx context.Context, a *attempt) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.s.Within, fmt.Errorf("%w (after %v)", ErrTimeout, c.s.Within))
	defer cancel()
	var last error // of a try that was not cut off
	for try := 1; ; try++ {
		err := c.try(ctx, a)
		if err == nil {
			return nil
		}
		a.log.say(fmt.Sprintf("try %d: %v", try, err))
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; what was tried: %w", context.Cause(ctx), last)
		case <-time.After(c.s.Every):
		}
	}
}

func (c checkAction) try(ctx context.Context, a *attempt) error {
	switch {
	case c.s.HTTP != "":
		return c.get(ctx)
	case c.s.TCP != "":
		conn, err := (&net.Dialer{Timeout: oneTry}).DialContext(ctx, "tcp", c.s.TCP)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return a.command(ctx, c.s.Command)
}

// get asks for a page. Where it leads to counts as little as what is in it: only the answer's status does.
func (c checkAction) get(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.s.HTTP, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // so that the server sees an orderly end
	if resp.StatusCode != c.s.Status && (c.s.Status != 0 || resp.StatusCode/100 != 2) {
		return fmt.Errorf("%s answers %s", c.s.HTTP, resp.Status)
	}
	return nil
}

func (c checkAction) commands(*World) []string {
	what := c.s.Command.String()
	switch {
	case c.s.HTTP != "":
		wanted := "2xx"
		if c.s.Status != 0 {
			wanted = fmt.Sprint(c.s.Status)
		}
		what = fmt.Sprintf("GET %s, until it answers %s", c.s.HTTP, wanted)
	case c.s.TCP != "":
		what = "connect to " + c.s.TCP
	}
	return []string{fmt.Sprintf("%s (tried every %v, for %v)", what, c.s.Every, c.s.Within)}
}
