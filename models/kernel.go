package models

import "math"

const (
	// tileWidth is the widest tile of columns that is gathered at once.
	tileWidth = 256
	// panelDepth is how many rows of a tile are multiplied before the next: with
	// tileWidth they fill a quarter of a MiB, so that they stay in cache while
	// every filter reads them. It fixes the order of summation, so it may not
	// depend on the number of threads.
	panelDepth = 256
	// blockRows filters by blockColumns columns are computed in registers.
	blockRows    = 4
	blockColumns = 16
)

// workspace holds the buffers that runs reuse.
type workspace struct {
	maps    []Tensor  // output of every layer
	workers []buffers // by worker
}

// buffers are one worker's.
type buffers struct {
	panel []float32 // gathered input, panelDepth rows
	block [blockRows * blockColumns]float32
}

// newWorkspace allocates buffers for n. Maps that no later layer than the next
// reads take turns in two buffers.
func newWorkspace(n *Network, threads int) workspace {
	w := workspace{maps: make([]Tensor, len(n.graph.Layers))}
	keep := keptLayers(n)
	var turn [2][]float32
	for i, l := range n.graph.Layers {
		s := n.plan.shapes[i]
		switch {
		case l.Kind == YOLO:
			w.maps[i] = w.maps[i-1]
			continue
		case keep[i]:
			w.maps[i] = NewTensor(s)
			continue
		}
		if len(turn[i%2]) < s.Size() {
			turn[i%2] = make([]float32, s.Size())
		}
	}
	for i := range w.maps {
		if w.maps[i].Data == nil {
			s := n.plan.shapes[i]
			w.maps[i] = Tensor{Shape: s, Data: turn[i%2][:s.Size():s.Size()]}
		}
	}
	for range threads {
		w.workers = append(w.workers, buffers{panel: make([]float32, panelDepth*(tileWidth+blockColumns))})
	}
	return w
}

// keptLayers tells which maps are read by other layers than the next one, or
// are handed out.
func keptLayers(n *Network) []bool {
	keep := make([]bool, len(n.graph.Layers))
	for _, i := range n.plan.taps {
		keep[i] = true
	}
	for _, i := range n.plan.yolos {
		keep[i-1] = true
	}
	for _, l := range n.graph.Layers {
		for _, from := range l.From {
			keep[from] = true
			if n.graph.Layers[from].Kind == YOLO {
				keep[from-1] = true
			}
		}
	}
	return keep
}

// convolve computes one convolution. The output columns are cut into tiles, one
// task each; the sum of every output value runs over the input in the same order
// whatever the tiles.
func convolve(c Conv, in, out Tensor, w *workspace, threads int) {
	columns := c.Out.H * c.Out.W
	tile := tileFor(columns, threads)
	tasks := (columns + tile - 1) / tile
	parallel(threads, tasks, func(worker, task int) {
		from := task * tile
		to := min(from+tile, columns)
		convolveTile(&c, in, out, from, to, &w.workers[worker])
	})
}

// tileFor returns the width of tiles that spreads columns over threads.
func tileFor(columns, threads int) int {
	rounds := (columns + tileWidth*threads - 1) / (tileWidth * threads)
	tile := (columns + rounds*threads - 1) / (rounds * threads)
	return min(tileWidth, roundUp(tile, blockColumns))
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// convolveTile computes the output columns from up to to of every filter.
func convolveTile(c *Conv, in, out Tensor, from, to int, w *buffers) {
	// Rows a power of two apart would share few places of the cache.
	stride := roundUp(to-from, blockColumns) + blockColumns
	area := c.Out.H * c.Out.W
	for k := 0; k < c.Columns; k += panelDepth {
		depth := min(panelDepth, c.Columns-k)
		gather(c, in, from, to, k, depth, w.panel, stride)
		for column := from; column < to; column += blockColumns {
			strip := strip{conv: c, out: out, column: column, width: min(blockColumns, to-column), k: k, depth: depth}
			strip.multiply(w.panel[column-from:], stride, &w.block)
		}
	}
	for f := range c.Out.C {
		activate(out.Data[f*area+from:f*area+to], c.Bias[f], c.Spec.Activation)
	}
}

// strip is a run of output columns of all filters, no wider than a block, to
// which the products of weights k up to k+depth are added, or which is set to
// them for the first k.
type strip struct {
	conv          *Conv
	out           Tensor
	column, width int
	k, depth      int
}

// multiply computes the strip from the gathered panel, whose rows are stride
// apart. aside holds blocks that do not fit the output.
func (s *strip) multiply(panel []float32, stride int, aside *[blockRows * blockColumns]float32) {
	c := s.conv
	area := c.Out.H * c.Out.W
	f := 0
	for ; f+blockRows <= c.Out.C; f += blockRows {
		if s.width < blockColumns {
			s.partial(f, blockRows, panel, stride, aside)
			continue
		}
		multiplyBlock(s.depth, c.Weights[f*c.Columns+s.k:], c.Columns, panel, stride, s.out.Data[f*area+s.column:], area, s.k > 0)
	}
	for ; f < c.Out.C; f++ {
		s.partial(f, 1, panel, stride, aside)
	}
}

// partial computes rows filters from f on, all of a block or one, which then
// stands in for the others, in a block aside and copies what is wanted of it.
func (s *strip) partial(f, rows int, panel []float32, stride int, aside *[blockRows * blockColumns]float32) {
	c := s.conv
	area, apart := c.Out.H*c.Out.W, c.Columns
	if rows == 1 {
		apart = 0
	}
	for r := range rows {
		copy(aside[r*blockColumns:(r+1)*blockColumns], s.out.Data[(f+r)*area+s.column:][:s.width])
	}
	multiplyBlock(s.depth, c.Weights[f*c.Columns+s.k:], apart, panel, stride, aside[:], blockColumns, s.k > 0)
	for r := range rows {
		copy(s.out.Data[(f+r)*area+s.column:][:s.width], aside[r*blockColumns:])
	}
}

func activate(row []float32, bias float32, a Activation) {
	if a == Linear {
		for i := range row {
			row[i] += bias
		}
		return
	}
	for i, v := range row {
		v += bias
		row[i] = max(v, v*LeakySlope)
	}
}

// gather writes rows k up to k+depth of the matrix of windows, columns from up
// to to, to panel with rows of padded values. Row (channel*Size+ky)*Size+kx holds
// the input value that the kernel's (ky, kx) meets at each output place.
func gather(c *Conv, in Tensor, from, to, k, depth int, panel []float32, padded int) {
	size := c.Spec.Size
	for r := range depth {
		row := panel[r*padded : (r+1)*padded]
		clear(row[to-from:])
		channel, tap := (k+r)/(size*size), (k+r)%(size*size)
		plane := in.Channel(channel)
		if size == 1 && c.Spec.Stride == 1 && c.Spec.Pad == 0 {
			copy(row, plane[from:to])
			continue
		}
		gatherTap(c, plane, from, to, tap/size-c.Spec.Pad, tap%size-c.Spec.Pad, row)
	}
}

// gatherTap writes, for the output columns from up to to, the values of plane
// that lie dy rows and dx columns from the corner of each window.
func gatherTap(c *Conv, plane []float32, from, to, dy, dx int, row []float32) {
	stride, w := c.Spec.Stride, c.In.W
	for from < to {
		oy, ox := from/c.Out.W, from%c.Out.W
		n := min(c.Out.W-ox, to-from)
		y := oy*stride + dy
		switch {
		case y < 0 || y >= c.In.H:
			clear(row[:n])
		case stride == 1:
			copyShifted(row[:n], plane[y*w:(y+1)*w], ox+dx)
		default:
			for i := range n {
				row[i] = 0
				if x := (ox+i)*stride + dx; x >= 0 && x < w {
					row[i] = plane[y*w+x]
				}
			}
		}
		row, from = row[n:], from+n
	}
}

// copyShifted copies line from place at on, with zeros outside it.
func copyShifted(dst, line []float32, at int) {
	if at < 0 {
		n := min(-at, len(dst))
		clear(dst[:n])
		dst, at = dst[n:], 0
	}
	n := 0
	if at < len(line) {
		n = copy(dst, line[at:])
	}
	clear(dst[n:])
}

// maxPool pools channel c. Half of the padding lies before the map, rounded
// down, as in Darknet; padding never wins.
func maxPool(l *Layer, in, out Tensor, c int) {
	src, dst := in.Channel(c), out.Channel(c)
	before := l.Pad / 2
	inside := 0 // columns whose windows of two lie within the map
	if l.Size == 2 && before == 0 && in.W >= 2 {
		inside = min((in.W-2)/l.Stride+1, out.W)
	}
	for oy := range out.H {
		y0, y1 := max(oy*l.Stride-before, 0), min(oy*l.Stride-before+l.Size, in.H)
		row := dst[oy*out.W : (oy+1)*out.W]
		pairs := 0
		if y1-y0 == 2 {
			pairs = inside
			poolPairs(row[:pairs], src[y0*in.W:(y0+1)*in.W], src[(y0+1)*in.W:y1*in.W], l.Stride)
		}
		for ox := pairs; ox < out.W; ox++ {
			x0, x1 := max(ox*l.Stride-before, 0), min(ox*l.Stride-before+l.Size, in.W)
			best := float32(math.Inf(-1))
			for y := y0; y < y1; y++ {
				for _, v := range src[y*in.W+x0 : y*in.W+x1] {
					best = max(best, v)
				}
			}
			row[ox] = best
		}
	}
}

// poolPairs pools windows of two by two, the most common, from two lines.
func poolPairs(row, upper, lower []float32, stride int) {
	for i := range row {
		x := i * stride
		row[i] = max(upper[x], upper[x+1], lower[x], lower[x+1])
	}
}

func upsample(factor int, in, out Tensor) {
	for c := range in.C {
		src, dst := in.Channel(c), out.Channel(c)
		for i := range dst {
			dst[i] = src[i/out.W/factor*in.W+i%out.W/factor]
		}
	}
}
