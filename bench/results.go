package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// kinds of programs in the results.
const (
	ours  = "kura"
	peer  = "peer"
	limit = "limit"
)

// program is one whose results are in a table.
type program struct{ Name, Kind string }

func (t *tool) program() program {
	switch {
	case t.limit != nil:
		return program{t.name, limit}
	case t.is(kura):
		return program{t.name, ours}
	}
	return program{t.name, peer}
}

// record is what a run of the benchmark has measured. Records of several runs are put together for one report.
type record struct {
	Section  string // the same for runs whose results may stand in one table
	Facts    []fact
	Cores    int
	Size     int64 `json:",omitempty"` // of the incompressible file
	Programs []program
	Samples  []sample
	Stages   []stageCost `json:",omitempty"`
}

// sample is what one program needed for one step, once. Times are in seconds, sizes in bytes.
type sample struct {
	Row, Program string
	Generation   int `json:",omitempty"` // of the data set, after the first
	Wall, CPU    float64
	RSS, Anon    int64
	Stored       *int64 `json:",omitempty"` // by how much the repository grew
	Requests     int    `json:",omitempty"` // to a far store
	Chain        int    `json:",omitempty"` // the most of them that waited for one another
}

// save replaces the file.
func (r *record) save(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(part, path)
}

func loadRecords(paths []string) ([]*record, error) {
	if len(paths) == 0 {
		return nil, errors.New("-report: needs the files that -save made")
	}
	var records []*record
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r := new(record)
		if err := json.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// section is what is in the tables of records that belong together.
type section struct {
	title    string
	records  []*record
	rows     []*step // of the tables: of the steps with the same row the first
	programs []program
	samples  map[string]map[string][]sample // by row and program
	stages   []stageCost
}

// sections puts the records together, in the order in which the sections come first.
func sections(records []*record, steps []*step) []*section {
	var all []*section
	for _, r := range records {
		i := slices.IndexFunc(all, func(s *section) bool { return s.title == r.Section })
		if i < 0 {
			i = len(all)
			all = append(all, &section{title: r.Section, samples: make(map[string]map[string][]sample)})
		}
		all[i].add(r)
	}
	for _, s := range all {
		for _, st := range steps {
			if s.samples[st.row] != nil && !slices.ContainsFunc(s.rows, func(other *step) bool { return other.row == st.row }) {
				s.rows = append(s.rows, st)
			}
		}
		slices.SortStableFunc(s.programs, func(a, b program) int { return cmp.Compare(order(a), order(b)) })
	}
	return all
}

func (s *section) add(r *record) {
	s.records = append(s.records, r)
	s.stages = append(s.stages, r.Stages...)
	for _, p := range r.Programs {
		if !slices.Contains(s.programs, p) {
			s.programs = append(s.programs, p)
		}
	}
	for _, one := range r.Samples {
		if s.samples[one.Row] == nil {
			s.samples[one.Row] = make(map[string][]sample)
		}
		s.samples[one.Row][one.Program] = append(s.samples[one.Row][one.Program], one)
	}
}

// order is the place of a program in the tables.
func order(p program) int {
	return slices.IndexFunc(tools, func(t *tool) bool { return p.Name == t.name || strings.HasPrefix(p.Name, t.name+"-") })
}
