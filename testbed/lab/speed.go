package lab

import (
	"errors"
	"fmt"
	"math"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/testbed/sim"
)

// maxSpeed is the highest speed of a clock: a pass of ten minutes is over in a few
// milliseconds.
const maxSpeed = 100_000

// layout is a network that is laid out, in the times in which it is run.
type layout struct {
	config  sim.Config
	speed   float64
	passes  []contact.Contact // those of the plan, in the times of the file
	members []Member
}

// compress divides every time of a network by a speed, but for light times: rates and
// sizes stay what they are, and a pass carries as much less as it is shorter.
func compress(c sim.Config, speed float64) (*layout, error) {
	l := &layout{config: c, speed: speed}
	of := func(d dtntime.Duration) dtntime.Duration {
		return dtntime.Duration(math.Floor(float64(d) / speed))
	}
	at := func(t dtntime.Time) dtntime.Time { return c.Start.Add(of(t.Sub(c.Start))) }
	var contacts []contact.Contact
	for k := range c.Plan.All() {
		original := k
		k.Start, k.End = at(k.Start), at(k.End)
		if k.Start >= k.End {
			return nil, fmt.Errorf("the contact from %s to %s at %s is of %s and leaves nothing at %g times the speed",
				k.From, k.To, original.Start, original.End.Sub(original.Start), speed)
		}
		contacts = append(contacts, k)
		l.passes = append(l.passes, original)
	}
	var err error
	if l.config.Plan, err = contact.New(contacts); err != nil {
		return nil, err
	}
	l.config.Length, l.config.Drain, l.config.Faults.Down = of(c.Length), of(c.Drain), of(c.Faults.Down)
	l.config.Traffic = nil
	for _, t := range c.Traffic {
		t.Every, t.Lifetime = of(t.Every), of(t.Lifetime)
		l.config.Traffic = append(l.config.Traffic, t)
	}
	l.config.Faults.At = nil
	for _, f := range c.Faults.At {
		f.At, f.For = of(f.At), of(f.For)
		l.config.Faults.At = append(l.config.Faults.At, f)
	}
	return l, l.config.Check()
}

// stretch turns the times of a result into those of the file.
func (l *layout) stretch(r *sim.Result) error {
	if l.speed == 1 {
		return nil
	}
	of := func(d *time.Duration) { *d = time.Duration(float64(*d) * l.speed) }
	of(&r.Simulated)
	of(&r.Drained)
	for i := range r.Kinds {
		of(&r.Kinds[i].Median)
		of(&r.Kinds[i].Worst)
	}
	type ends struct{ from, to bundle.EID }
	originals := make(map[ends][]contact.Contact)
	for _, c := range l.passes {
		at := ends{c.From, c.To}
		originals[at] = append(originals[at], c)
	}
	for i := range r.Passes {
		p := &r.Passes[i]
		at := ends{p.From, p.To}
		if len(originals[at]) == 0 {
			return errors.New("a result has more passes than its plan")
		}
		// Contacts from one node to another do not overlap, so that their order stays.
		p.Start, p.End = originals[at][0].Start, originals[at][0].End
		originals[at] = originals[at][1:]
	}
	return nil
}
