package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/retain"
)

// policyOptions are the flags that say what to keep.
type policyOptions struct {
	policy retain.Policy
}

func (o *policyOptions) addFlags(f *pflag.FlagSet) {
	p := &o.policy
	f.VarP((*countValue)(&p.Last), "keep-last", "l", "keep the newest `n` snapshots of each group, or unlimited")
	for _, r := range []struct {
		name, short, unit string
		n                 *int
	}{
		{"hourly", "H", "hours", &p.Hourly},
		{"daily", "d", "days", &p.Daily},
		{"weekly", "w", "weeks", &p.Weekly},
		{"monthly", "m", "months", &p.Monthly},
		{"yearly", "y", "years", &p.Yearly},
	} {
		f.VarP((*countValue)(r.n), "keep-"+r.name, r.short, "keep the newest of each of the last `n` "+r.unit+" that have any, or unlimited")
	}
	f.Var((*durationValue)(&p.Within), "keep-within", "keep all that are younger than the newest by less than a `duration` such as 1y5m7d2h")
	for _, r := range []struct {
		name, unit string
		d          *retain.Duration
	}{
		{"hourly", "hour", &p.WithinHourly},
		{"daily", "day", &p.WithinDaily},
		{"weekly", "week", &p.WithinWeekly},
		{"monthly", "month", &p.WithinMonthly},
		{"yearly", "year", &p.WithinYearly},
	} {
		f.Var((*durationValue)(r.d), "keep-within-"+r.name, "keep the newest of each "+r.unit+" within a `duration` before the newest")
	}
	f.Var((*tagListsValue)(&p.Tags), "keep-tag", "keep all with this `tag`, or with all of a list a,b (can be given several times: any of them)")
}

// countValue is a flag that is a number of slots.
type countValue int

func (v *countValue) Set(s string) error {
	n, err := retain.ParseCount(s)
	*v = countValue(n)
	return plainOrNil(err)
}

func (v *countValue) String() string {
	if *v == retain.Unlimited {
		return "unlimited"
	}
	return strconv.Itoa(int(*v))
}

func (v *countValue) Type() string { return "n" }

// durationValue is a flag that is a duration by the calendar.
type durationValue retain.Duration

func (v *durationValue) Set(s string) error {
	d, err := retain.ParseDuration(s)
	*v = durationValue(d)
	return plainOrNil(err)
}

func (v *durationValue) String() string {
	if d := retain.Duration(*v); !d.IsZero() {
		return d.String()
	}
	return ""
}

func (v *durationValue) Type() string { return "duration" }

// tagListsValue is a flag of lists of tags.
type tagListsValue []retain.TagList

func (v *tagListsValue) Set(s string) error {
	list := strings.Split(s, ",")
	for i, tag := range list {
		if list[i] = strings.TrimSpace(tag); list[i] == "" {
			return fmt.Errorf("%q has an empty tag in it", s)
		}
	}
	*v = append(*v, list)
	return nil
}

func (v *tagListsValue) String() string {
	words := make([]string, len(*v))
	for i, list := range *v {
		words[i] = list.String()
	}
	return strings.Join(words, " ")
}

func (v *tagListsValue) Type() string { return "tag" }

// plainOrNil takes the names of packages off an error.
func plainOrNil(err error) error {
	if err == nil {
		return nil
	}
	return plain{err}
}
