package lesson

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"perigee/models"
	"perigee/models/payload"
	"perigee/models/train"
)

// network has a backbone of one convolution and a head of two.
func network(t *testing.T) *models.Network {
	t.Helper()
	conv := func(filters, size, stride int, a models.Activation) models.Layer {
		return models.Layer{Kind: models.Convolution, Filters: filters, Size: size, Stride: stride, Pad: size / 2, Activation: a}
	}
	graph := models.Graph{Input: models.Shape{C: 1, H: 16, W: 16}, Head: 1, Layers: []models.Layer{
		conv(8, 3, 4, models.Leaky), conv(12, 3, 1, models.Leaky), conv(6, 1, 1, models.Linear),
		{Kind: models.YOLO, Classes: 1, Anchors: []models.Anchor{{W: 4, H: 4}}},
	}}
	convs, err := graph.Convolutions()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var params []float32
	for _, c := range convs {
		for range c.Out.C * (c.Columns + 1) {
			params = append(params, float32(rng.NormFloat64()*0.3))
		}
	}
	n, err := models.NewNetwork(graph, params)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// samples are dark pictures with a bright square, which is the object.
func samples(t *testing.T, e models.Engine, count int) []Sample {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	all := make([]Sample, count)
	for i := range all {
		picture := models.NewTensor(models.Shape{C: 1, H: 16, W: 16})
		column, row := rng.IntN(4), rng.IntN(4)
		for j := range picture.Data {
			picture.Data[j] = 0.1 * rng.Float32()
			if j%16/4 == column && j/64 == row {
				picture.Data[j] = 1
			}
		}
		features, err := e.Backbone(t.Context(), picture)
		if err != nil {
			t.Fatal(err)
		}
		truth := models.Truth{Box: models.Box{X: (float32(column) + 0.5) / 4, Y: (float32(row) + 0.5) / 4, W: 0.25, H: 0.25}}
		all[i] = Sample{ID: models.HashBytes([]byte{byte(i)}), Sample: train.Sample{Features: features, Truth: []models.Truth{truth}}}
	}
	return all
}

// class is a network, an engine of it, and samples that it can be taught.
func class(t *testing.T) (*models.Network, models.Engine, []Sample) {
	t.Helper()
	net := network(t)
	engine, err := models.NewEngine(net, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return net, engine, samples(t, engine, 48)
}

func TestLearn(t *testing.T) {
	net, engine, all := class(t)
	course := payload.Course{Epochs: 60, Batch: 8, Rank: 4, Rate: 0.02, Seed: 1, HeldOut: 0.25, MinGain: 0.1}
	o, err := Learn(t.Context(), net, all, course, Means{Engine: engine, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if o.Trained+o.Judged != len(all) || o.Judged == 0 || o.New.F1 < o.Old.F1+0.1 {
		t.Errorf("learned on %d, judged on %d: F1 %.3f after %.3f", o.Trained, o.Judged, o.New.F1, o.Old.F1)
	}
	if d := o.Decision; !d.Passed || d.Low <= course.MinGain || d.Pictures != o.Judged {
		t.Errorf("decision %+v", d)
	}
	again, err := Learn(t.Context(), net, all, course, Means{Engine: engine, Threads: 1})
	if err != nil || !reflect.DeepEqual(again.Decision, o.Decision) {
		t.Errorf("the second time: %+v, the first %+v: %v", again, o.Decision, err)
	}
	// A gain that is seen, but not sure.
	unsure := course
	unsure.MinGain = (o.Decision.Low + o.Decision.Value) / 2
	if _, err := Learn(t.Context(), net, all, unsure, Means{Engine: engine, Threads: 1}); !errors.Is(err, ErrGain) || !strings.Contains(err.Error(), "surely") {
		t.Errorf("a gain that is not sure: %v", err)
	}
	// Whoever has the delta has the network that was judged.
	made, err := o.Delta.Apply(net)
	if err != nil || made.Hash() != o.Network.Hash() || o.Delta.Result != made.Hash() {
		t.Errorf("the delta makes %v, not %v: %v", made.Hash(), o.Network.Hash(), err)
	}
	for name, test := range map[string]struct {
		samples []Sample
		change  func(*payload.Course)
		want    error
	}{
		"nothing to learn from": {nil, nil, ErrSamples},
		"nothing to judge":      {all[:1], func(c *payload.Course) { c.HeldOut = 1e-9 }, ErrSamples},
		"too few to judge":      {all, func(c *payload.Course) { c.HeldOut = 0.05 }, ErrSamples},
		"too little gained":     {all, func(c *payload.Course) { c.Epochs, c.MinGain = 1, 1 }, ErrGain},
		"no such rank":          {all, func(c *payload.Course) { c.Rank = train.MaxRank + 1 }, train.ErrOptions},
	} {
		c := course
		if test.change != nil {
			test.change(&c)
		}
		if _, err := Learn(t.Context(), net, test.samples, c, Means{Engine: engine, Threads: 1}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestNothingFoundNamesNoThreshold lets a lesson pass that asks for no gain, where
// neither network finds anything: the satellite's own threshold has to hold.
func TestNothingFoundNamesNoThreshold(t *testing.T) {
	net, engine, all := class(t)
	for i := range all {
		all[i].Truth[0].Class = 7 // which the network does not know
	}
	var judges []train.Sample
	for _, s := range all[:12] {
		judges = append(judges, s.Sample)
	}
	o := Outcome{Network: net}
	if err := o.judge(t.Context(), engine, net, judges, rule(payload.Course{MinGain: -1})); err != nil {
		t.Fatal(err)
	}
	if o.New.F1 != 0 || o.New.Threshold != 0 {
		t.Errorf("F1 %.3f at threshold %v, want 0 at 0", o.New.F1, o.New.Threshold)
	}
}

func TestHeldOutIsAShare(t *testing.T) {
	held := 0
	for i := range 4000 {
		id := models.HashBytes([]byte{byte(i), byte(i >> 8)})
		if HeldOut(id, 0) {
			t.Fatal("a share of nothing holds one out")
		}
		if HeldOut(id, 0.2) {
			held++
		}
	}
	if held < 700 || held > 900 {
		t.Errorf("%d of 4000 are held out, want a fifth", held)
	}
}
