package models

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"perigee/models/internal/kernel"
)

// network makes a network of layers between two convolutions, so that there is a
// backbone and a head, and hands out what the last layer but one computes.
func network(t testing.TB, input Shape, layers ...Layer) *Network {
	t.Helper()
	g := Graph{Input: input, Layers: append([]Layer{{Kind: Convolution, Filters: input.C, Size: 1, Stride: 1, Activation: Leaky}}, layers...), Head: 1}
	for g.Head < len(g.Layers)-1 && g.Layers[g.Head].Kind == Constant {
		g.Head++
	}
	g.Outputs = []int{len(g.Layers) - 1}
	p, err := g.check()
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNetwork(g, noise(p.params, 0.5, 11))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// holds compares the engine with the plain computation, for every set of kernels.
func holds(t *testing.T, n *Network) {
	t.Helper()
	in := picture(n.Input(), 3)
	want := plain(n, in)
	for _, set := range kernel.Sets() {
		e, err := newEngine(n, 2, set)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second run finds the memory used
			features, err := e.Backbone(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			outputs, err := e.Head(t.Context(), features)
			if err != nil {
				t.Fatal(err)
			}
			for i, layer := range n.Outputs() {
				near(t, outputs[i], want[layer])
			}
		}
		e.Close()
	}
}

func TestConvolutions(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, kind := range []Kind{Convolution, Deconvolution} {
		for range 150 {
			groups := []int{1, 1, 2, 4}[rng.IntN(4)]
			depth, filters := groups*(1+rng.IntN(5)), groups*(1+rng.IntN(40))
			if rng.IntN(4) == 0 {
				groups, filters = depth, depth // depthwise
			}
			l := Layer{
				Kind: kind, Filters: filters, Groups: groups, Activation: []Activation{Linear, Leaky, ReLU, HardSwish}[rng.IntN(4)], Alpha: 0.2, Beta: 0.5,
				Window: &Window{
					H: 1 + rng.IntN(4), W: 1 + rng.IntN(4), StrideH: 1 + rng.IntN(3), StrideW: 1 + rng.IntN(3),
					DilationH: 1 + rng.IntN(2), DilationW: 1 + rng.IntN(2),
					Top: rng.IntN(3), Left: rng.IntN(3), Bottom: rng.IntN(3), Right: rng.IntN(3),
				},
			}
			if kind == Deconvolution {
				l.Window.ExtraH, l.Window.ExtraW = rng.IntN(2), rng.IntN(2)
			}
			input := Shape{C: depth, H: 1 + rng.IntN(14), W: 1 + rng.IntN(14)}
			if _, _, err := l.convolution([]int{1, input.C, input.H, input.W}); err != nil {
				continue // the window does not fit
			}
			t.Run(fmt.Sprintf("%v of %v with %+v in %d groups", kind, input, *l.Window, groups), func(t *testing.T) {
				holds(t, network(t, input, l))
			})
		}
	}
}

func TestPools(t *testing.T) {
	windows := []Layer{
		{Size: 2, Stride: 2, Pad: 1},
		{Size: 2, Stride: 1, Pad: 1},
		{Size: 2, Stride: 2},
		{Size: 2, Stride: 3, Pad: 1},
		{Size: 3, Stride: 2, Pad: 2},
		{Size: 3, Stride: 1, Pad: 2},
		{Window: &Window{H: 1, W: 3, StrideH: 1, StrideW: 2, DilationH: 1, DilationW: 1, Left: 1, Right: 2}},
	}
	for _, kind := range []Kind{MaxPool, AveragePool} {
		for _, l := range windows {
			l.Kind = kind
			for h := 1; h < 6; h++ {
				for w := 1; w < 6; w++ {
					if _, err := l.pool([]int{1, 9, h, w}); err != nil {
						continue // the window does not fit
					}
					l.Outside = kind == AveragePool && h%2 == 0
					holds(t, network(t, Shape{C: 9, H: h, W: w}, l))
				}
			}
		}
	}
}

func TestOtherLayers(t *testing.T) {
	input := Shape{C: 6, H: 5, W: 4}
	chain := func(layers ...Layer) []Layer { return layers }
	for name, layers := range map[string][]Layer{
		"dense":              chain(Layer{Kind: Dense, Filters: 19}),
		"dense over rows":    chain(Layer{Kind: Reshape, Dims: []int{1, 24, 5}}, Layer{Kind: Dense, Filters: 3, Activation: Sigmoid}),
		"flatten and dense":  chain(Layer{Kind: Reshape, Dims: []int{1, 120}}, Layer{Kind: Dense, Filters: 7, Activation: SiLU}, Layer{Kind: Softmax}),
		"mean of places":     chain(Layer{Kind: ReduceMean, Axes: []int{2, 3}}, Layer{Kind: Convolution, Filters: 5, Size: 1, Stride: 1, Activation: Tanh}),
		"padded dot":         chain(Layer{Kind: ReduceMean, Axes: []int{2, 3}}, Layer{Kind: Convolution, Filters: 5, Size: 3, Stride: 1, Pad: 1}),
		"scale by channel":   chain(Layer{Kind: ReduceMax, Axes: []int{2, 3}}, Layer{Kind: Mul, From: []int{0, 1}}),
		"scale by place":     chain(Layer{Kind: ReduceSum, Axes: []int{1}}, Layer{Kind: Div, From: []int{0, 1}}, Layer{Kind: Convolution, Filters: 5, Size: 3, Stride: 1, Pad: 1}),
		"scale by row":       chain(Layer{Kind: ReduceSum, Axes: []int{3}}, Layer{Kind: Sub, From: []int{1, 0}}),
		"flat, over the end": chain(Layer{Kind: Reshape, Dims: []int{3, 2, 20}}, Layer{Kind: ReduceMean, Axes: []int{0, 2}}, Layer{Kind: Sub, From: []int{1, 2}}, Layer{Kind: Softmax, Axis: 2}),
		"add constant":       chain(Layer{Kind: Constant, Dims: []int{6, 1, 1}}, Layer{Kind: Add, From: []int{0, 1}}),
		"add map":            chain(Layer{Kind: Constant, Dims: []int{1, 6, 5, 4}}, Layer{Kind: Sub, From: []int{1, 0}}),
		"power":              chain(Layer{Kind: Constant, Dims: []int{1}}, Layer{Kind: Activate, From: []int{0}, Activation: Exp}, Layer{Kind: Pow, From: []int{2, 1}}),
		"one to the rest":    chain(Layer{Kind: Constant, Dims: []int{1}}, Layer{Kind: Reshape, From: []int{0}, Dims: []int{120}}, Layer{Kind: Sub, From: []int{1, 2}}),
		"outer":              chain(Layer{Kind: Constant, Dims: []int{3, 1}}, Layer{Kind: Reshape, From: []int{0}, Dims: []int{1, 120}}, Layer{Kind: Mul, From: []int{1, 2}}),
		"route":              chain(Layer{Kind: Convolution, Filters: 11, Size: 1, Stride: 1}, Layer{Kind: Route, From: []int{1, 0}}, Layer{Kind: Convolution, Filters: 5, Size: 3, Stride: 1, Pad: 1}),
		"route along width":  chain(Layer{Kind: Slice, Dims: []int{1, 6, 5, 2}, Starts: []int{0, 0, 0, 3}, Steps: []int{1, 1, 1, -2}}, Layer{Kind: Route, From: []int{1, 0}, Axis: 3}),
		"route to one":       chain(Layer{Kind: Route, From: []int{0}}, Layer{Kind: Convolution, Filters: 5, Size: 3, Stride: 1, Pad: 1}),
		"transpose":          chain(Layer{Kind: Transpose, Dims: []int{0, 3, 1, 2}}),
		"pad":                chain(Layer{Kind: Pad, Dims: []int{1, 7, 8, 5}, Starts: []int{0, 1, 2, 0}, Alpha: 3}),
		"matmul":             chain(Layer{Kind: Reshape, Dims: []int{3, 8, 5}}, Layer{Kind: Transpose, Dims: []int{0, 2, 1}}, Layer{Kind: MatMul, From: []int{1, 2}}),
		"matmul repeated":    chain(Layer{Kind: Constant, Dims: []int{4, 33}}, Layer{Kind: MatMul, From: []int{0, 1}}),
		"activation":         chain(Layer{Kind: Activate, Activation: ELU, Alpha: 0.7}, Layer{Kind: Reshape, Dims: []int{4, 30}}, Layer{Kind: Activate, Activation: Affine, Alpha: 2, Beta: -1}),
		"clip":               chain(Layer{Kind: Activate, Activation: Clip, Alpha: -0.1, Beta: 0.4}, Layer{Kind: Activate, Activation: Erf}),
		"root of hard":       chain(Layer{Kind: Activate, Activation: HardSigmoid, Alpha: 0.3, Beta: 0.4}, Layer{Kind: Activate, Activation: Sqrt}),
		"relu6":              chain(Layer{Kind: Convolution, Filters: 5, Size: 3, Stride: 1, Pad: 1, Activation: Clip, Beta: 0.5}),
		"constant first":     chain(Layer{Kind: Constant, Dims: []int{1, 6, 5, 4}}, Layer{Kind: Convolution, From: []int{1}, Filters: 6, Size: 3, Stride: 1, Pad: 1}, Layer{Kind: Add, From: []int{0, 2}}),
	} {
		t.Run(name, func(t *testing.T) { holds(t, network(t, input, layers...)) })
	}
}

func TestResizes(t *testing.T) {
	for _, places := range []Places{Asymmetric, HalfPixel, AlignCorners, TorchPixel} {
		for _, size := range [][2]int{{10, 8}, {3, 9}, {1, 1}} {
			s := Scaling{H: size[0], W: size[1], Places: places, ScaleH: float32(size[0]) / 5, ScaleW: float32(size[1]) / 4}
			for rounding := RoundFloor; rounding <= RoundPreferCeil; rounding++ {
				s.Rounding = rounding
				holds(t, network(t, Shape{C: 6, H: 5, W: 4}, Layer{Kind: Resize, Scaling: &s}))
			}
			s.Linear = true
			holds(t, network(t, Shape{C: 6, H: 5, W: 4}, Layer{Kind: Resize, Scaling: &s}))
		}
	}
}

// TestRunsAllocateNothing asks that a run makes no garbage once a network is loaded.
func TestRunsAllocateNothing(t *testing.T) {
	n := branched(t, 1)
	e := engine(t, n, 2)
	in := picture(n.Input(), 2)
	options := DetectOptions{Threshold: 1.1} // nothing is found
	if allocs := testing.AllocsPerRun(20, func() {
		if _, err := e.Detect(t.Context(), in, options); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("a run allocates %v times", allocs)
	}
}

// TestMemoryPlan asks that storages in use at the same time do not overlap.
func TestMemoryPlan(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	for range 200 {
		var all []*storage
		live := make([]int, 30) // values in use at each step
		for range 1 + rng.IntN(25) {
			first := rng.IntN(len(live))
			s := &storage{size: 1 + rng.IntN(100), first: first, last: first + rng.IntN(len(live)-first)}
			all = append(all, s)
			for i := s.first; i <= s.last; i++ {
				live[i] += roundUp(s.size, alignment)
			}
		}
		size := planMemory(all)
		for i, a := range all {
			for _, b := range all[:i] {
				if a.first <= b.last && b.first <= a.last && a.at < b.at+b.size && b.at < a.at+a.size {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
			}
			if a.at+a.size > size {
				t.Fatalf("%+v ends after the arena of %d", a, size)
			}
		}
		if most := slices.Max(live); size > 2*most {
			t.Errorf("an arena of %d for %d values", size, most)
		}
	}
}
