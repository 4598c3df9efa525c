package train

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"perigee/models"
)

// smallNetwork has a backbone of two convolutions and a head like that of
// yolov3-tiny: two outputs, a route back, an upsampling and a joined map.
func smallNetwork(t testing.TB) *models.Network {
	t.Helper()
	conv := func(filters, size, stride int, a models.Activation) models.Layer {
		return models.Layer{Kind: models.Convolution, Filters: filters, Size: size, Stride: stride, Pad: size / 2, Activation: a}
	}
	yolo := func(anchors ...models.Anchor) models.Layer {
		return models.Layer{Kind: models.YOLO, Classes: 3, Anchors: anchors}
	}
	graph := models.Graph{
		Input: models.Shape{C: 3, H: 24, W: 24},
		Head:  2,
		Layers: []models.Layer{
			conv(4, 3, 2, models.Leaky),                                  // 0: 12 x 12
			conv(6, 3, 2, models.Leaky),                                  // 1: 6 x 6
			conv(8, 3, 1, models.Leaky),                                  // 2
			conv(16, 1, 1, models.Linear),                                // 3
			yolo(models.Anchor{W: 9, H: 9}, models.Anchor{W: 14, H: 18}), // 4
			{Kind: models.Route, From: []int{2}},                         // 5
			conv(5, 1, 1, models.Leaky),                                  // 6
			{Kind: models.Upsample, Stride: 2},                           // 7
			{Kind: models.Route, From: []int{7, 0}},                      // 8
			conv(7, 3, 1, models.Leaky),                                  // 9
			conv(8, 1, 1, models.Linear),                                 // 10
			yolo(models.Anchor{W: 3, H: 4}),                              // 11
		},
	}
	convs, err := graph.Convolutions()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, c := range convs {
		count += c.Out.C * (c.Columns + 1)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	params := make([]float32, count)
	for i := range params {
		params[i] = float32(rng.NormFloat64() * 0.2)
	}
	net, err := models.NewNetwork(graph, params)
	if err != nil {
		t.Fatal(err)
	}
	return net
}

// smallSamples are random pictures with one object of either size.
func smallSamples(t testing.TB, net *models.Network, n int) []Sample {
	t.Helper()
	engine, err := models.NewEngine(net, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	rng := rand.New(rand.NewPCG(5, 6))
	samples := make([]Sample, n)
	for i := range samples {
		picture := models.NewTensor(net.Input())
		for j := range picture.Data {
			picture.Data[j] = rng.Float32()
		}
		features, err := engine.Backbone(context.Background(), picture)
		if err != nil {
			t.Fatal(err)
		}
		box := func(size float32) models.Box {
			return models.Box{X: 0.2 + 0.6*rng.Float32(), Y: 0.2 + 0.6*rng.Float32(), W: size, H: size * 1.1}
		}
		samples[i] = Sample{Features: features, Truth: []models.Truth{
			{Class: i % 3, Box: box(0.15)}, {Class: (i + 1) % 3, Box: box(0.5)},
		}}
	}
	return samples
}

// TestForwardAgreesWithEngine compares the graph's maps with the engine's.
func TestForwardAgreesWithEngine(t *testing.T) {
	net := smallNetwork(t)
	sample := smallSamples(t, net, 1)[0]
	engine, err := models.NewEngine(net, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	want, err := engine.Head(context.Background(), sample.Features)
	if err != nil {
		t.Fatal(err)
	}
	vars := newVariables(net, Options{}, nil)
	s, err := newStem(net, vars, net.Taps(), net.Outputs())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for range 2 { // a second run must not see the first
		got, err := s.run([][]float32{sample.Features[0].Data, sample.Features[1].Data})
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			for j, v := range want[i].Data {
				if math.Abs(float64(got[i][j]-v)) > 1e-4 {
					t.Fatalf("output %d, value %d: %v, engine says %v", i, j, got[i][j], v)
				}
			}
		}
	}
}

// TestGradients compares every kind of parameter with finite differences.
func TestGradients(t *testing.T) {
	for name, opts := range map[string]Options{"whole": {Seed: 1}, "rank 2": {Rank: 2, Seed: 1}} {
		t.Run(name, func(t *testing.T) {
			net := smallNetwork(t)
			opts, err := opts.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			tr, err := newTrainer(context.Background(), net, Data{Learn: smallSamples(t, net, 1)}, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.close()
			rng := rand.New(rand.NewPCG(7, 8))
			for _, v := range tr.vars.trained {
				for i := range v.data() { // the left factor starts at zero; move off it
					v.data()[i] += float32(rng.NormFloat64() * 0.02)
				}
			}
			l := tr.lanes[0]
			loss := func() float64 {
				t.Helper()
				l.clear()
				if err := l.add(tr.learn[0]); err != nil {
					t.Fatal(err)
				}
				return l.total
			}
			loss()
			grads := make([][]float32, len(l.sums))
			for i, sum := range l.sums {
				grads[i] = slices.Clone(sum)
			}
			for i, v := range tr.vars.trained {
				compareGradient(t, v, grads[i], rng, loss)
			}
		})
	}
}

func compareGradient(t *testing.T, v *variable, grad []float32, rng *rand.Rand, loss func() float64) {
	t.Helper()
	const step = 1e-3
	bad, checked := 0, 0
	for range 12 {
		i := rng.IntN(len(grad))
		kept := v.data()[i]
		v.data()[i] = kept + step
		above := loss()
		v.data()[i] = kept - step
		below := loss()
		v.data()[i] = kept
		want := (above - below) / (2 * step)
		checked++
		if math.Abs(want-float64(grad[i])) > 0.02*math.Abs(want)+0.02 {
			bad++
			t.Logf("%s[%d]: gradient %.4f, differences say %.4f", v.name, i, grad[i], want)
		}
	}
	// A step over the bend of an activation may spoil one comparison.
	if bad > 1 {
		t.Errorf("%s: %d of %d gradients are wrong", v.name, bad, checked)
	}
}

func TestTrainingLowersTheLoss(t *testing.T) {
	net := smallNetwork(t)
	samples := smallSamples(t, net, 12)
	for name, opts := range map[string]Options{
		"all": {}, "last": {Layers: Last}, "rank 2": {Rank: 2}, "last, rank 2": {Layers: Last, Rank: 2},
	} {
		t.Run(name, func(t *testing.T) {
			var first, last float64
			steps := 0
			opts.Epochs, opts.Batch, opts.LearningRate = 30, 4, 5e-3
			opts.Progress = func(p Progress) {
				if steps++; p.Step != steps || p.Steps != 90 || p.Epoch != (steps+2)/3 || p.Left != 0 {
					t.Errorf("step %d: %+v", steps, p)
				}
				if p.Step == 1 {
					first = p.Loss
				}
				last = p.Loss
			}
			trained, err := Head(context.Background(), net, Data{Learn: samples}, opts)
			if err != nil {
				t.Fatal(err)
			}
			if !(last < 0.7*first) {
				t.Errorf("loss went from %.3f to %.3f", first, last)
			}
			if trained.BackboneHash() != net.BackboneHash() || trained.HeadHash() == net.HeadHash() {
				t.Error("the backbone changed or the head did not")
			}
			checkUntouched(t, net, trained, opts)
		})
	}
}

// checkUntouched looks at the convolutions that were not to be trained, and at
// the rank of the others' change.
func checkUntouched(t *testing.T, before, after *models.Network, opts Options) {
	t.Helper()
	for i, was := range before.HeadConvs() {
		is := after.HeadConvs()[i]
		fixed := opts.Layers == Last && was.Layer != 3 && was.Layer != 10
		if same := slices.Equal(was.Weights, is.Weights) && slices.Equal(was.Bias, is.Bias); same != fixed {
			t.Errorf("layer %d unchanged: %v, want %v", was.Layer, same, fixed)
		}
	}
}

func TestTrainingIsReproducible(t *testing.T) {
	net := smallNetwork(t)
	samples := smallSamples(t, net, 9) // the last batch is short
	for name, opts := range map[string]Options{"all": {}, "last": {Layers: Last}, "rank 3": {Rank: 3}} {
		t.Run(name, func(t *testing.T) {
			opts.Epochs, opts.Batch, opts.Seed = 3, 4, 11
			hash := func(threads int, seed uint64) models.Hash {
				o := opts
				o.Threads, o.Seed = threads, seed
				trained, err := Head(context.Background(), net, Data{Learn: samples}, o)
				if err != nil {
					t.Fatal(err)
				}
				return trained.Hash()
			}
			first := hash(2, 11)
			if first != hash(2, 11) {
				t.Error("two runs gave two heads")
			}
			if first != hash(1, 11) {
				t.Error("the number of threads changed the head")
			}
			if first == hash(2, 12) {
				t.Error("another seed gave the same head")
			}
		})
	}
}

func TestHeadStopsBetweenSteps(t *testing.T) {
	net := smallNetwork(t)
	samples := smallSamples(t, net, 8)
	ctx, cancel := context.WithCancel(context.Background())
	steps := 0
	_, err := Head(ctx, net, Data{Learn: samples}, Options{Epochs: 100, Batch: 1, Progress: func(Progress) {
		if steps++; steps == 3 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || steps != 3 {
		t.Errorf("after %d steps: %v, want context.Canceled after 3", steps, err)
	}
}

func TestHeadRefuses(t *testing.T) {
	net := smallNetwork(t)
	good := smallSamples(t, net, 1)[0]
	huge := Sample{}
	for _, f := range good.Features {
		f = f.Clone()
		for i := range f.Data {
			f.Data[i] = 3e38
		}
		huge.Features = append(huge.Features, f)
	}
	with := func(truth models.Truth) []Sample { return []Sample{{good.Features, []models.Truth{truth}}} }
	box := models.Box{X: 0.5, Y: 0.5, W: 0.1, H: 0.1}
	nan := float32(math.NaN())
	tests := map[string]struct {
		samples []Sample
		opts    Options
		want    error
	}{
		"no samples":      {nil, Options{}, ErrSample},
		"no features":     {[]Sample{{}}, Options{}, ErrSample},
		"wrong features":  {[]Sample{{Features: models.Features{good.Features[1], good.Features[0]}}}, Options{}, ErrSample},
		"short features":  {[]Sample{{Features: models.Features{{Shape: good.Features[0].Shape}, good.Features[1]}}}, Options{}, ErrSample},
		"class":           {with(models.Truth{Class: 3, Box: box}), Options{}, ErrSample},
		"negative class":  {with(models.Truth{Class: -1, Box: box}), Options{}, ErrSample},
		"empty box":       {with(models.Truth{Box: models.Box{X: 0.5, Y: 0.5}}), Options{}, ErrSample},
		"outside":         {with(models.Truth{Box: models.Box{X: 1.5, Y: 0.5, W: 0.1, H: 0.1}}), Options{}, ErrSample},
		"NaN":             {with(models.Truth{Box: models.Box{X: nan, Y: nan, W: nan, H: nan}}), Options{}, ErrSample},
		"negative epochs": {[]Sample{good}, Options{Epochs: -1}, ErrOptions},
		"huge batch":      {[]Sample{good}, Options{Batch: MaxBatch + 1}, ErrOptions},
		"threads":         {[]Sample{good}, Options{Threads: 3}, ErrOptions},
		"rank":            {[]Sample{good}, Options{Rank: -1}, ErrOptions},
		"layers":          {[]Sample{good}, Options{Layers: 9}, ErrOptions},
		"NaN rate":        {[]Sample{good}, Options{LearningRate: math.NaN()}, ErrOptions},
		"replay share":    {[]Sample{good}, Options{ReplayShare: 1}, ErrOptions},
		"patience":        {[]Sample{good}, Options{Patience: -1}, ErrOptions},
		"overflow":        {[]Sample{huge}, Options{}, ErrDiverged},
	}
	for name, test := range tests {
		if _, err := Head(context.Background(), net, Data{Learn: test.samples}, test.opts); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestAssign(t *testing.T) {
	net := smallNetwork(t)
	outs := outputs(net)
	small := models.Truth{Class: 2, Box: models.Box{X: 0.26, Y: 0.51, W: 3. / 24, H: 8. / 24}}
	large := models.Truth{Class: 1, Box: models.Box{X: 1, Y: 1, W: 0.48, H: 0.48}}
	targets := assign(outs, net.Input(), []models.Truth{small, large})
	coarse, fine := targets[0], targets[1]
	field := func(target []float32, area, anchor, field, cell int) float32 {
		return target[(anchor*targetFields+field)*area+cell]
	}
	// The small object is in column 3, row 6 of 12 x 12, twice as high as the anchor.
	for f, want := range map[int]float32{
		targetState: object, targetX: 0.12, targetY: 0.12, targetW: 0, targetH: float32(math.Log(2)), targetClass: 2,
	} {
		if got := field(fine, 144, 0, f, 6*12+3); math.Abs(float64(got-want)) > 1e-5 {
			t.Errorf("small object, field %d: %v, want %v", f, got, want)
		}
	}
	// The large one is at the very corner: 11.5 x 11.5 px overlap 9 x 9 best, and 14 x 18 by over a half.
	last := 6*6 - 1
	if got := field(coarse, 36, 0, targetState, last); got != object {
		t.Errorf("large object: state %v, want %d", got, object)
	}
	if got := field(coarse, 36, 1, targetState, last); got != ignored {
		t.Errorf("other anchor: state %v, want %d", got, ignored)
	}
	busy := 0
	for a := range 2 {
		for cell := range 36 {
			if field(coarse, 36, a, targetState, cell) != background {
				busy++
			}
		}
	}
	if busy != 2 {
		t.Errorf("%d cells are not background, want 2", busy)
	}
}
