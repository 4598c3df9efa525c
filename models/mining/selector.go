package mining

import (
	"fmt"
	"math"

	"perigee/models"
)

// What else calls a picture hard, besides the filter.
const (
	NoDetection  = "NoDetection"  // nothing was found
	Disagreement = "Disagreement" // something else was found when it was seen before
	Novelty      = "Novelty"      // it is unlike what was seen before
)

// MaxWorth is what a picture can be worth at most.
const MaxWorth = 1000

// Options say what a Selector goes by besides its filter. Those that are 0 are off.
type Options struct {
	// NoDetection calls a picture hard in which nothing was found, whatever the
	// filter, unless that is Random.
	NoDetection bool
	// Same is the distance of sketches below which two pictures show the same. One
	// that was sent before is not sent again.
	Same float64
	// Disagreement calls a picture hard when at least this share of the objects was
	// not seen alike in a picture of the same.
	Disagreement float64
	// Novelty calls a picture hard that is at least so new; 0.5 is as new as usual.
	Novelty float64
	// Memory is how many pictures are remembered.
	Memory int
}

// DefaultOptions has everything off but NoDetection.
func DefaultOptions() Options { return Options{NoDetection: true, Memory: 256} }

// Validate reports the first thing in o that cannot work. Errors wrap ErrConfig.
func (o Options) Validate() error {
	for _, v := range []struct {
		key   string
		value float64
	}{{"same", o.Same}, {"disagreement", o.Disagreement}, {"novelty", o.Novelty}} {
		if !(v.value >= 0 && v.value <= 1) {
			return fmt.Errorf("%w: %s is %v, want 0 to 1", ErrConfig, v.key, v.value)
		}
	}
	switch {
	case o.Disagreement > 0 && o.Same == 0:
		return fmt.Errorf("%w: disagreement is set, but same is 0, so no two pictures show the same: set same", ErrConfig)
	case o.Memory < fewMemories || o.Memory > MaxMemory:
		return fmt.Errorf("%w: memory is %d, want %d to %d", ErrConfig, o.Memory, fewMemories, MaxMemory)
	}
	return nil
}

// Sketches tells whether pictures need a sketch.
func (o Options) Sketches() bool { return o.Same > 0 || o.Novelty > 0 }

// Choice is what a Selector says of one picture.
type Choice struct {
	Hard bool
	// Filter is the name of the filter, or of what else called the picture hard,
	// and Value what was compared.
	Filter string
	Value  float64
	// Worth is what the picture is worth to the ground, 1 to MaxWorth.
	Worth uint32
	// Repeat tells that the picture shows what was sent before.
	Repeat  bool
	Classes []int // that were found, in order

	this     seen
	same     int // number of the remembered picture that shows the same, or -1
	distance float64
}

// Selector decides which pictures are hard and what they are worth. It belongs to
// one goroutine.
type Selector struct {
	filter  Filter
	options Options
	memory  *Memory
}

// NewSelector returns a selector that goes by filter and o. memory is what it
// remembers, which it then owns; that of another backbone is forgotten.
func NewSelector(filter Filter, o Options, memory Memory, backbone models.Hash) *Selector {
	if memory.Backbone != backbone {
		memory = Memory{Backbone: backbone}
	}
	return &Selector{filter: filter, options: o, memory: &memory}
}

// Choose judges one picture by what was found in it, and by its sketch if the
// options want one.
func (s *Selector) Choose(found []models.Detection, sketch Sketch) Choice {
	verdict := s.filter.Judge(found)
	c := Choice{
		Hard: verdict.Hard, Filter: s.filter.Name(), Value: verdict.Value, Classes: classesOf(found),
		this: seen{Sketch: sketch, Counts: countClasses(found)}, same: -1,
	}
	easy := 1 - s.strength(found, verdict) // the likelihoods that it is easy for each reason
	if len(found) == 0 && c.Filter != Random {
		c.Hard, c.Filter, c.Value = s.options.NoDetection, NoDetection, 0
	}
	if s.options.Sketches() && sketch != nil {
		easy *= s.compare(&c)
	}
	c.Worth = 1 + uint32(math.Round((MaxWorth-1)*(1-easy)))
	return c
}

// compare holds c against what is remembered, and returns how likely it is easy.
func (s *Selector) compare(c *Choice) float64 {
	at, distance := s.memory.nearest(c.this.Sketch)
	c.distance = distance
	apart := 0.0
	if at >= 0 && distance < s.options.Same {
		before := s.memory.Seen[at]
		c.same = at
		apart = disagreement(before.Counts, c.this.Counts)
		if limit := s.options.Disagreement; limit > 0 && apart >= limit {
			c.claim(Disagreement, apart)
		} else {
			c.Repeat = before.Sent
		}
	}
	novelty := s.memory.novelty(distance)
	if limit := s.options.Novelty; limit > 0 && novelty >= limit && len(s.memory.Seen) >= fewMemories {
		c.claim(Novelty, novelty)
	}
	return (1 - apart) * (1 - novelty)
}

// claim calls c hard for a reason, unless it was before.
func (c *Choice) claim(name string, value float64) {
	if !c.Hard {
		c.Hard, c.Filter, c.Value = true, name, value
	}
}

// strength is how sure the filter is that the picture is hard, 0 to 1.
func (s *Selector) strength(found []models.Detection, v Verdict) float64 {
	switch {
	case len(found) == 0 || s.filter.Name() == Random:
		return 0.5
	case s.filter.Name() == IBT:
		return min(max(v.Value, 0), 1)
	}
	return min(max(1-v.Value, 0), 1)
}

// Remember takes a picture into the memory. Sent tells whether it is sent.
func (s *Selector) Remember(c Choice, sent bool) {
	if c.this.Sketch == nil || !s.options.Sketches() {
		return
	}
	if c.same >= 0 {
		sent = sent || s.memory.Seen[c.same].Sent
	}
	c.this.Sent = sent
	s.memory.keep(c.this, c.same, c.distance, s.options.Memory)
}

// Memory returns what is remembered, to be kept.
func (s *Selector) Memory() *Memory { return s.memory }
