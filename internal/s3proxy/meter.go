package s3proxy

import (
	"slices"
	"strings"
	"time"
)

// Request is the record of one request.
type Request struct {
	Op         Op
	Method     string
	Path       string
	Query      string
	Start, End time.Time // as the client sees them, its own delays aside
	In, Out    int64     // bytes of the bodies
	Status     int       // 0: there was no answer
	Tampered   bool      // a rule fired
}

// Bulk says whether the request moves packs, which is what a client is there for: it sends them beside each other.
func (r Request) Bulk() bool {
	return (r.Op == Put || r.Op == Get) && (strings.Contains(r.Path, "/data/") || strings.Contains(r.Path, "/tree/"))
}

// NotBulk says whether the request is one that a client may have to wait for before it can go on.
func NotBulk(r Request) bool { return !r.Bulk() }

// Totals are sums over requests.
type Totals struct {
	Requests int
	ByOp     map[Op]int
	In, Out  int64 // bytes of the bodies
}

// Sum adds up the requests for which keep is true; nil keeps all.
func Sum(requests []Request, keep func(Request) bool) Totals {
	sum := Totals{ByOp: map[Op]int{}}
	for _, r := range requests {
		if keep == nil || keep(r) {
			sum.Requests++
			sum.ByOp[r.Op]++
			sum.In += r.In
			sum.Out += r.Out
		}
	}
	return sum
}

// Chain returns the length of the longest chain of requests for which keep is true (nil keeps all) in which each began
// after the one before it had ended: with a distant server, the round trips that lie behind one another.
func Chain(requests []Request, keep func(Request) bool) int {
	return len(Links(requests, keep))
}

// Links returns the requests of such a chain.
func Links(requests []Request, keep func(Request) bool) []Request {
	sorted := slices.SortedFunc(slices.Values(requests), func(a, b Request) int { return a.End.Compare(b.End) })
	var chain []Request
	for _, r := range sorted {
		if keep != nil && !keep(r) {
			continue
		}
		if len(chain) == 0 || !r.Start.Before(chain[len(chain)-1].End) {
			chain = append(chain, r)
		}
	}
	return chain
}
