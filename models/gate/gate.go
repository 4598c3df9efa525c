// Package gate decides whether a network may take the place of another, from
// what both found in the same pictures, which neither learnt from. The gain must
// be sure, not only seen: the lower end of its confidence interval counts, which
// comes from drawing the pictures anew many times (a paired bootstrap). No class
// may lose more than a margin, and what cannot be judged does not pass.
//
// It is pure: the same pictures, rule and seed give the same decision.
package gate

import (
	"errors"
	"fmt"
	"math"

	"perigee/models"
)

// Limits of a Rule.
const (
	MinResamples = 100
	MaxResamples = 100_000
)

// Rule says what a network must show.
type Rule struct {
	Condition           // on the lower end of the metric's interval
	Confidence  float64 // of that interval, two-sided
	Resamples   int     // drawings that it comes from
	ClassMargin float64 // what F1 of a class may lose
	Pictures    int     // that must be there at least
	Seed        uint64  // of the drawings
}

// DefaultRule is the rule where nothing else is asked for.
func DefaultRule() Rule {
	return Rule{
		Condition:  Condition{Operator: ">", Threshold: 0.1, Metric: F1 + deltaSuffix},
		Confidence: 0.95, Resamples: 2000, ClassMargin: 0.1, Pictures: 8,
	}
}

// Validate reports the first thing in r that cannot work. Its operator is > or
// >=, since every metric is the better the higher.
func (r Rule) Validate() error {
	if err := r.Condition.Validate(Metrics()); err != nil {
		return fmt.Errorf("condition: %w", err)
	}
	switch {
	case sign(r.Operator) != ">" && sign(r.Operator) != ">=":
		return fmt.Errorf("condition: operator %q would let worse networks fly; use one of %s", r.Operator, listed(operators[:2]))
	case !(r.Threshold >= -1 && r.Threshold <= 1):
		return fmt.Errorf("condition: threshold is %v, want -1 to 1", r.Threshold)
	case !(r.Confidence >= 0.5 && r.Confidence < 1):
		return fmt.Errorf("confidence is %v, want 0.5 to below 1", r.Confidence)
	case r.Resamples < MinResamples || r.Resamples > MaxResamples:
		return fmt.Errorf("resamples is %d, want %d to %d", r.Resamples, MinResamples, MaxResamples)
	case !(r.ClassMargin >= 0 && r.ClassMargin <= 1):
		return fmt.Errorf("class_margin is %v, want 0 to 1", r.ClassMargin)
	case r.Pictures < 1:
		return fmt.Errorf("pictures is %d, want at least 1", r.Pictures)
	}
	return nil
}

// Side is what one network found.
type Side struct {
	Pictures []models.Judged
	// Threshold is the lowest score that will count in flight.
	Threshold float32
}

// Class is how one class fared.
type Class struct {
	Class   int     `json:"class"`
	Objects int     `json:"objects"` // that are in the pictures
	Old     float64 `json:"f1_old"`
	New     float64 `json:"f1_new"`
}

// Decision is the answer of a gate. Every number in it is finite.
type Decision struct {
	Passed bool `json:"passed"`
	// Reason says why the network did not pass.
	Reason    string    `json:"reason,omitempty"`
	Condition Condition `json:"condition"`
	Pictures  int       `json:"pictures"`
	// Value is the metric's, and Low and High are the ends of its interval. They
	// are there when Judged is true.
	Judged     bool    `json:"judged"`
	Value      float64 `json:"value"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"`
	Classes    []Class `json:"classes,omitempty"` // those that have objects
}

// Refuse is the decision about a network that could not be judged.
func (r Rule) Refuse(reason string) Decision {
	return Decision{Reason: reason, Condition: r.Condition, Confidence: r.Confidence}
}

// Decide compares the network next with the one that flies, old.
func (r Rule) Decide(old, next Side) Decision {
	if err := check(old, next); err != nil {
		return r.Refuse(err.Error())
	}
	d := r.Refuse("")
	d.Pictures = len(next.Pictures)
	if d.Pictures < r.Pictures {
		d.Reason = fmt.Sprintf("%d held-out pictures cannot judge, want at least %d", d.Pictures, r.Pictures)
		return d
	}
	a, b := newTally(old), newTally(next)
	if a.total() == 0 {
		d.Reason = "no object is in the held-out pictures, so nothing can be judged"
		return d
	}
	measure, err := r.measure(a, b)
	if err != nil {
		d.Reason = err.Error()
		return d
	}
	d.Value = measure(whole(d.Pictures))
	d.Low, d.High = interval(measure, d.Pictures, r)
	if !finite(d.Value, d.Low, d.High) {
		d.Value, d.Low, d.High = 0, 0, 0
		d.Reason = fmt.Sprintf("%s is not a finite number", r.Metric)
		return d
	}
	d.Judged = true
	d.Classes = classes(a, b)
	d.Reason = r.objection(&d)
	d.Passed = d.Reason == ""
	return d
}

// objection says why a network that was judged does not pass, or "".
func (r Rule) objection(d *Decision) string {
	if !r.Holds(d.Low) {
		return fmt.Sprintf("%s is %.3f, and surely (%.4g %%) only above %.3f on %d pictures; want %s %.3f",
			r.Metric, d.Value, 100*r.Confidence, d.Low, d.Pictures, sign(r.Operator), r.Threshold)
	}
	for _, c := range d.Classes {
		if c.Old-c.New > r.ClassMargin {
			return fmt.Sprintf("class %d got worse: F1 on its %d objects fell from %.3f to %.3f, which may be at most %.3f less",
				c.Class, c.Objects, c.Old, c.New, r.ClassMargin)
		}
	}
	return ""
}

// check finds what makes two sides useless or not comparable.
func check(old, next Side) error {
	if len(old.Pictures) != len(next.Pictures) {
		return fmt.Errorf("the old network was judged on %d pictures, the new one on %d", len(old.Pictures), len(next.Pictures))
	}
	for i := range old.Pictures {
		if !sameTruth(old.Pictures[i].Truth, next.Pictures[i].Truth) {
			return fmt.Errorf("picture %d has other objects for the old network than for the new one", i)
		}
	}
	return errors.Join(checkSide("old", old), checkSide("new", next))
}

func sameTruth(a, b []models.Truth) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func checkSide(name string, s Side) error {
	if !finite(float64(s.Threshold)) {
		return fmt.Errorf("the threshold of the %s network is %v", name, s.Threshold)
	}
	for i, p := range s.Pictures {
		for _, d := range p.Found {
			if b := d.Box; !finite(float64(d.Score), float64(b.X), float64(b.Y), float64(b.W), float64(b.H)) {
				return fmt.Errorf("a detection of the %s network in picture %d is not finite", name, i)
			}
		}
	}
	return nil
}

func finite(values ...float64) bool {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
