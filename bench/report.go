package main

import "strings"

// fact is one thing that is to be known of the results.
type fact struct{ name, value string }

// report is what is written at the end.
type report struct {
	facts []fact
	table table
}

const explanation = "Medians of the rounds; × is the multiple of the best peer's median, the peers being all programs but kura. " +
	"wall and CPU end with the process: what it left to the page cache is not waited for. " +
	"RssAnon is the largest of samples every 10 ms. stored is by how much the repository grew, as the sum of the sizes of its files."

func (r report) text() string {
	var b strings.Builder
	for _, f := range r.facts {
		b.WriteString(f.name + ": " + f.value + "\n")
	}
	b.WriteString("\n" + r.table.text() + "\n" + explanation + "\n")
	return b.String()
}

func (r report) markdown() string {
	var b strings.Builder
	b.WriteString("# Results\n\nWritten by the benchmark itself; [README.md](README.md) says how to read and repeat it.\n\n")
	b.WriteString(r.table.markdown())
	b.WriteString("\n" + explanation + "\n\n")
	for _, f := range r.facts {
		value := f.value
		if f.name == "command" {
			value = "`" + value + "`"
		}
		b.WriteString("- **" + f.name + "**: " + value + "\n")
	}
	return b.String()
}
