package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
)

const diffExplanation = `Written by the benchmark itself: %[3]q repeats it, as root on a quiet machine; 2 GiB and 18 generations are what it does without flags. This page is of a run with **an image of %[1]v and %[2]d generations**.

[blockdiff](https://github.com/kazuho/blockdiff) (Kazuho Oku, 2009) dumps an LVM volume once and then, each day, the blocks of 16 KiB whose MD5 is not that of the day before, through gzip. For databases, of which a large part of the pages is written each day, and little of each page, that is the least that others of its time have come to, and what a program that cuts into chunks of a fixed size comes to without differences within them. The price is a chain: the last generation is the first one and all that were added since, in order; a new full dump each month begins the next.

**What is backed up**: an image of database pages of 16 KiB of which about 15 %% are zero and of which 22 to 27 %% of those in use are written for each generation, some much more often than others: 200 bytes in up to three places, a log sequence number and two checksums; and a few pages are appended. gzip leaves about 37 %% of it. All programs read the same image, one after the other, before the next generation is made.

**How**: kura does it with "kura device backup", at its defaults, which encrypt, verify and add 3 %% of parity; restic reads it from a pipe of cat, as it is mostly done, and so does not see when cat fails, which later ones than Debian's 0.14 can (--stdin-from-command); kura and restic sync what they write before they end, blockdiff does not, and neither encrypts nor verifies. What they have stored is the size of all their files, with indexes and digests. Three generations are restored, from a cold page cache, and compared with what they were. What is read for that is counted by the kernel; of blockdiff it is the size of all files up to that generation, which are applied one after the other. Then the same harm is done to a copy of what each has stored.

**What to look for**: a later generation should take no more than blockdiff's, though encryption and parity are in it: of a changed page only the difference is stored; a restore should read what is in the generation and not all before it; nothing that goes wrong should pass in silence, and no generation should be lost with another. Bytes do not depend on the machine. Seconds do, and on what else it does: where the load before, below, is more than its cores, others were at work, and the seconds say little.

Beside that, what chunks of fixed sizes come to, as programs for disk images have them: each new one compressed with zstd by itself, and a name of 32 bytes for every chunk of every generation; without encryption, indexes and parity. That is arithmetic and no program.`

// summary has a row for each thing that matters.
func (d *diffRun) summary() table {
	t := table{head: []string{"", ""}}
	for _, r := range d.results {
		t.head = append(t.head, r.rival.name)
	}
	row := func(title, unit string, value func(*diffResult) string) {
		cells := []string{title, unit}
		for _, r := range d.results {
			cells = append(cells, value(r))
		}
		t.rows = append(t.rows, cells)
	}
	last := d.o.diffGenerations
	row("first generation", "MiB", func(r *diffResult) string { return mib(float64(r.added(1))) })
	row("a later one (mean)", "MiB", func(r *diffResult) string { return mib(r.later()) })
	row(fmt.Sprintf("all %d", last), "MiB", func(r *diffResult) string { return mib(float64(r.stored[last-1])) })
	row("first generation", "s", func(r *diffResult) string { return seconds(r.backups[0].wall.Seconds()) })
	row("a later one (median)", "s", func(r *diffResult) string { return seconds(r.laterTime()) })
	row("a later one, CPU (the last)", "s", func(r *diffResult) string { return seconds(r.backups[last-1].cpu.Seconds()) })
	row("a later one, memory (the last)", "MiB RSS", func(r *diffResult) string { return mib(float64(r.backups[last-1].rss)) })
	for _, gen := range d.restored() {
		row(fmt.Sprintf("restore generation %d", gen), "s", func(r *diffResult) string { return seconds(r.restores[gen].wall.Seconds()) })
		row("", "MiB read", func(r *diffResult) string {
			if n, ok := r.read[gen]; ok {
				return mib(float64(n))
			}
			return none
		})
	}
	return t
}

// generations has what each of them has added.
func (d *diffRun) generations() table {
	t := table{head: []string{"generation", "pages written, of all"}}
	for _, r := range d.results {
		t.head = append(t.head, r.rival.name+" MiB", "s")
	}
	for gen := 1; gen <= d.o.diffGenerations; gen++ {
		row := []string{fmt.Sprint(gen), fmt.Sprintf("%d (%.0f %%)", d.written[gen-1], 100*float64(d.written[gen-1])/float64(d.image.pages))}
		for _, r := range d.results {
			row = append(row, mib(float64(r.added(gen))), seconds(r.backups[gen-1].wall.Seconds()))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// fixedTable has what chunks of fixed sizes would have taken.
func (d *diffRun) fixedTable() table {
	t := table{head: []string{"chunks", "", "first generation MiB", "a later one (mean) MiB", fmt.Sprintf("all %d MiB", d.o.diffGenerations), "of it names MiB"}}
	for _, f := range d.fixed {
		n := len(f.stored)
		t.rows = append(t.rows, []string{
			byteSize(f.size).String(), "zstd", mib(float64(f.stored[0])), mib(float64(f.stored[n-1]-f.stored[0]) / float64(max(n-1, 1))), mib(float64(f.stored[n-1])), mib(float64(f.names)),
		})
	}
	return t
}

// troubles has what became of each when something went wrong.
func (d *diffRun) troubles() table {
	t := table{head: []string{"what", "program", "outcome"}}
	for i, tr := range d.results[0].troubles {
		what := tr.what
		for _, r := range d.results {
			t.rows = append(t.rows, []string{what, r.rival.name, r.troubles[i].outcome})
			what = ""
		}
	}
	return t
}

// facts are the circumstances.
func (d *diffRun) facts() []fact {
	out := []fact{{"image", fmt.Sprintf("%v of pages of 16 KiB, %d generations, seed %d", d.o.diffSize, d.o.diffGenerations, d.o.seed)}}
	for _, r := range d.results {
		out = append(out, fact{r.rival.name, r.rival.version})
	}
	return append(out, fact{"command", commandLine(os.Args)})
}

// chart draws what each has stored after each generation, as lines over one another.
func (d *diffRun) chart() []byte {
	const height, left, bottom = 360, 70, 40
	c := &canvas{y: chartMargin + lineHeight}
	c.text(chartMargin, c.y, "head", "MiB stored after each generation")
	most := 1.0
	for _, r := range d.results {
		most = max(most, float64(r.stored[len(r.stored)-1]))
	}
	top := c.y + lineHeight
	at := func(gen int, bytes float64) (x, y float64) {
		return left + float64(gen-1)/float64(max(d.o.diffGenerations-1, 1))*(chartWidth-left-160), float64(top) + (1-bytes/most)*(height-bottom)
	}
	for i := range 5 {
		value := most * float64(i) / 4
		_, y := at(1, value)
		fmt.Fprintf(&c.body, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`+"\n", left, y, chartWidth-150, y)
		c.text(left-8, int(math.Round(y))+4, "small right", mib(value))
	}
	for gen := 1; gen <= d.o.diffGenerations; gen++ {
		x, _ := at(gen, 0)
		c.text(int(x)-3, top+height-bottom+16, "small", fmt.Sprint(gen))
	}
	for i, r := range d.results {
		class := fmt.Sprintf("line%d", i)
		fmt.Fprintf(&c.body, `<polyline class="%s" points="`, class)
		for gen, bytes := range r.stored {
			x, y := at(gen+1, float64(bytes))
			fmt.Fprintf(&c.body, "%.1f,%.1f ", x, y)
		}
		c.body.WriteString("\"/>\n")
		x, y := at(d.o.diffGenerations, float64(r.stored[len(r.stored)-1]))
		c.text(int(x)+8, int(y)+4, "", r.rival.name+" "+mib(float64(r.stored[len(r.stored)-1])))
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", chartWidth, top+height)
	out.WriteString("<title>MiB stored after each generation</title>\n<style>\n" + chartStyle + diffChartStyle + "</style>\n")
	fmt.Fprintf(&out, `<rect class="page" width="%d" height="%d"/>`+"\n", chartWidth, top+height)
	out.Write(c.body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

const diffChartStyle = `.grid{stroke:#b7bfc8;stroke-width:.5}polyline{fill:none;stroke-width:2.5}
.line0{stroke:#0969da}.line1{stroke:#d4860b}.line2{stroke:#2da44e}
`
