package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fact is one thing that is to be known of the results.
type fact struct{ name, value string }

// MarshalJSON writes the fact as a list of two.
func (f fact) MarshalJSON() ([]byte, error) { return json.Marshal([2]string{f.name, f.value}) }

// UnmarshalJSON reads what MarshalJSON writes.
func (f *fact) UnmarshalJSON(b []byte) error {
	var pair [2]string
	err := json.Unmarshal(b, &pair)
	f.name, f.value = pair[0], pair[1]
	return err
}

// report is what is written at the end.
type report struct{ sections []*section }

func newReport(records []*record) report { return report{sections(records, newSteps(datasets))} }

const explanation = "Medians of the rounds, and of the generations where there are several, but for what is stored of a generation: that is their mean. " +
	"× is the multiple of the best peer's of those that were measured in the row, the peers being all programs but kura and the limits, which show what the machine can do at all. " +
	"Where the least and the most are the same number there was one run, and no median. " +
	"wall and CPU end with the process: what it left to the page cache is not waited for. " +
	"RssAnon is the largest of samples every 10 ms. stored is by how much the repository grew, as the sum of the sizes of its files."

// part is a table of a section.
type part struct {
	title string
	table table
	after string
}

func (s *section) parts() []part {
	parts := []part{{"", s.table(), ""}}
	if t := s.generations(); len(t.rows) > 0 {
		parts = append(parts, part{"What a generation adds", t, ""})
	}
	if t := s.goals(); len(t.rows) > 0 {
		parts = append(parts, part{"Goals", t, ""})
	}
	if len(s.stages) > 0 {
		parts = append(parts, part{"Stages of the backup of the incompressible file", s.stageTable(), s.stageSum()})
	}
	return parts
}

func (r report) text() string {
	var b strings.Builder
	b.WriteString(explanation + "\n")
	for _, s := range r.sections {
		b.WriteString("\n" + s.title + "\n\n")
		for _, f := range s.facts() {
			b.WriteString(f.name + ": " + f.value + "\n")
		}
		for _, p := range s.parts() {
			if p.title != "" {
				b.WriteString("\n" + p.title + "\n")
			}
			b.WriteString("\n" + p.table.text() + "\n")
			if p.after != "" {
				b.WriteString(p.after + "\n")
			}
		}
	}
	return b.String()
}

// markdown is the same for a file, beside which there is the chart.
func (r report) markdown(chart string) string {
	var b strings.Builder
	b.WriteString("# Results\n\nWritten by the benchmark itself; [README.md](README.md) says how to read and repeat it.\n\n" + explanation + "\n")
	if chart != "" {
		b.WriteString("\n![Wall time of the programs](" + chart + ")\n")
	}
	for _, s := range r.sections {
		b.WriteString("\n## " + s.title + "\n")
		for _, p := range s.parts() {
			if p.title != "" {
				b.WriteString("\n### " + p.title + "\n")
			}
			b.WriteString("\n" + p.table.markdown())
			if p.after != "" {
				b.WriteString("\n" + p.after + "\n")
			}
		}
		b.WriteString("\n### Circumstances\n\n")
		for _, f := range s.facts() {
			value := f.value
			if f.name == "command" {
				value = "`" + value + "`"
			}
			b.WriteString("- **" + f.name + "**: " + value + "\n")
		}
	}
	return b.String()
}

// facts of several runs, one after the other: what is as it was said last is not said again. So what stands behind a
// run's date and command, or else in front of them, is what it was measured with.
func (s *section) facts() []fact {
	var all []fact
	last := make(map[string]string)
	for _, r := range s.records {
		for _, f := range r.Facts {
			if value, said := last[f.name]; !said || value != f.value {
				all = append(all, f)
			}
			last[f.name] = f.value
		}
	}
	return all
}

// write prints the report, and puts it into the file, if there is a name, with the chart beside it.
func (r report) write(path string) error {
	fmt.Print(r.text())
	if path == "" {
		return nil
	}
	chart := strings.TrimSuffix(path, filepath.Ext(path)) + ".svg"
	if err := os.WriteFile(chart, r.chart(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(r.markdown(filepath.Base(chart))), 0o644)
}
