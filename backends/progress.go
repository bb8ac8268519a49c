package backends

import "context"

// Progress is told how a request comes along, so that whoever started it can tell a slow one from one that
// stands still. A Store that moves its bytes over a network tells it; its calls are cheap and may be
// concurrent.
type Progress interface {
	// Waiting is called when the request waits for its turn in the client itself, as for a free connection.
	Waiting()

	// Moved is called when a request begins, with 0, and for all bytes that are read or written after that.
	Moved(n int)
}

type progressKey struct{}

// WithProgress returns a context whose requests are told to p.
func WithProgress(ctx context.Context, p Progress) context.Context {
	return context.WithValue(ctx, progressKey{}, p)
}

// ProgressOf returns who wants to know of the requests of ctx. It is never nil.
func ProgressOf(ctx context.Context) Progress {
	if p, ok := ctx.Value(progressKey{}).(Progress); ok {
		return p
	}
	return nobody{}
}

type nobody struct{}

func (nobody) Waiting()  {}
func (nobody) Moved(int) {}
