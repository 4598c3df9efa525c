package core

import (
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Limits on what is kept in memory.
const (
	// DefaultMaxResident is the most bundles in memory when the configuration
	// names no number.
	DefaultMaxResident = 65_536
	minResident        = 8
	// maxLanes is the most lanes. A bundle that would open one more is refused.
	maxLanes = 65_536
	// maxWindow is the most bundles of one lane that wait in memory.
	maxWindow = 4096
)

// lane is what the core knows of one lane of the store. Some of its bundles are
// resident: they have an entry. The others are parked: they are in the store alone.
//
// A bundle of the lane that is stored and neither resident nor about to leave is
// above mark while more is set, or not below aside while that is not zero. What is
// resident may be anywhere, so reading the lane again from a lower handle is always
// allowed: it costs time and nothing else.
type lane struct {
	store.Lane
	number    uint64 // of lanes, in the order they were opened
	residents entries
	waiting   int // residents that are neither under way nor with an application
	storing   int // bundles whose Put is not committed

	more    bool
	mark    store.Handle
	aside   store.Handle // the lowest of those that no route took, until routes change
	seen    store.Handle // the highest that was read since the start
	load    *load
	wanted  int          // its urgency in Core.wanting
	retryAt dtntime.Time // after the store has failed to read it
	next    *neighbour   // where it went when that was last asked

	parkedTill dtntime.Time // no parked bundle expires before
	sweepAt    dtntime.Time // what Core.sweeps has for it, or 0
	sweptAt    dtntime.Time
	closed     bool
}

// entries is a list of entries in the order they came.
type entries struct {
	first, last *entry
	n           int
}

func (s *entries) add(e *entry) {
	e.before = s.last
	if s.last == nil {
		s.first = e
	} else {
		s.last.after = e
	}
	s.last = e
	s.n++
}

func (s *entries) remove(e *entry) {
	if e.before == nil {
		s.first = e.after
	} else {
		e.before.after = e.after
	}
	if e.after == nil {
		s.last = e.before
	} else {
		e.after.before = e.before
	}
	e.before, e.after = nil, nil
	s.n--
}

// lane returns the lane of a bundle, and opens it if need be.
func (c *Core) lane(key store.Lane) *lane {
	if l := c.lanes[key]; l != nil {
		return l
	}
	c.lastLane++
	l := &lane{Lane: key, number: c.lastLane, wanted: wantNot, parkedTill: dtntime.Forever}
	c.lanes[key] = l
	c.laneOrder = append(c.laneOrder, l)
	return l
}

// tidyLane closes a lane that holds nothing.
func (c *Core) tidyLane(l *lane) {
	if l.residents.n > 0 || l.storing > 0 || l.more || l.aside != 0 || l.load != nil || c.sweep.lane == l || l.closed {
		return
	}
	l.closed = true
	delete(c.lanes, l.Lane)
	delete(c.sweepable, l.number)
	if len(c.laneOrder) <= 2*len(c.lanes)+16 {
		return
	}
	open := make([]*lane, 0, len(c.lanes))
	for _, l := range c.laneOrder {
		if !l.closed {
			open = append(open, l)
		}
	}
	c.laneOrder = open
}

// hasLane tells whether a bundle can be put into its lane.
func (c *Core) hasLane(key store.Lane) bool {
	return len(c.lanes) < maxLanes || c.lanes[key] != nil
}

// window is how many bundles of one lane wait in memory at most, and chunk how many
// are read at a time. Sixteen lanes that are sent from at once find room.
func (c *Core) window() int { return min(max(c.cfg.MaxResident/16, 1), maxWindow) }
func (c *Core) chunk() int  { return max(c.window()/4, 1) }

// capacity is how many bundles may be resident when one of a lane becomes so. An
// eighth is kept for what is urgent, such as custody signals: when two nodes are
// full of what awaits the other's signals, those must still pass.
func (c *Core) capacity(l *lane) int {
	if l.Priority == bundle.PriorityExpedited {
		return c.cfg.MaxResident
	}
	return c.cfg.MaxResident - max(c.cfg.MaxResident/8, 1)
}

// resident counts the bundles in memory and those that are being read.
func (c *Core) resident() int { return len(c.entries) + c.incoming }

// keeps tells whether a bundle that was just stored becomes resident. One that the
// reading of its lane has passed must.
func (c *Core) keeps(l *lane, rec *store.Record) bool {
	switch {
	case l.more:
		return rec.Handle <= l.mark
	case rec.Flags&bundle.FlagAdminRecord != 0 && rec.Previous.IsNull():
		return true
	}
	return l.waiting < c.window() && c.resident() < c.capacity(l)
}

// park notes that a bundle of a lane is in the store alone.
func (c *Core) park(l *lane, h store.Handle, expiry dtntime.Time) {
	if l.more {
		l.mark = min(l.mark, h-1)
	} else {
		l.more, l.mark = true, h-1
		c.reviewing = true // what is stuck before it may keep it from being read
	}
	if l.load != nil {
		l.load.parked = min(l.load.parked, h)
	}
	c.outlives(l, expiry)
	c.want(l)
}

// setAside takes a bundle out of memory that is of no use there until routes
// change. Bundles behind it are read meanwhile.
func (c *Core) setAside(e *entry) {
	l := e.lane
	if l.aside == 0 || e.rec.Handle < l.aside {
		l.aside = e.rec.Handle
	}
	c.outlives(l, e.rec.Expiry)
	c.rewindAt = min(c.rewindAt, c.now.Add(rewindTime))
	c.strike(e)
}

// evict takes a bundle out of memory.
func (c *Core) evict(e *entry) {
	c.park(e.lane, e.rec.Handle, e.rec.Expiry)
	c.strike(e)
}

// rewind lets a lane be read again from what was set aside.
func (c *Core) rewind(l *lane) {
	if l.aside == 0 {
		return
	}
	if h := l.aside - 1; !l.more || h < l.mark {
		l.mark = h
	}
	if l.load != nil {
		l.load.parked = min(l.load.parked, l.aside)
	}
	l.more, l.aside = true, 0
}

// Ranks of what is taken out of memory to make room, the first first.
const (
	rankUnasked  = iota // at an endpoint where nobody waits
	rankStranded        // no route takes it
	rankQueued          // queued for a neighbour that is not sent to
	rankAwaiting        // sent to such a neighbour, its signal outstanding: sent again if need be
	rankOutdone         // queued behind what is more urgent, or for a neighbour with more than its share
	ranks
	rankNone = -1
)

// rank tells how readily a bundle leaves memory for those of another lane.
func (c *Core) rank(e *entry, needy *lane) int {
	switch e.place {
	case placeReady:
		if e.lane != needy && len(c.endpoint(e.rec.Destination).waiting) == 0 {
			return rankUnasked
		}
	case placeLimbo:
		return rankStranded
	case placeQueue:
		switch {
		case e.lane == needy:
		case !e.via.isSending():
			return rankQueued
		case needy.Duty == store.DutyForward && e.rec.Priority < needy.Priority,
			e.via != needy.next && e.via.queue.Len() > c.cfg.MaxResident/4:
			return rankOutdone
		}
	case placeAwait:
		if e.lane != needy && !e.via.isSending() {
			return rankAwaiting
		}
	}
	return rankNone
}

// makeRoom takes up to n bundles out of memory for those of a lane, the ones that
// would leave last first. Where it found too little, it does not look again for a
// while.
func (c *Core) makeRoom(needy *lane, n int) {
	if c.now < c.cramped {
		return
	}
	for rank := range ranks {
		for _, l := range c.laneOrder {
			for e := l.residents.last; e != nil && n > 0; {
				victim := e
				e = e.before
				if c.rank(victim, needy) != rank {
					continue
				}
				n--
				if rank == rankStranded {
					c.setAside(victim)
				} else {
					c.evict(victim)
				}
			}
		}
	}
	if n > 0 {
		c.cramped = c.now.Add(crampedTime)
	}
}

// sidestep sets aside what of a lane cannot go on now, when that is so much that what
// could go on would not be read.
func (c *Core) sidestep(l *lane) {
	n := 0
	for e := l.residents.first; e != nil; e = e.after {
		if e.isStuck() {
			n++
		}
	}
	if n == 0 || 2*n < l.waiting {
		return
	}
	for e := l.residents.first; e != nil; {
		stuck := e
		e = e.after
		if stuck.isStuck() {
			c.setAside(stuck)
		}
	}
}

// isStuck tells whether a bundle waits for a way that is not open now.
func (e *entry) isStuck() bool {
	return e.place == placeLimbo || e.place == placeQueue && !e.via.isSending()
}

// isSending tells whether bundles leave for the neighbour now.
func (n *neighbour) isSending() bool { return n.link != 0 && n.sending }
