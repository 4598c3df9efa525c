// Package mining decides which pictures are hard: worth sending to the ground,
// because the network was unsure of what it saw. The filters have the names,
// parameters and defaults of Sedna's, with its known faults mended: a picture
// with no detection at all is hard, a probability of zero and a single class are
// no error, and scores that are not from 0 to 1 are brought there instead of
// making a picture easy.
//
// Filters are pure. Only Random draws numbers, from the source it is given.
package mining

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"perigee/models"
)

// The names of the filters.
const (
	Threshold    = "Threshold"    // mean score of the boxes < threshold
	CrossEntropy = "CrossEntropy" // 1 - normalised entropy of the scores < threshold
	IBT          = "IBT"          // share of boxes scoring <= threshold_box is >= 1 - threshold_img
	Random       = "Random"       // a share of ratio, whatever was seen
)

// ErrConfig is wrapped by errors about a filter's name or parameters.
var ErrConfig = errors.New("unusable hard-example filter")

// Config names a filter and its parameters. Parameters that are absent take
// their default.
type Config struct {
	Name   string             `json:"name" toml:"name"`
	Params map[string]float64 `json:"params,omitempty" toml:"params,omitempty"`
}

// Verdict is what a filter says of one picture.
type Verdict struct {
	Hard  bool
	Value float64 // what was compared; low is hard, but for IBT, where high is
}

// A Filter judges pictures by what a network found in them.
type Filter interface {
	// Name returns the filter's name, one of this package's constants.
	Name() string
	// Judge judges one picture. A picture without detections is hard, but for
	// Random, which does not look.
	Judge(found []models.Detection) Verdict
}

// defaults returns the parameters that a filter knows, with their defaults, or
// nil when there is no such filter. Every parameter lies from 0 to 1.
func defaults(name string) map[string]float64 {
	switch name {
	case Threshold:
		return map[string]float64{"threshold": 0.5}
	case CrossEntropy:
		return map[string]float64{"threshold_cross_entropy": 0.5}
	case IBT:
		return map[string]float64{"threshold_box": 0.5, "threshold_img": 0.5}
	case Random:
		return map[string]float64{"random_ratio": 0.3}
	}
	return nil
}

// Names returns the names of the filters.
func Names() []string { return []string{Threshold, CrossEntropy, IBT, Random} }

// New returns the filter that c describes. Random draws from source, which the
// filter then owns and which must not be nil for it. Errors wrap ErrConfig.
func New(c Config, source *rand.Rand) (Filter, error) {
	p, err := c.resolve()
	if err != nil {
		return nil, err
	}
	switch c.Name {
	case Threshold:
		return thresholdFilter{p["threshold"]}, nil
	case CrossEntropy:
		return crossEntropyFilter{p["threshold_cross_entropy"]}, nil
	case IBT:
		return ibtFilter{box: p["threshold_box"], img: p["threshold_img"]}, nil
	}
	if source == nil {
		return nil, fmt.Errorf("%w: %s needs a source of random numbers", ErrConfig, c.Name)
	}
	return randomFilter{ratio: p["random_ratio"], source: source}, nil
}

// Validate reports whether New would accept c. Errors wrap ErrConfig.
func (c Config) Validate() error {
	_, err := c.resolve()
	return err
}

// resolve returns the parameters of c with defaults filled in.
func (c Config) resolve() (map[string]float64, error) {
	params := defaults(c.Name)
	if params == nil {
		return nil, fmt.Errorf("%w: %.40q is not a filter; use one of %s", ErrConfig, c.Name, strings.Join(Names(), ", "))
	}
	known := slices.Sorted(maps.Keys(params))
	for _, key := range slices.Sorted(maps.Keys(c.Params)) {
		if _, ok := params[key]; !ok {
			return nil, fmt.Errorf("%w: %s has no parameter %.40q; it has %s", ErrConfig, c.Name, key, strings.Join(known, ", "))
		}
		if v := c.Params[key]; !(v >= 0 && v <= 1) {
			return nil, fmt.Errorf("%w: %s: %s is %v, want 0 to 1", ErrConfig, c.Name, key, v)
		}
		params[key] = c.Params[key]
	}
	return params, nil
}

// score returns the score of d from 0 to 1; what is no number counts as 0.
func score(d models.Detection) float64 {
	if s := float64(d.Score); s > 0 {
		return min(s, 1)
	}
	return 0
}

type thresholdFilter struct{ threshold float64 }

func (thresholdFilter) Name() string { return Threshold }

func (f thresholdFilter) Judge(found []models.Detection) Verdict {
	if len(found) == 0 {
		return Verdict{Hard: true}
	}
	sum := 0.0
	for _, d := range found {
		sum += score(d)
	}
	mean := sum / float64(len(found))
	return Verdict{Hard: mean < f.threshold, Value: mean}
}

type crossEntropyFilter struct{ threshold float64 }

func (crossEntropyFilter) Name() string { return CrossEntropy }

// Judge computes 1 + sum p ln p / ln n over the n scores. A single score is
// taken together with its complement, as two outcomes: ln 1 would divide by zero.
func (f crossEntropyFilter) Judge(found []models.Detection) Verdict {
	if len(found) == 0 {
		return Verdict{Hard: true}
	}
	sum, outcomes := 0.0, len(found)
	for _, d := range found {
		sum += pLogP(score(d))
	}
	if outcomes == 1 {
		sum += pLogP(1 - score(found[0]))
		outcomes = 2
	}
	value := 1 + sum/math.Log(float64(outcomes))
	return Verdict{Hard: value < f.threshold, Value: value}
}

// pLogP returns p ln p, which tends to 0 as p does.
func pLogP(p float64) float64 {
	if p <= 0 {
		return 0
	}
	return p * math.Log(p)
}

type ibtFilter struct{ box, img float64 }

func (ibtFilter) Name() string { return IBT }

func (f ibtFilter) Judge(found []models.Detection) Verdict {
	if len(found) == 0 {
		return Verdict{Hard: true, Value: 1}
	}
	unsure := 0
	for _, d := range found {
		// At the precision of scores, so that 0.6 is not above 0.6.
		if float32(score(d)) <= float32(f.box) {
			unsure++
		}
	}
	share := float64(unsure) / float64(len(found))
	return Verdict{Hard: share >= 1-f.img, Value: share}
}

type randomFilter struct {
	ratio  float64
	source *rand.Rand
}

func (randomFilter) Name() string { return Random }

// Judge draws once for every picture. Its Value is the number drawn.
func (f randomFilter) Judge([]models.Detection) Verdict {
	drawn := f.source.Float64()
	return Verdict{Hard: drawn < f.ratio, Value: drawn}
}
