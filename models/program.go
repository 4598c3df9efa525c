package models

import (
	"context"
	"fmt"

	"perigee/models/internal/kernel"
)

// step is a job that computes the map of a layer, or brings it into another form.
type step struct {
	job
	layer   int
	borders []view // around which zeros are written before
}

// weighted is a job that holds weights in a form of its own.
type weighted interface {
	load(c Conv)
}

// program is a network made ready to run: its steps, their memory, and the weights
// packed for the kernels. Weights may be exchanged, all else is fixed.
type program struct {
	steps   []step
	head    int // first step of the head
	picture *value
	taps    []*value
	outputs []flat
	weights map[int]weighted // by layer
	crew    *crew
}

// value is the map of a layer in the one or two forms in which it is there.
type value struct {
	dims     []int
	need     border // zeros that its readers want around it
	view     *view
	flat     *flat
	isView   bool // the view was there first
	constant bool
}

func (v *value) shape() Shape { return shapeOf(v.dims) }

// compiler makes a program.
type compiler struct {
	net     *Network
	set     kernel.Set
	program *program
	values  []*value // by layer; the last is the picture
	mem     []*storage
	layer   int // that is compiled
}

// compile makes n ready to run on up to threads cores.
func compile(n *Network, set kernel.Set, threads int) *program {
	p := &program{weights: make(map[int]weighted), crew: newCrew(threads)}
	c := &compiler{net: n, set: set, program: p, values: make([]*value, len(n.graph.Layers)+1)}
	c.values[len(n.graph.Layers)] = &value{dims: n.plan.dimsOf(&n.graph, Picture)}
	for i, dims := range n.plan.dims {
		c.values[i] = &value{dims: dims}
	}
	c.needs()
	p.picture = c.value(Picture)
	c.makeView(p.picture)
	for i := range n.graph.Layers {
		if i == n.graph.Head {
			c.enterHead()
		}
		c.layer = i
		c.compileLayer(i)
	}
	for _, out := range n.plan.outputs {
		p.outputs = append(p.outputs, c.flatOf(out))
		c.read(p.outputs[len(p.outputs)-1].mem, len(p.steps)) // until the end
	}
	arena := make([]float32, planMemory(c.mem))
	for _, s := range c.mem {
		s.data = arena[s.at : s.at+s.size : s.at+s.size]
	}
	p.load(n, 0)
	return p
}

// load takes over the weights of n from the given layer on.
func (p *program) load(n *Network, from int) {
	for i := from; i < len(n.graph.Layers); i++ {
		if w, ok := p.weights[i]; ok {
			w.load(n.conv(i))
		}
	}
}

// enterHead begins the head, which must find what it reads in the form in which the
// backbone left it.
func (c *compiler) enterHead() {
	p := c.program
	p.head = len(p.steps)
	for _, tap := range c.net.plan.taps {
		v := c.value(tap)
		if v.isView {
			v.flat = nil
			c.read(v.view.mem, p.head)
		} else {
			v.view = nil
			c.read(v.flat.mem, p.head)
		}
		p.taps = append(p.taps, v)
	}
}

// value returns the value of a layer or of the picture.
func (c *compiler) value(layer int) *value {
	if layer == Picture {
		layer = len(c.values) - 1
	}
	return c.values[layer]
}

// needs finds the zeros that each map must have around it.
func (c *compiler) needs() {
	for i := len(c.net.graph.Layers) - 1; i >= 0; i-- {
		l := &c.net.graph.Layers[i]
		if len(c.net.plan.inputs[i]) != 1 {
			continue
		}
		in := c.value(c.net.plan.inputs[i][0])
		switch l.Kind {
		case Convolution, Deconvolution:
			in.need = in.need.union(l.reach(in.shape()))
		case Route, YOLO: // the same map
			in.need = in.need.union(c.values[i].need)
		}
	}
}

// allocate gives s memory from the step that comes next on.
func (c *compiler) allocate(s *storage) {
	s.first, s.last = len(c.program.steps), len(c.program.steps)
	c.mem = append(c.mem, s)
}

// emit adds a step that reads the given storages.
func (c *compiler) emit(j job, in ...*storage) *step {
	at := len(c.program.steps)
	for _, s := range in {
		c.read(s, at)
	}
	c.program.steps = append(c.program.steps, step{job: j, layer: c.layer})
	return &c.program.steps[at]
}

// read notes that a step uses s.
func (c *compiler) read(s *storage, step int) { s.last = max(s.last, step) }

// makeView gives v a view that the next step writes.
func (c *compiler) makeView(v *value) *view {
	made := newView(v.shape(), v.need)
	v.view, v.isView = &made, v.flat == nil
	c.allocate(made.mem)
	return v.view
}

// makeFlat gives v a row-major form that the next step writes.
func (c *compiler) makeFlat(v *value) flat {
	n := sizeOf(v.dims)
	v.flat = &flat{mem: &storage{size: n}, n: n}
	c.allocate(v.flat.mem)
	return *v.flat
}

// emitView adds a step that writes a view.
func (c *compiler) emitView(j job, out *view, in ...*storage) {
	s := c.emit(j, in...)
	s.borders = append(s.borders, *out)
}

// viewOf returns the map of a layer as a view, bringing it into that form if need
// be. Its dimensions must be 1 x channels x height x width.
func (c *compiler) viewOf(layer int) *view {
	v := c.value(layer)
	if v.view != nil {
		return v.view
	}
	if s := v.shape(); s.H*s.W == 1 && v.need == (border{}) && v.flat.at == 0 {
		v.view = &view{mem: v.flat.mem, h: 1, w: 1, c: s.C, row: s.C}
		return v.view
	}
	if v.constant {
		return v.constantView()
	}
	out := c.makeView(v)
	c.emitView(&toView{from: *v.flat, to: out}, out, v.flat.mem)
	return out
}

// flatOf returns the map of a layer in row-major form.
func (c *compiler) flatOf(layer int) flat {
	v := c.value(layer)
	if v.flat != nil {
		return *v.flat
	}
	if s := v.shape(); s.H*s.W == 1 && v.view.border == (border{}) {
		v.flat = &flat{mem: v.view.mem, n: s.C}
		return *v.flat
	}
	out := c.makeFlat(v)
	c.emit(&toFlat{from: v.view, to: out}, v.view.mem)
	return out
}

// constantView gives a constant a view, which lies in no arena.
func (v *value) constantView() *view {
	made := newView(v.shape(), v.need)
	made.mem.data = make([]float32, made.mem.size)
	for y := range made.h {
		made.load(v.flat.values(), y)
	}
	v.view = &made
	return v.view
}

// toView and toFlat bring a map into the other form, row by row.
type toView struct {
	from flat
	to   *view
}

func (s *toView) tasks() int  { return s.to.h }
func (s *toView) do(_, y int) { s.to.load(s.from.values(), y) }

type toFlat struct {
	from *view
	to   flat
}

func (s *toFlat) tasks() int  { return s.from.h }
func (s *toFlat) do(_, y int) { s.from.store(s.to.values(), y) }

// run does the steps from first up to end.
func (p *program) run(ctx context.Context, first, end int) error {
	for i := first; i < end; i++ {
		s := &p.steps[i]
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("run layer %d: %w", s.layer, err)
		}
		for b := range s.borders {
			s.borders[b].clearBorder()
		}
		p.crew.do(s.job)
	}
	return nil
}

// put writes a map that a program reads from outside.
func (v *value) put(data []float32) {
	if !v.isView {
		copy(v.flat.values(), data)
		return
	}
	v.view.clearBorder()
	for y := range v.view.h {
		v.view.load(data, y)
	}
}

// get returns a copy of a map.
func (v *value) get() Tensor {
	t := NewTensor(v.shape())
	if !v.isView {
		copy(t.Data, v.flat.values())
		return t
	}
	for y := range v.view.h {
		v.view.store(t.Data, y)
	}
	return t
}

// compileLayer adds the steps of layer i.
func (c *compiler) compileLayer(i int) {
	l := &c.net.graph.Layers[i]
	switch l.Kind {
	case Convolution, Deconvolution:
		c.convolution(i, l)
	case Dense:
		c.dense(i, l)
	case MaxPool, AveragePool:
		c.pool(i, l)
	case Route:
		c.join(i, l)
	case Upsample, Resize:
		c.resize(i, l)
	case YOLO:
		c.values[i] = c.value(c.net.plan.inputs[i][0]) // the same map
	case Activate:
		c.activation(i, l)
	case Add, Sub, Mul, Div, Pow:
		c.elementwise(i, l)
	case MatMul:
		c.matMul(i)
	case Reshape:
		from := c.flatOf(c.net.plan.inputs[i][0]) // the same values
		c.values[i].flat = &from
	case Transpose:
		c.transpose(i, l)
	case Slice:
		c.slice(i, l)
	case Pad:
		c.pad(i, l)
	case Softmax:
		c.softmax(i, l)
	case ReduceMean, ReduceMax, ReduceSum:
		c.reduce(i, l)
	case Constant:
		c.constant(i)
	}
}

// constant gives a constant its values, which are the network's own.
func (c *compiler) constant(i int) {
	v, params := c.values[i], c.net.layerParams(i)
	v.constant = true
	v.flat = &flat{mem: &storage{size: len(params), data: params}, n: len(params)}
}
