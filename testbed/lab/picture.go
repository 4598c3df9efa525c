package lab

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/testbed/sim"
)

// Measures of the picture of passes, in points.
const (
	pictureWidth = 1200
	nameWidth    = 170
	rowHeight    = 22
	rowGap       = 6
	topMargin    = 46
)

// maxRows is how many receiving nodes a picture shows, those with most bytes.
const maxRows = 40

// rowOf is the passes towards one node.
type rowOf struct {
	to     bundle.EID
	passes []sim.PassResult
	bytes  int64
	whole  int64 // capacity
}

// picture draws the contacts of a run over its time as an SVG: one row for each node
// that receives, each pass a frame as high as its rate allows, filled as far as it
// was used.
func (r *NetworkReport) picture(c sim.Config) []byte {
	rows := r.rows(c)
	height := topMargin + len(rows)*(rowHeight+rowGap) + 30
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", pictureWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", pictureWidth, height)
	fmt.Fprintf(&b, `<text x="10" y="18" font-size="14">%s: contacts by receiver (frames) and bytes carried (filled)</text>`+"\n", escape(r.Scenario))
	span := c.Length.Std()
	x := func(at float64) float64 { return nameWidth + at/span.Seconds()*(pictureWidth-nameWidth-90) }
	const ticks = 12
	for i := range ticks + 1 {
		at := span.Seconds() * float64(i) / ticks
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="32" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" fill="#777" text-anchor="middle">%.4g h</text>`+"\n",
			x(at), x(at), height-22, x(at), height-8, at/3600)
	}
	names := make(map[bundle.EID]string)
	for _, n := range c.Nodes {
		names[n.ID] = n.Name
	}
	for i, row := range rows {
		y := topMargin + i*(rowHeight+rowGap)
		fmt.Fprintf(&b, `<text x="10" y="%d">%s (%s)</text>`+"\n", y+15, escape(names[row.to]), row.to)
		for _, p := range row.passes {
			from, till := p.Start.Sub(c.Start).Std().Seconds(), min(p.End.Sub(c.Start).Std(), span).Seconds()
			used := 0.
			if p.Capacity > 0 {
				used = min(float64(p.Bytes)/float64(p.Capacity), 1) * rowHeight
			}
			wide := max(x(till)-x(from), 0.3)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#e8eef6"><title>%s, %s, %d of %d bytes</title></rect>`,
				x(from), y, wide, rowHeight, escape(names[p.From]), p.Start, p.Bytes, p.Capacity)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#2f6db5"/>`+"\n", x(from), float64(y)+rowHeight-used, wide, used)
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%.0f %%</text>`+"\n", pictureWidth-10, y+15, 100*float64(row.bytes)/float64(max(row.whole, 1)))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// rows sorts the passes that begin in the time shown by who receives, leaving out links
// that are there at all times.
func (r *NetworkReport) rows(c sim.Config) []rowOf {
	byNode := make(map[bundle.EID]*rowOf)
	var rows []*rowOf
	for _, p := range r.Passes {
		if p.Start.Sub(c.Start) >= c.Length || p.End.Sub(p.Start) >= c.Length {
			continue
		}
		row := byNode[p.To]
		if row == nil {
			row = &rowOf{to: p.To}
			byNode[p.To] = row
			rows = append(rows, row)
		}
		row.passes = append(row.passes, p)
		row.bytes += p.Bytes
		row.whole += p.Capacity
	}
	slices.SortStableFunc(rows, func(a, b *rowOf) int {
		if a.bytes != b.bytes {
			return int(max(min(b.bytes-a.bytes, 1), -1))
		}
		return contact.CompareEID(a.to, b.to)
	})
	var shown []rowOf
	for _, row := range rows[:min(len(rows), maxRows)] {
		shown = append(shown, *row)
	}
	return shown
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}
