package models

import "unsafe"

// storage is a run of values that a program uses for a time: from the step that
// writes it to the last one that reads it.
type storage struct {
	size        int
	first, last int       // steps
	at          int       // place in the arena
	data        []float32 // once planned; constants have theirs from the start
}

// flat is a map as networks describe it: row-major, one dimension after the other.
type flat struct {
	mem *storage
	at  int
	n   int
}

func (f flat) values() []float32 { return f.mem.data[f.at : f.at+f.n : f.at+f.n] }

// border is how many zeros a convolution reads around a map.
type border struct{ top, left, bottom, right int }

func (b border) union(o border) border {
	return border{max(b.top, o.top), max(b.left, o.left), max(b.bottom, o.bottom), max(b.right, o.right)}
}

// view is a map with the channels of each place side by side and zeros around it,
// as the kernels want it.
type view struct {
	mem     *storage
	border  border
	h, w, c int
	row     int // values from one row to the next
}

func newView(s Shape, b border) view {
	v := view{border: b, h: s.H, w: s.W, c: s.C, row: (b.left + s.W + b.right) * s.C}
	v.mem = &storage{size: (b.top + s.H + b.bottom) * v.row}
	return v
}

// index returns where the place (y, x) begins.
func (v *view) index(y, x int) int { return (v.border.top+y)*v.row + (v.border.left+x)*v.c }

// pointer returns the address of the value at an index.
func (v *view) pointer(index int) unsafe.Pointer { return unsafe.Pointer(&v.mem.data[index]) }

// line returns row y without its border.
func (v *view) line(y int) []float32 {
	at := v.index(y, 0)
	return v.mem.data[at : at+v.w*v.c : at+v.w*v.c]
}

// clearBorder writes the zeros around the map.
func (v *view) clearBorder() {
	b := v.border
	if b == (border{}) {
		return
	}
	clear(v.mem.data[:b.top*v.row])
	clear(v.mem.data[(b.top+v.h)*v.row : v.mem.size])
	for y := b.top; y < b.top+v.h; y++ {
		line := v.mem.data[y*v.row : (y+1)*v.row]
		clear(line[:b.left*v.c])
		clear(line[(b.left+v.w)*v.c:])
	}
}

// load writes row y of a row-major map.
func (v *view) load(from []float32, y int) {
	line, area := v.line(y), v.h*v.w
	for c := range v.c {
		plane := from[c*area+y*v.w : c*area+(y+1)*v.w]
		for x, value := range plane {
			line[x*v.c+c] = value
		}
	}
}

// store reads row y into a row-major map.
func (v *view) store(to []float32, y int) {
	line, area := v.line(y), v.h*v.w
	const block = 16 // places at a time, so that their lines stay in cache
	for x0 := 0; x0 < v.w; x0 += block {
		x1 := min(x0+block, v.w)
		for c := range v.c {
			plane := to[c*area+y*v.w : c*area+(y+1)*v.w]
			for x := x0; x < x1; x++ {
				plane[x] = line[x*v.c+c]
			}
		}
	}
}
