package models

import (
	"math"

	"github.com/viterin/vek/vek32"
)

const (
	// laneWidth is how many columns the vector kernel takes at a time. Tiles are
	// padded to it: a scalar tail would cost more than the zeros do.
	laneWidth = 32
	// tileWidth is the widest tile of columns that is gathered at once.
	tileWidth = 256
	// panelDepth is how many rows of a tile are multiplied before the next: with
	// tileWidth they fill a quarter of a MiB, so that they stay in cache while
	// every filter reads them. It fixes the order of summation, so it may not
	// depend on the number of threads.
	panelDepth = 256
)

// workspace holds the buffers that runs reuse.
type workspace struct {
	maps    []Tensor    // output of every layer
	columns [][]float32 // by worker: gathered input, panelDepth x tileWidth
	sums    [][]float32 // by worker: products of one filter, tileWidth
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
		w.columns = append(w.columns, make([]float32, panelDepth*tileWidth))
		w.sums = append(w.sums, make([]float32, tileWidth))
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
		convolveTile(&c, in, out, from, to, w.columns[worker], w.sums[worker])
	})
}

// tileFor returns the width of tiles that spreads columns over threads.
func tileFor(columns, threads int) int {
	rounds := (columns + tileWidth*threads - 1) / (tileWidth * threads)
	tile := (columns + rounds*threads - 1) / (rounds * threads)
	return min(tileWidth, roundUp(tile, laneWidth))
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// convolveTile computes the output columns from up to to of every filter.
func convolveTile(c *Conv, in, out Tensor, from, to int, panel, sums []float32) {
	width, padded := to-from, roundUp(to-from, laneWidth)
	area := c.Out.H * c.Out.W
	for k := 0; k < c.Columns; k += panelDepth {
		depth := min(panelDepth, c.Columns-k)
		gather(c, in, from, to, k, depth, panel, padded)
		for f := range c.Out.C {
			row := out.Data[f*area+from : f*area+to]
			// One row at a time: vek32 starts goroutines of its own for more.
			sum := vek32.MatMul_Into(sums[:padded], c.Weights[f*c.Columns+k:f*c.Columns+k+depth], panel[:depth*padded], depth)
			if k == 0 {
				copy(row, sum[:width])
			} else {
				vek32.Add_Inplace(row, sum[:width])
			}
		}
	}
	for f := range c.Out.C {
		activate(out.Data[f*area+from:f*area+to], c.Bias[f], c.Spec.Activation)
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
	for oy := range out.H {
		y0, y1 := max(oy*l.Stride-before, 0), min(oy*l.Stride-before+l.Size, in.H)
		row := dst[oy*out.W : (oy+1)*out.W]
		for ox := range row {
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

func upsample(factor int, in, out Tensor) {
	for c := range in.C {
		src, dst := in.Channel(c), out.Channel(c)
		for i := range dst {
			dst[i] = src[i/out.W/factor*in.W+i%out.W/factor]
		}
	}
}
