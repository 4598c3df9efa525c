package gate

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"perigee/models"
)

func rule() Rule {
	return Rule{
		Condition:  Condition{Operator: ">", Threshold: 0.1, Metric: "f1_delta"},
		Confidence: 0.95, Resamples: 1000, ClassMargin: 0.1, Pictures: 5, Seed: 1,
	}
}

func box(i int) models.Box {
	return models.Box{X: 0.05 + 0.1*float32(i%10), Y: 0.05 + 0.1*float32(i/10), W: 0.08, H: 0.08}
}

// picture has objects of the classes, of which the first hits are found, and
// detections of nothing.
func picture(classes []int, hits, wrong int) models.Judged {
	var p models.Judged
	for i, class := range classes {
		p.Truth = append(p.Truth, models.Truth{Class: class, Box: box(i)})
		if i < hits {
			p.Found = append(p.Found, models.Detection{Class: class, Score: 0.9 - 0.01*float32(i), Box: box(i)})
		}
	}
	for i := range wrong {
		p.Found = append(p.Found, models.Detection{Class: classes[0], Score: 0.7, Box: box(50 + i)})
	}
	return p
}

func side(pictures int, of func(i int) models.Judged) Side {
	s := Side{Threshold: 0.5}
	for i := range pictures {
		s.Pictures = append(s.Pictures, of(i))
	}
	return s
}

var four = []int{1, 1, 1, 1}

// found has pictures of four objects, of which each finds some.
func found(pictures, hits, wrong int) Side {
	return side(pictures, func(int) models.Judged { return picture(four, hits, wrong) })
}

func TestDecide(t *testing.T) {
	// A gain that rests on one picture of ten is seen, but not sure.
	lucky := side(10, func(i int) models.Judged {
		if i == 0 {
			return picture([]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 16, 0)
		}
		return picture(four, 1, 0)
	})
	unlucky := side(10, func(i int) models.Judged {
		if i == 0 {
			return picture([]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 0)
		}
		return picture(four, 1, 0)
	})
	// Of four classes, the last is lost while the whole gains.
	before := side(10, func(int) models.Judged { return picture([]int{5, 1, 2, 3}, 1, 0) })
	after := side(10, func(int) models.Judged { p := picture([]int{5, 1, 2, 3}, 4, 0); p.Found = p.Found[1:]; return p })
	for name, test := range map[string]struct {
		old, next Side
		change    func(*Rule)
		reason    string // of not passing
	}{
		"much better":                 {found(10, 1, 0), found(10, 4, 0), nil, ""},
		"the same":                    {found(10, 2, 0), found(10, 2, 0), nil, "f1_delta is 0.000"},
		"worse":                       {found(10, 4, 0), found(10, 1, 0), nil, "f1_delta is -0.600"},
		"not sure":                    {unlucky, lucky, nil, "surely (95 %)"},
		"sure enough at the margin":   {found(10, 2, 0), found(10, 2, 0), func(r *Rule) { r.Threshold, r.Operator = 0, ">=" }, ""},
		"a class lost":                {before, after, nil, "class 5 got worse: F1 on its 10 objects fell from 1.000 to 0.000"},
		"a class lost that may be":    {before, after, func(r *Rule) { r.ClassMargin = 1 }, ""},
		"too few pictures":            {found(4, 1, 0), found(4, 4, 0), nil, "4 held-out pictures cannot judge, want at least 5"},
		"none":                        {Side{}, Side{}, nil, "0 held-out pictures"},
		"another number of pictures":  {found(10, 1, 0), found(9, 4, 0), nil, "on 10 pictures, the new one on 9"},
		"other pictures":              {found(10, 1, 0), side(10, func(int) models.Judged { return picture([]int{1, 1}, 2, 0) }), nil, "picture 0 has other objects"},
		"nothing to find":             {side(10, func(int) models.Judged { return models.Judged{} }), side(10, func(int) models.Judged { return models.Judged{} }), nil, "no object"},
		"precision":                   {found(10, 4, 4), found(10, 4, 1), func(r *Rule) { r.Metric = "precision_delta" }, ""},
		"precision, which is worse":   {found(10, 3, 0), found(10, 4, 4), func(r *Rule) { r.Metric = "precision_delta" }, "precision_delta is -0.500"},
		"recall":                      {found(10, 3, 0), found(10, 4, 1), func(r *Rule) { r.Metric = "recall_delta" }, ""},
		"mean average precision":      {found(10, 2, 0), found(10, 3, 1), func(r *Rule) { r.Metric = "map_delta" }, ""},
		"the new one alone":           {found(10, 4, 0), found(10, 4, 0), func(r *Rule) { r.Metric, r.Threshold = "f1", 0.9 }, ""},
		"the new one alone, too weak": {found(10, 4, 0), found(10, 4, 4), func(r *Rule) { r.Metric, r.Threshold = "precision", 0.9 }, "precision is 0.500"},
		"a metric that is unknown":    {found(10, 1, 0), found(10, 4, 0), func(r *Rule) { r.Metric = "accuracy" }, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			r := rule()
			if test.change != nil {
				test.change(&r)
			}
			d := r.Decide(test.old, test.next)
			if d.Passed != (test.reason == "") || !strings.Contains(d.Reason, test.reason) {
				t.Errorf("%+v, want reason %q", d, test.reason)
			}
			if d.Judged && !(d.Low <= d.Value && d.Value <= d.High) {
				t.Errorf("%v is not within %v to %v", d.Value, d.Low, d.High)
			}
		})
	}
}

func TestDecideRefusesWhatIsNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, spoil := range map[string]func(old, next *Side){
		"score":             func(_, next *Side) { next.Pictures[3].Found[0].Score = nan },
		"score of the old":  func(old, _ *Side) { old.Pictures[0].Found[0].Score = inf },
		"box":               func(_, next *Side) { next.Pictures[9].Found[1].Box.W = -inf },
		"threshold":         func(_, next *Side) { next.Threshold = nan },
		"threshold, too":    func(old, _ *Side) { old.Threshold = inf },
		"label that is NaN": func(_, next *Side) { next.Pictures[0].Truth[0].Box.X = nan },
	} {
		old, next := found(10, 1, 0), found(10, 4, 0)
		spoil(&old, &next)
		d := rule().Decide(old, next)
		if d.Passed || d.Judged || d.Reason == "" {
			t.Errorf("%s: %+v", name, d)
		}
		if _, err := json.Marshal(d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecisionRepeats(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	old := side(30, func(int) models.Judged { return picture(four, rng.IntN(5), rng.IntN(3)) })
	next := side(30, func(int) models.Judged { return picture(four, rng.IntN(5), rng.IntN(3)) })
	first := rule().Decide(old, next)
	if again := rule().Decide(old, next); !reflect.DeepEqual(again, first) {
		t.Errorf("second decision %+v, first %+v", again, first)
	}
	r := rule()
	r.Seed = 2
	if other := r.Decide(old, next); other.Low == first.Low && other.High == first.High {
		t.Error("another seed gives the same interval")
	}
}

// TestIntervalCovers draws pictures from a world where the gain is known, and
// counts how often the interval holds it.
func TestIntervalCovers(t *testing.T) {
	const worlds, pictures = 200, 40
	rng := rand.New(rand.NewPCG(5, 6))
	binomial := func(p float64) (n int) {
		for range four {
			if rng.Float64() < p {
				n++
			}
		}
		return n
	}
	r := rule()
	r.Metric, r.Resamples = "recall_delta", 300
	covered, below := 0, 0
	for range worlds {
		d := r.Decide(
			side(pictures, func(int) models.Judged { return picture(four, binomial(0.5), 0) }),
			side(pictures, func(int) models.Judged { return picture(four, binomial(0.7), 0) }),
		)
		const gain = 0.2
		if d.Low <= gain && gain <= d.High {
			covered++
		}
		if d.Low > gain {
			below++
		}
	}
	if covered < 180 || below > 14 {
		t.Errorf("of %d intervals of 95 %%, %d hold the gain and %d lie above it", worlds, covered, below)
	}
}

func TestMeanAveragePrecision(t *testing.T) {
	score := func(class int, score float32, i int) models.Detection {
		return models.Detection{Class: class, Score: score, Box: box(i)}
	}
	s := Side{Pictures: []models.Judged{{
		Truth: []models.Truth{{Class: 1, Box: box(0)}, {Class: 1, Box: box(1)}, {Class: 2, Box: box(2)}},
		// Class 1: hit, miss, hit: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
		Found: []models.Detection{score(1, 0.9, 0), score(1, 0.8, 5), score(1, 0.7, 1), score(3, 0.9, 7)},
	}}}
	if got, want := newTally(s).meanAP(whole(1)), (0.5+0.5*2/3+0)/2; math.Abs(got-want) > 1e-12 {
		t.Errorf("mean average precision %v, want %v", got, want)
	}
	if got := newTally(s).meanAP(weights{0}); got != 0 {
		t.Errorf("of no picture it is %v", got)
	}
}

func TestRuleValidate(t *testing.T) {
	if err := rule().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Rule){
		"precision_delta, recall_delta, f1_delta, map_delta": func(r *Rule) { r.Metric = "loss" },
		"use one of > gt >= ge":                              func(r *Rule) { r.Operator = "le" },
		"threshold":                                          func(r *Rule) { r.Threshold = 1.5 },
		"confidence":                                         func(r *Rule) { r.Confidence = math.NaN() },
		"resamples":                                          func(r *Rule) { r.Resamples = MaxResamples + 1 },
		"class_margin":                                       func(r *Rule) { r.ClassMargin = 2 },
		"pictures":                                           func(r *Rule) { r.Pictures = 0 },
	} {
		r := rule()
		spoil(&r)
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	r := rule()
	r.Metric, r.Resamples = "map_delta", 2000
	old, next := found(200, 2, 40), found(200, 4, 40)
	for b.Loop() {
		r.Decide(old, next)
	}
}
