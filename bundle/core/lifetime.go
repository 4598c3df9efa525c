package core

import (
	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// expiry returns when a bundle that is here now has outlived its lifetime.
//
// A node whose clock cannot be trusted does not compare it with the time of creation.
// It goes by the bundle's age, and where that is unknown too it counts the lifetime
// from the reception. How long a bundle stays here any clock can measure.
func (c *Core) expiry(b *bundle.Bundle) dtntime.Time {
	p := &b.Primary
	if !c.cfg.NoClock || p.Created.Time == 0 {
		return b.Expiry(c.now)
	}
	age, _ := b.Age()
	if age >= p.Lifetime {
		return c.now
	}
	return c.now.Add(p.Lifetime - age)
}
