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

const (
	// maxRows is how many receiving nodes a picture shows, those with most bytes.
	maxRows = 40
	// maxLabels is how many passes of a row have their utilisation beside them.
	maxLabels = 40
)

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
func (r *NetworkReport) picture() []byte {
	rows := r.rows()
	height := topMargin + len(rows)*(rowHeight+rowGap) + 30
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", pictureWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", pictureWidth, height)
	fmt.Fprintf(&b, `<text x="10" y="18" font-size="14">%s: contacts by receiver (frames) and bytes carried (filled)</text>`+"\n", escape(r.Scenario))
	span := r.Length.Std()
	x := func(at float64) float64 { return nameWidth + at/span.Seconds()*(pictureWidth-nameWidth-90) }
	const ticks = 12
	for i := range ticks + 1 {
		at := span.Seconds() * float64(i) / ticks
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="32" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" fill="#777" text-anchor="middle">%.4g h</text>`+"\n",
			x(at), x(at), height-22, x(at), height-8, at/3600)
	}
	names := r.names()
	for i, row := range rows {
		y := topMargin + i*(rowHeight+rowGap)
		fmt.Fprintf(&b, `<text x="10" y="%d">%s (%s)</text>`+"\n", y+15, escape(names[row.to]), row.to)
		for _, p := range row.passes {
			from, till := p.Start.Sub(r.Start).Std().Seconds(), min(p.End.Sub(r.Start).Std(), span).Seconds()
			used := min(p.Utilisation, 1) * rowHeight
			wide := max(x(till)-x(from), 0.3)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#e8eef6"><title>%s, %s, %d of %d bytes, %.0f %%</title></rect>`,
				x(from), y, wide, rowHeight, escape(names[p.From]), p.Start, p.Bytes, p.Capacity, 100*p.Utilisation)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#2f6db5"/>`+"\n", x(from), float64(y)+rowHeight-used, wide, used)
			if len(row.passes) <= maxLabels {
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" font-size="8" fill="#444">%.0f %%</text>`+"\n", x(from)+wide+1, y+rowHeight-2, 100*p.Utilisation)
			}
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%.0f %%</text>`+"\n", pictureWidth-10, y+15, 100*float64(row.bytes)/float64(max(row.whole, 1)))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// rows sorts the passes that begin in the time shown by who receives.
func (r *NetworkReport) rows() []rowOf {
	byNode := make(map[bundle.EID]*rowOf)
	var rows []*rowOf
	for _, p := range r.shown() {
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
