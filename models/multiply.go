package models

import (
	"perigee/models/internal/kernel"
)

// multiply is the matrix products of two maps, one task for each pair of matrices.
type multiply struct {
	set       *kernel.Set
	a, b, out flat
	batch     []int // dimensions of the result but the last two
	strideA   []int // by dimension of the batch, in values
	strideB   []int
	rows, n   int
	depth     int
	linear    Layer
	workers   []multiplyWorker
}

type multiplyWorker struct {
	worker
	product product
}

func (c *compiler) matMul(i int) {
	from := c.net.plan.inputs[i]
	a, b := c.flatOf(from[0]), c.flatOf(from[1])
	da, db, out := c.value(from[0]).dims, c.value(from[1]).dims, c.values[i].dims
	s := &multiply{
		set: &c.set, a: a, b: b, out: c.makeFlat(c.values[i]), batch: out[:len(out)-2],
		rows: da[len(da)-2], depth: da[len(da)-1], n: db[len(db)-1],
	}
	s.strideA, s.strideB = matrixStrides(da, len(out)), matrixStrides(db, len(out))
	for _, w := range newWorkers(&c.set, c.program.crew.threads()) {
		p := product{taps: []tap{{0, 0, 0}}, depth: s.depth, filters: s.n, h: 1, w: s.rows, inColumn: s.depth, outColumn: s.n}
		p.plan(&c.set, 0, s.depth)
		s.workers = append(s.workers, multiplyWorker{w, p})
	}
	c.emit(s, a.mem, b.mem)
}

// matrixStrides returns how far apart the matrices of a map lie along the
// dimensions of a batch, 0 where they are repeated.
func matrixStrides(dims []int, rank int) []int {
	all := make([]int, rank-2)
	step := dims[len(dims)-1] * dims[len(dims)-2]
	for i := len(dims) - 3; i >= 0; i-- {
		if dims[i] != 1 {
			all[rank-len(dims)+i] = step
		}
		step *= dims[i]
	}
	return all
}

func (s *multiply) tasks() int { return sizeOf(s.batch) }

func (s *multiply) do(worker, task int) {
	w := &s.workers[worker]
	b := s.b.values()[placeOf(task, s.batch, s.strideB):]
	for i := range w.product.panels {
		p := &w.product.panels[i]
		for k := range s.depth {
			copy(p.weights[k*p.width:k*p.width+p.valid], b[k*s.n+p.filter:])
		}
	}
	a := s.a.values()[placeOf(task, s.batch, s.strideA):]
	out := s.out.values()[task*s.rows*s.n:]
	w.product.run(s.set, &w.worker, &s.linear, a, out, w.product.panels, 0, s.rows)
}
