package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
)

// The chart shows, for each step, a bar for each program: how long it took and how much it stored. Bars of one step
// share a scale; those of different steps do not, since they differ by orders of magnitude.

// Measures of the chart, in pixels.
const (
	chartWidth  = 960
	chartMargin = 16
	barHeight   = 11
	barStep     = 15
	rowGap      = 14
	lineHeight  = 20
	titleWidth  = 300
	barLength   = 170 // of the longest
	columnWidth = (chartWidth - chartMargin - titleWidth) / 2
)

// chartStyle is legible on light and on dark pages.
const chartStyle = `text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.head{font-size:15px;font-weight:600}.small{font-size:10px;fill:#59636e}.right{text-anchor:end}
.page{fill:#fff}.kura{fill:#0969da}.limit{fill:#b7bfc8}
.peer0{fill:#d4860b}.peer1{fill:#2da44e}.peer2{fill:#a475f9}.peer3{fill:#cf5c8a}.peer4{fill:#1b9aaa}.peer5{fill:#8f7a5a}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.page{fill:#0d1117}.kura{fill:#4493f8}.limit{fill:#4a525c}}
`

// chartPeers is how many colours there are for peers.
const chartPeers = 6

// chart draws the sections, one below the other.
func (r report) chart() []byte {
	c := &canvas{y: chartMargin}
	for _, s := range r.sections {
		for _, p := range s.programs {
			if p.Kind == peer && !slices.Contains(c.peers, p.Name) {
				c.peers = append(c.peers, p.Name)
			}
		}
	}
	for _, s := range r.sections {
		s.draw(c)
	}
	var out bytes.Buffer
	height := c.y + chartMargin
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", chartWidth, height)
	out.WriteString("<title>Wall time and stored bytes of each program in each step</title>\n")
	out.WriteString("<style>\n" + chartStyle + "</style>\n")
	fmt.Fprintf(&out, `<rect class="page" width="%d" height="%d"/>`+"\n", chartWidth, height)
	out.Write(c.body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// canvas is what is drawn so far, down to y.
type canvas struct {
	body  bytes.Buffer
	y     int
	peers []string // each has its colour in all sections
}

func (c *canvas) text(x, y int, class, s string) {
	fmt.Fprintf(&c.body, `<text x="%d" y="%d"`, x, y)
	if class != "" {
		fmt.Fprintf(&c.body, ` class="%s"`, class)
	}
	c.body.WriteString(">")
	_ = xml.EscapeText(&c.body, []byte(s)) // a buffer takes everything
	c.body.WriteString("</text>\n")
}

func (c *canvas) bar(x, y, length int, class string) {
	fmt.Fprintf(&c.body, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="2"/>`+"\n", class, x, y, length, barHeight)
}

// draw draws one section.
func (s *section) draw(c *canvas) {
	c.y += lineHeight
	c.text(chartMargin, c.y, "head", s.title)
	c.y += lineHeight
	s.drawLegend(c)
	c.y += lineHeight
	columns := []struct {
		title  string
		metric metric
		unit   string
	}{{"wall time", wall, " s"}, {"stored", stored, " MiB"}}
	for i, column := range columns {
		c.text(titleWidth+i*columnWidth, c.y, "small", column.title+", × the best peer's")
	}
	c.y += rowGap / 2
	for _, r := range s.rows {
		top := c.y
		c.text(titleWidth-12, top+barHeight-1, "right", r.title)
		shown := 0
		for _, p := range s.programs {
			if len(s.samples[r.row][p.Name]) == 0 {
				continue
			}
			for k, column := range columns {
				s.drawBar(c, column.metric, column.unit, r.row, p, titleWidth+k*columnWidth, top+shown*barStep)
			}
			shown++
		}
		c.y = top + shown*barStep + rowGap
	}
}

// drawLegend names the colours. The limits share one, and have their names at their bars.
func (s *section) drawLegend(c *canvas) {
	x, limits := chartMargin, false
	for _, p := range s.programs {
		name := p.Name
		if p.Kind == limit {
			if limits {
				continue
			}
			name, limits = "limits, no peers", true
		}
		c.bar(x, c.y-barHeight+2, barHeight, c.class(p))
		c.text(x+barStep, c.y, "", name)
		x += barStep + 8*len(name) + 14
	}
}

// drawBar draws what the program needed, with the number and its multiple behind it.
func (s *section) drawBar(c *canvas, m metric, unit, row string, p program, x, y int) {
	value := m.of(s, row, p.Name)
	if math.IsNaN(value) || value < 0 {
		return
	}
	longest := 0.0
	for _, other := range s.programs {
		longest = max(longest, orZero(m.of(s, row, other.Name)))
	}
	length := 1
	if longest > 0 {
		length = max(1, int(math.Round(barLength*value/longest)))
	}
	label := m.format(value) + unit
	if base, _ := m.best(s, row); p.Kind == limit {
		label = p.Name + " " + label
	} else if !math.IsNaN(ratio(value, base)) {
		label += " · " + times(ratio(value, base)) + "×"
	}
	c.bar(x, y, length, c.class(p))
	c.text(x+length+6, y+barHeight-1, "small", label)
}

func orZero(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// class is the colour of a program.
func (c *canvas) class(p program) string {
	if p.Kind != peer {
		return p.Kind
	}
	return fmt.Sprintf("peer%d", slices.Index(c.peers, p.Name)%chartPeers)
}
