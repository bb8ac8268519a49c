package s3proxy

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/trigger"
)

// Op is what a request does to the store.
type Op string

// The operations that are told apart.
const (
	Put    Op = "put"
	Get    Op = "get"
	Head   Op = "head"
	List   Op = "list"
	Delete Op = "delete" // of one object
	Batch  Op = "batch"  // deletion of many
	Other  Op = "other"
)

// opOf sees from a request what it does. It expects the bucket in the path.
func opOf(r *http.Request) Op {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && query.Has("delete"):
		return Batch
	case key == "" && r.Method == http.MethodGet && (query.Has("list-type") || query.Has("prefix") || query.Has("versions")):
		return List
	case key == "" || slices.ContainsFunc([]string{"retention", "legal-hold", "acl", "tagging", "uploads", "uploadId"}, query.Has):
		return Other
	}
	switch r.Method {
	case http.MethodPut:
		return Put
	case http.MethodGet:
		return Get
	case http.MethodHead:
		return Head
	case http.MethodDelete:
		return Delete
	}
	return Other
}

// Rule says which requests are tampered with and how. It is a value: each method returns a changed copy, and one Rule can
// be added to several Proxies, each of which counts for itself.
type Rule struct {
	ops    []Op
	key    string
	when   trigger.When
	effect effect
	status int
	code   string
	bytes  int64
	delay  time.Duration
}

type effect uint8

const (
	nothing effect = iota
	answer
	answerAfter
	reset
	resetAfter
	cutRequest
	cutResponse
	short
	corruptRequest
	corruptResponse
	again
	late
	stall
	stallResponse
	claim
	ignoreCreateOnly
	refuseCreateOnly
	severalWinners
	hideNew
)

// On begins a rule for the given operations, or for all of them when none is given. It fires on the first request, once.
func On(ops ...Op) Rule { return Rule{ops: slices.Clone(ops), when: trigger.Once} }

// Key restricts the rule to requests whose path has part in it, such as "/log/".
func (r Rule) Key(part string) Rule { r.key = part; return r }

// Nth lets the first n-1 matching requests pass.
func (r Rule) Nth(n int) Rule { r.when.Nth = n; return r }

// Times makes the rule fire on k matching requests.
func (r Rule) Times(k int) Rule { r.when.Times = k; return r }

// Always makes the rule fire on all matching requests.
func (r Rule) Always() Rule { r.when.Times = -1; return r }

// Rate makes the rule fire on each matching request with probability p, drawn from seed.
func (r Rule) Rate(p float64, seed uint64) Rule {
	r.when.Rate, r.when.Seed, r.when.Times = p, seed, -1
	return r
}

// Answer answers with an error instead of passing the request on. An empty code is one that goes with the status.
func (r Rule) Answer(status int, code string) Rule {
	r.effect, r.status, r.code = answer, status, code
	return r
}

// AnswerAfter answers with an error after the request was done.
func (r Rule) AnswerAfter(status int, code string) Rule {
	r.effect, r.status, r.code = answerAfter, status, code
	return r
}

// Reset resets the connection before the request is passed on.
func (r Rule) Reset() Rule { r.effect = reset; return r }

// ResetAfter resets the connection after the request was done, before the answer.
func (r Rule) ResetAfter() Rule { r.effect = resetAfter; return r }

// CutRequest resets both connections after n bytes of the request's body. One with a shorter body ends before its last byte.
func (r Rule) CutRequest(n int64) Rule { r.effect, r.bytes = cutRequest, n; return r }

// CutResponse resets the connection after n bytes of the answer's body. A shorter one ends before its last byte.
func (r Rule) CutResponse(n int64) Rule { r.effect, r.bytes = cutResponse, n; return r }

// Short takes n bytes from the end of the answer's body, and says that it is as long as it is then.
func (r Rule) Short(n int64) Rule { r.effect, r.bytes = short, n; return r }

// CorruptRequest changes a byte in the middle of the request's body.
func (r Rule) CorruptRequest() Rule { r.effect = corruptRequest; return r }

// CorruptResponse changes a byte in the middle of the answer's body.
func (r Rule) CorruptResponse() Rule { r.effect = corruptResponse; return r }

// Again sends the request a second time, d after it was answered, as a network may.
func (r Rule) Again(d time.Duration) Rule { r.effect, r.delay = again, d; return r }

// Late resets the connection, and passes the request on after d all the same.
func (r Rule) Late(d time.Duration) Rule { r.effect, r.delay = late, d; return r }

// Stall holds the request back for d.
func (r Rule) Stall(d time.Duration) Rule { r.effect, r.delay = stall, d; return r }

// StallResponse holds the second half of the answer's body back for d.
func (r Rule) StallResponse(d time.Duration) Rule { r.effect, r.delay = stallResponse, d; return r }

// Claim answers a Put with success and does nothing.
func (r Rule) Claim() Rule { r.effect = claim; return r }

// IgnoreCreateOnly takes the header If-None-Match out of a Put, so that it overwrites.
func (r Rule) IgnoreCreateOnly() Rule { r.effect = ignoreCreateOnly; return r }

// RefuseCreateOnly answers every Put that has the header If-None-Match with 501.
func (r Rule) RefuseCreateOnly() Rule { r.effect = refuseCreateOnly; return r }

// SeveralWinners waits with a Put that has the header If-None-Match until there is another of the same name, and then all win that
// come until the name is taken.
func (r Rule) SeveralWinners() Rule { r.effect = severalWinners; return r }

// HideNew takes objects out of a listing that no listing has had since they were put.
func (r Rule) HideNew() Rule { r.effect = hideNew; return r }

// conditional says whether the rule only concerns create-only requests.
func (r Rule) conditional() bool {
	return r.effect == ignoreCreateOnly || r.effect == refuseCreateOnly || r.effect == severalWinners
}

func (r Rule) matches(op Op, req *http.Request) bool {
	return (len(r.ops) == 0 || slices.Contains(r.ops, op)) && strings.Contains(req.URL.Path, r.key) &&
		(!r.conditional() || req.Header.Get(ifNoneMatch) != "")
}

const ifNoneMatch = "If-None-Match"

// armed is a rule in a Proxy, with its counts; the Proxy's mutex guards it.
type armed struct {
	Rule
	*trigger.Armed
}

func (a *armed) fires(op Op, req *http.Request) bool { return a.matches(op, req) && a.Fires() }
