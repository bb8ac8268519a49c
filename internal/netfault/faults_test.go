package netfault

import (
	"time"

	s3 "github.com/kura-backup/kura/internal/s3proxy"
)

// kind is a way in which the network or the server fails.
type kind struct {
	name  string
	rules func(rate float64, seed uint64) []s3.Rule
	// altered: what arrives may be other bytes, without a sign of it. Then it may be reported as damage.
	altered bool
	stalls  bool
	rates   []float64 // of which the default run draws one
}

// stalled is how long requests are stalled, patience how long the client waits for bytes, and stalls how often it has to.
const (
	stalled  = time.Minute
	patience = 2 * time.Second
	stalls   = 4
)

// one is a rule that fires at the given rate, and once for certain.
func one(rule s3.Rule) func(float64, uint64) []s3.Rule {
	return func(rate float64, seed uint64) []s3.Rule { return []s3.Rule{rule.Rate(rate, seed), rule.Nth(3)} }
}

func some(rule s3.Rule) func(float64, uint64) []s3.Rule {
	return func(rate float64, seed uint64) []s3.Rule {
		return []s3.Rule{rule.Rate(rate, seed).Times(stalls - 1), rule.Nth(3)}
	}
}

const none = "none"

var kinds = []kind{
	{name: none, rules: func(float64, uint64) []s3.Rule { return nil }, rates: []float64{0}},
	{name: "500", rules: one(s3.On().Answer(500, "")), rates: []float64{0.1, 0.5}},
	{name: "503", rules: one(s3.On().Answer(503, "")), rates: []float64{0.5}},
	{name: "success that arrives as 500", rules: one(s3.On().AnswerAfter(500, "")), rates: []float64{0.1, 0.5}},
	{name: "reset before", rules: one(s3.On().Reset()), rates: []float64{0.5}},
	{name: "reset in the request", rules: one(s3.On().CutRequest(200)), rates: []float64{0.5}},
	{name: "reset in the answer", rules: one(s3.On().CutResponse(100)), rates: []float64{0.5}},
	{name: "reset after", rules: one(s3.On().ResetAfter()), rates: []float64{0.1, 0.5}},
	{name: "short answer", rules: one(s3.On(s3.Get, s3.List).Short(5)), rates: []float64{0.5}},
	{name: "altered answer", rules: one(s3.On(s3.Get).CorruptResponse()), altered: true, rates: []float64{0.1}},
	{name: "altered request", rules: one(s3.On(s3.Put).CorruptRequest()), rates: []float64{0.5}},
	{name: "sent twice", rules: one(s3.On(s3.Put, s3.Delete, s3.Batch).Again(40 * time.Millisecond)), rates: []float64{0.5}},
	{name: "sent late", rules: one(s3.On(s3.Put, s3.Delete, s3.Batch).Late(40 * time.Millisecond)), rates: []float64{0.1, 0.5}},
	{name: "409", rules: one(s3.On(s3.Put).Answer(409, "")), rates: []float64{0.5}},
	{name: "412 for free names", rules: one(s3.On(s3.Put).Answer(412, "")), rates: []float64{0.5}},
	{name: "stalled request", rules: some(s3.On().Stall(stalled)), stalls: true, rates: []float64{0.05}},
	{name: "stalled answer", rules: some(s3.On().StallResponse(stalled)), stalls: true, rates: []float64{0.05}},
}

// everything is all kinds at once that leave a sign, each at a tenth of the rate.
var everything = kind{name: "everything", stalls: true, rates: []float64{0.5}, rules: func(rate float64, seed uint64) (rules []s3.Rule) {
	for i, k := range kinds {
		if !k.altered {
			rules = append(rules, k.rules(rate/10, seed+uint64(i))...)
		}
	}
	return rules
}}
