package mining

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"perigee/models"
)

func scores(list ...float32) []models.Detection {
	var found []models.Detection
	for i, s := range list {
		found = append(found, models.Detection{Class: i, Score: s})
	}
	return found
}

func TestFilters(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		filter string
		found  []models.Detection
		hard   bool
		value  float64
	}{
		{Threshold, scores(0.5, 0.4), true, 0.45},
		{Threshold, scores(0.5, 0.5), false, 0.5},
		{Threshold, scores(0.9), false, 0.9},
		{Threshold, scores(nan, 0.9), true, 0.45},
		{Threshold, nil, true, 0},
		{CrossEntropy, scores(0.5, 0.5), true, 0},
		{CrossEntropy, scores(1, 0), false, 1},
		{CrossEntropy, scores(1, 1, 1), false, 1},
		{CrossEntropy, scores(0.5), true, 0},
		{CrossEntropy, scores(1), false, 1},
		{CrossEntropy, scores(0), false, 1},
		{CrossEntropy, scores(2, -1), false, 1},
		{CrossEntropy, scores(0.95, 0.05), false, 1 + (0.95*math.Log(0.95)+0.05*math.Log(0.05))/math.Ln2},
		{CrossEntropy, nil, true, 0},
		{IBT, scores(0.5, 0.9), true, 0.5},
		{IBT, scores(0.51, 0.9), false, 0},
		{IBT, scores(0.1, 0.8, 0.9), false, 1.0 / 3},
		{IBT, nil, true, 1},
	} {
		f, err := New(Config{Name: c.filter}, nil)
		if err != nil {
			t.Fatal(err)
		}
		v := f.Judge(c.found)
		if v.Hard != c.hard || math.Abs(v.Value-c.value) > 1e-6 || f.Name() != c.filter {
			t.Errorf("%s of %v is %+v, want hard %v at %g", f.Name(), c.found, v, c.hard, c.value)
		}
	}
}

func TestParametersMoveTheLimit(t *testing.T) {
	found := scores(0.6, 0.4)
	for _, c := range []struct {
		config Config
		hard   bool
	}{
		{Config{Threshold, map[string]float64{"threshold": 0.51}}, true},
		{Config{Threshold, map[string]float64{"threshold": 0.49}}, false},
		{Config{CrossEntropy, map[string]float64{"threshold_cross_entropy": 0}}, false},
		{Config{CrossEntropy, map[string]float64{"threshold_cross_entropy": 0.2}}, true},
		{Config{IBT, map[string]float64{"threshold_box": 0.3}}, false},
		{Config{IBT, map[string]float64{"threshold_img": 0.4}}, false},
		{Config{IBT, map[string]float64{"threshold_box": 0.6, "threshold_img": 0}}, true},
	} {
		f, err := New(c.config, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v := f.Judge(found); v.Hard != c.hard {
			t.Errorf("%+v: %+v, want hard %v", c.config, v, c.hard)
		}
	}
}

func TestRandomKeepsItsRatio(t *testing.T) {
	draw := func(config Config) (hard int, trace []float64) {
		f, err := New(config, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		for range 10000 {
			v := f.Judge(nil)
			if v.Hard {
				hard++
			}
			trace = append(trace, v.Value)
		}
		return hard, trace
	}
	hard, first := draw(Config{Name: Random})
	if hard < 2850 || hard > 3150 {
		t.Errorf("%d of 10000 are hard, want about 3000", hard)
	}
	_, second := draw(Config{Name: Random})
	for i := range first {
		if first[i] != second[i] {
			t.Fatalf("draw %d differs with the same seed", i)
		}
	}
	if none, _ := draw(Config{Random, map[string]float64{"random_ratio": 0}}); none != 0 {
		t.Errorf("ratio 0 gives %d", none)
	}
	if all, _ := draw(Config{Random, map[string]float64{"random_ratio": 1}}); all != 10000 {
		t.Errorf("ratio 1 gives %d", all)
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, c := range []Config{
		{},
		{Name: "threshold"},
		{Name: Threshold, Params: map[string]float64{"threshold_box": 0.5}},
		{Name: Threshold, Params: map[string]float64{"threshold": 1.5}},
		{Name: IBT, Params: map[string]float64{"threshold_img": -0.1}},
		{Name: CrossEntropy, Params: map[string]float64{"threshold_cross_entropy": math.NaN()}},
	} {
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: error %v, want ErrConfig", c, err)
		}
		if _, err := New(c, rand.New(rand.NewPCG(1, 1))); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: error %v, want ErrConfig", c, err)
		}
	}
	if _, err := New(Config{Name: Random}, nil); !errors.Is(err, ErrConfig) {
		t.Errorf("random without a source: error %v, want ErrConfig", err)
	}
	for _, name := range Names() {
		if err := (Config{Name: name}).Validate(); err != nil {
			t.Error(err)
		}
	}
}
