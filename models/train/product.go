package train

import (
	"math"
	"unsafe"

	"perigee/models/internal/kernel"
)

// products multiplies matrices with the inner loops of inference. It belongs to one
// goroutine.
type products struct {
	set     kernel.Set
	tile    kernel.Tile
	offset  int       // of the only run of a row
	panel   []float32 // columns of the right matrix, side by side
	bias    []float32 // zeros
	scratch []float32 // a tile that does not fit into the result
}

func newProducts() *products {
	p := &products{set: kernel.Best()}
	widest := p.set.Widths[len(p.set.Widths)-1]
	p.bias, p.scratch = make([]float32, widest), make([]float32, kernel.Rows*widest)
	return p
}

// multiply writes the product of a, rows by depth, and b, depth by columns. All
// lie row by row.
func (p *products) multiply(out, a, b []float32, rows, depth, columns int) {
	out, a, b = out[:rows*columns], a[:rows*depth], b[:depth*columns] // what the loops do not check
	t := &p.tile
	*t = kernel.Tile{
		Offsets: unsafe.Pointer(&p.offset), Bias: unsafe.Pointer(&p.bias[0]),
		Runs: 1, Length: depth, Slope: 1, Ceiling: float32(math.Inf(1)),
	}
	first := 0
	for _, width := range p.set.Panels(columns) {
		valid := min(width, columns-first)
		p.pack(b[first:], depth, columns, width, valid)
		t.Weights = unsafe.Pointer(&p.panel[0])
		for row := 0; row < rows; row += kernel.Rows {
			p.aim(out[first:], a, row, rows, depth, columns, width, valid)
			p.set.Tile(width, t)
			if valid == width {
				continue
			}
			for r := range min(kernel.Rows, rows-row) {
				copy(out[(row+r)*columns+first:][:valid], p.scratch[r*width:])
			}
		}
		first += valid
	}
}

// pack lays columns of the right matrix side by side; a panel that is wider is
// filled with zeros.
func (p *products) pack(b []float32, depth, columns, width, valid int) {
	if len(p.panel) < depth*width {
		p.panel = make([]float32, depth*width)
	}
	for k := range depth {
		to := p.panel[k*width : (k+1)*width]
		copy(to, b[k*columns:][:valid])
		clear(to[valid:])
	}
}

// aim points the tile at its rows. Rows beyond the last are computed again and
// written aside.
func (p *products) aim(out, a []float32, row, rows, depth, columns, width, valid int) {
	for r := range kernel.Rows {
		at := row + r
		if at < rows && valid == width {
			p.tile.Out[r] = unsafe.Pointer(&out[at*columns])
		} else {
			p.tile.Out[r] = unsafe.Pointer(&p.scratch[r*width])
		}
		p.tile.In[r] = unsafe.Pointer(&a[min(at, rows-1)*depth])
	}
}
