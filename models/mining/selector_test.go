package mining

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"perigee/models"
)

// view is the sketch of a scene, with a little noise.
func view(scene uint64, noise float64) Sketch {
	rng := rand.New(rand.NewPCG(scene, 9))
	jitter := rand.New(rand.NewPCG(scene, math.Float64bits(noise)))
	s := make(Sketch, SketchSize)
	for i := range s {
		s[i] = float32(rng.NormFloat64() + noise*jitter.NormFloat64())
	}
	return s
}

func TestSketch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	features := func(of func(c int) float64) models.Features {
		f := models.Features{models.NewTensor(models.Shape{C: 40, H: 3, W: 2}), models.NewTensor(models.Shape{C: 90, H: 1, W: 1})}
		for _, tap := range f {
			for c := range tap.C {
				v := of(c)
				for i := range tap.Channel(c) {
					tap.Channel(c)[i] = float32(v)
				}
			}
		}
		return f
	}
	base := features(func(int) float64 { return rng.NormFloat64() })
	near := models.Features{base[0].Clone(), base[1].Clone()}
	for _, tap := range near {
		for i := range tap.Data {
			tap.Data[i] *= 1.05
		}
	}
	far := features(func(int) float64 { return rng.NormFloat64() })
	s := NewSketch(base)
	if d := s.Distance(NewSketch(base)); d != 0 {
		t.Errorf("distance to itself is %v", d)
	}
	if d := s.Distance(NewSketch(near)); math.Abs(d-0.05) > 0.01 {
		t.Errorf("5 %% more of everything is %v away", d)
	}
	if d := s.Distance(NewSketch(far)); d < 0.8 || d > 2 {
		t.Errorf("something else is %v away", d)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var again Sketch
	if err := again.UnmarshalText(text); err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("read %v, %v", again, err)
	}
	for n := range text {
		if err := new(Sketch).UnmarshalText(text[:n]); err == nil {
			t.Fatalf("cut at %d of %d it is read", n, len(text))
		}
	}
	bad := append(Sketch(nil), s...)
	bad[3] = float32(math.NaN())
	for _, other := range []Sketch{nil, s[:4], bad} {
		if d := s.Distance(other); d != 1 {
			t.Errorf("distance to what cannot be compared is %v", d)
		}
	}
	if d := make(Sketch, SketchSize).Distance(make(Sketch, SketchSize)); d != 0 {
		t.Errorf("two black pictures are %v apart", d)
	}
}

func selector(t *testing.T, name string, o Options) *Selector {
	t.Helper()
	f, err := New(Config{Name: name}, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	return NewSelector(f, o, Memory{}, models.Hash{1})
}

func TestNoDetection(t *testing.T) {
	for _, test := range []struct {
		filter string
		on     bool
		hard   bool
		by     string
	}{
		{Threshold, true, true, NoDetection},
		{IBT, true, true, NoDetection},
		{CrossEntropy, false, false, NoDetection},
		{Random, false, true, Random}, // the first draw of the seed is below its ratio
	} {
		o := DefaultOptions()
		o.NoDetection = test.on
		s := selector(t, test.filter, o)
		c := s.Choose(nil, nil)
		if test.filter == Random {
			test.hard = c.Hard
		}
		if c.Hard != test.hard || c.Filter != test.by || c.Worth == 0 || c.Worth > MaxWorth {
			t.Errorf("%s, no_detection %v: %+v", test.filter, test.on, c)
		}
	}
}

func TestWorthFollowsTheFilter(t *testing.T) {
	for filter, order := range map[string][][]models.Detection{ // from easy to hard
		Threshold:    {scores(0.9, 0.8), scores(0.5), scores(0.3)},
		CrossEntropy: {scores(1), scores(0.9), scores(0.5)},
		IBT:          {scores(0.9, 0.9), scores(0.9, 0.3), scores(0.1, 0.3)},
	} {
		s := selector(t, filter, DefaultOptions())
		last := uint32(0)
		for _, found := range order {
			c := s.Choose(found, nil)
			if c.Worth <= last || c.Worth > MaxWorth {
				t.Errorf("%s: %v is worth %d, behind %d", filter, found, c.Worth, last)
			}
			last = c.Worth
		}
	}
}

func TestRepeatsAndDisagreement(t *testing.T) {
	o := DefaultOptions()
	o.Same, o.Disagreement = 0.2, 0.5
	s := selector(t, Threshold, o)
	ships := []models.Detection{{Class: 8, Score: 0.4}, {Class: 8, Score: 0.3}}
	first := s.Choose(ships, view(1, 0))
	if !first.Hard || first.Repeat {
		t.Fatalf("first picture %+v", first)
	}
	s.Remember(first, true)
	// The same again, from a little elsewhere.
	again := s.Choose(ships, view(1, 0.05))
	if !again.Hard || !again.Repeat || again.Worth > first.Worth {
		t.Errorf("the same again %+v, the first was %+v", again, first)
	}
	s.Remember(again, false)
	if third := s.Choose(ships, view(1, 0.06)); !third.Repeat {
		t.Errorf("that it was sent is forgotten: %+v", third)
	}
	// The same place, and the ships, which were sure now, are gone.
	sure := []models.Detection{{Class: 4, Score: 0.99}}
	c := s.Choose(sure, view(1, 0.05))
	if !c.Hard || c.Repeat || c.Filter != Disagreement || c.Value != 1 {
		t.Errorf("something else at the same place %+v", c)
	}
	// Elsewhere it is just easy.
	if c := s.Choose(sure, view(2, 0)); c.Hard || c.Repeat {
		t.Errorf("elsewhere %+v", c)
	}
	// What was not sent is no repeat.
	s.Remember(s.Choose(ships, view(3, 0)), false)
	if c := s.Choose(ships, view(3, 0)); c.Repeat || !c.Hard {
		t.Errorf("what was not sent %+v", c)
	}
}

func TestNovelty(t *testing.T) {
	o := DefaultOptions()
	o.Novelty, o.Memory = 0.75, 20
	s := selector(t, Threshold, o)
	sure := []models.Detection{{Class: 1, Score: 0.99}}
	near := func(i int) Sketch { // of scenes that have much in common
		v, own := view(100, 0), view(uint64(200+i), 0)
		for j := range v {
			v[j] += 0.3 * own[j]
		}
		return v
	}
	for i := range 30 {
		c := s.Choose(sure, near(i))
		if c.Hard {
			t.Fatalf("picture %d is hard: %+v", i, c)
		}
		s.Remember(c, false)
	}
	if n := len(s.Memory().Seen); n != 20 {
		t.Errorf("%d pictures are remembered, want the last 20", n)
	}
	odd := s.Choose(sure, view(7, 0))
	if !odd.Hard || odd.Filter != Novelty || odd.Value < 0.75 {
		t.Errorf("odd picture %+v", odd)
	}
	if usual := s.Choose(sure, near(99)); usual.Hard || usual.Worth >= odd.Worth {
		t.Errorf("usual picture %+v", usual)
	}
}

func TestMemoryIsKept(t *testing.T) {
	o := DefaultOptions()
	o.Same = 0.2
	s := selector(t, Threshold, o)
	s.Remember(s.Choose(scores(0.1), view(1, 0)), true)
	s.Remember(s.Choose(nil, view(2, 0)), false)
	data, err := json.Marshal(s.Memory())
	if err != nil {
		t.Fatal(err)
	}
	var m Memory
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(m); err != nil || !bytes.Equal(again, data) {
		t.Fatalf("read %s, want %s; %v", again, data, err)
	}
	filter, err := New(Config{Name: Threshold}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c := NewSelector(filter, o, m, models.Hash{1}).Choose(scores(0.1), view(1, 0)); !c.Repeat {
		t.Errorf("with what was kept: %+v", c)
	}
	if c := NewSelector(filter, o, m, models.Hash{2}).Choose(scores(0.1), view(1, 0)); c.Repeat {
		t.Errorf("sketches of another backbone are used: %+v", c)
	}
}

func TestOptionsValidate(t *testing.T) {
	for _, spoil := range []func(*Options){
		func(o *Options) { o.Same = 1.1 },
		func(o *Options) { o.Novelty = math.NaN() },
		func(o *Options) { o.Disagreement = 0.5 },
		func(o *Options) { o.Memory = 0 },
		func(o *Options) { o.Memory = MaxMemory + 1 },
	} {
		o := DefaultOptions()
		spoil(&o)
		if err := o.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}
