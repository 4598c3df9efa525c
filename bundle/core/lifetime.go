package core

import (
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
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

// pare shortens the stay of a bundle that only passes by (RFC 9171 section 4.3.1).
// What the node has taken custody of it keeps, and what is for several is known again
// until the end of its lifetime.
func (c *Core) pare(rec *store.Record) {
	till := c.now.Add(c.cfg.MaxLifetime)
	if c.cfg.MaxLifetime > 0 && !rec.Custodial && rec.Duty == store.DutyForward && till < rec.Expiry {
		rec.Expiry, rec.Pared = till, true
	}
}
