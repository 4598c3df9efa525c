package core

import (
	"errors"

	"perigee/bundle"
	"perigee/bundle/route"
	"perigee/bundle/store"
)

// spreadOver has a new bundle for one node sent to several neighbours: a critical one over
// each that leads to the destination in time, and with flooding one without any way to
// every neighbour. What comes again is known here and goes no further, and hop limits
// bound the rest. Custody stays with one bundle on one way.
func (c *Core) spreadOver(a *Arrival, rec *store.Record, critical bool) {
	if rec.Duty != store.DutyForward || rec.Custodial || !critical && !c.cfg.Flood {
		return
	}
	spread := c.audience(rec, c.goesOn(a))
	if critical {
		spread = c.ways(rec)
	} else if _, err := c.router.Next(c.query(rec, nil), c.now); !isWayless(err) {
		return
	}
	if spread != "" {
		rec.Duty, rec.Spread = store.DutyGroup, spread
	}
}

// isWayless tells whether no way at all leads to the destination, whatever the size of
// the bundle and the links that are held down.
func isWayless(err error) bool {
	return errors.Is(err, route.ErrNoRoute) && !isTooLarge(err) && !errors.Is(err, route.ErrHeld)
}

// ways are the neighbours that a critical bundle goes over.
func (c *Core) ways(rec *store.Record) store.Spread {
	all, err := c.router.Each(c.query(rec, nil), c.now)
	if err != nil {
		return ""
	}
	var neighbours []bundle.EID
	for _, d := range all[:min(len(all), maxSpreadNeighbours)] {
		neighbours = append(neighbours, d.Next)
	}
	return store.MakeSpread(nil, neighbours)
}
