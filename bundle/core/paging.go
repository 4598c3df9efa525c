package core

import (
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
)

// Times of paging.
const (
	// soonTime is how long before a contact its bundles are read.
	soonTime = 10 * dtntime.Second
	// rewindTime is how long what was set aside stays so, unless routes change.
	rewindTime = dtntime.Minute
	// crampedTime is how long no room is looked for after too little was found.
	crampedTime = 100 * dtntime.Millisecond
	// retryTime is the pause after a lane could not be read.
	retryTime = dtntime.Second
	// sweepTime is the least between two sweeps of one lane, and sweepPause
	// between two chunks of a sweep.
	sweepTime  = dtntime.Minute
	sweepPause = 20 * dtntime.Millisecond
)

// Limits of paging.
const (
	maxLoads   = 4    // that run at once, beside a sweep
	sweepChunk = 1024 // bundles read at a time
)

// load is a reading of a lane that is under way.
type load struct {
	lane   *lane
	after  store.Handle
	limit  int
	parked store.Handle // the lowest that was parked meanwhile
	sweep  bool
	// changed are the bundles whose record has changed meanwhile, nil for those
	// that are gone: what was read of them is out of date.
	changed map[store.Handle]*store.Record
}

// noHandle is above all handles.
const noHandle = ^store.Handle(0)

// sweep is the search of one lane for parked bundles that have expired.
type sweep struct {
	lane  *lane // nil when there is none
	after store.Handle
	at    dtntime.Time // of the next chunk or lane; Forever while one is read
	till  dtntime.Time // the first expiry that was found
}

// Urgency of lanes that want to be read: those whose bundles can go on now, by
// priority, and last those that are read because memory is free.
const (
	wantNot  = -1
	wantIdle = iota - 1
	wantBulk
	wantNormal
	wantExpedited // and what applications wait for
	wants
)

// isUseful tells whether bundles of a lane that are in memory can go on now or
// soon.
func (c *Core) isUseful(l *lane) bool {
	switch l.Duty {
	case store.DutyDeliver:
		p := c.endpoints[l.Destination]
		return p != nil && len(p.waiting) > 0
	case store.DutyForward:
		l.next = nil
		d, err := c.router.Next(route.Query{Dest: l.Destination, Expiry: dtntime.Forever}, c.now)
		if err != nil {
			return false
		}
		l.next = c.neighbours[d.Next]
		return l.next != nil && (l.next.isSending() || l.next.soon)
	}
	return true
}

// urgency tells how urgently a lane wants to be read.
func (c *Core) urgency(l *lane) int {
	switch {
	case !c.isUseful(l):
		return wantIdle
	case l.Duty != store.DutyForward || l.Priority >= bundle.PriorityExpedited:
		return wantExpedited
	}
	return wantBulk + int(l.Priority)
}

// want lines a lane up to be read, if something of it is parked and there is room
// in its window.
func (c *Core) want(l *lane) {
	if !l.more || l.load != nil || l.wanted == wantExpedited || l.closed || l.retryAt > c.now || l.waiting > c.window()-c.chunk() {
		return
	}
	if u := c.urgency(l); u > l.wanted {
		l.wanted = u
		c.wanting[u] = append(c.wanting[u], l)
	}
}

// review looks at all lanes anew: what is useful has changed.
func (c *Core) review() {
	if c.now >= c.rewindAt {
		c.rewindAt = dtntime.Forever
		c.reviewing, c.rewinding = true, true
	}
	if c.now >= c.reviewAt {
		c.reviewAt = dtntime.Forever
		c.reviewing = true
	}
	if !c.reviewing {
		return
	}
	for u, list := range c.wanting {
		for _, l := range list {
			l.wanted = wantNot
		}
		clear(list)
		c.wanting[u] = list[:0]
	}
	for _, l := range c.laneOrder {
		if c.rewinding {
			c.rewind(l)
		}
		if l.more && l.waiting > c.window()-c.chunk() && c.isUseful(l) {
			c.sidestep(l)
		}
		c.want(l)
	}
	c.reviewing, c.rewinding = false, false
}

// feed reads lanes into memory.
func (c *Core) feed() {
	c.review()
	c.sweepOn()
	for u := wants - 1; u >= wantIdle; u-- {
		for len(c.wanting[u]) > 0 && c.reading < maxLoads {
			l := c.wanting[u][0]
			if l.wanted == u {
				if !c.read(l, u) {
					return // it is its turn when there is room
				}
				l.wanted = wantNot
			}
			c.wanting[u] = c.wanting[u][1:]
		}
	}
}

// read begins to read a lane. It returns false when the lane has to wait for room.
func (c *Core) read(l *lane, urgency int) bool {
	if !l.more || l.load != nil || l.closed || l.waiting > c.window()-c.chunk() {
		return true
	}
	if urgency == wantExpedited && !c.isUseful(l) {
		return true // whoever waited at its endpoint has gone
	}
	n := c.chunk()
	if urgency == wantIdle {
		// Half of the memory is left to what can go on.
		if c.resident()+n > c.cfg.MaxResident/2 {
			c.unread = true
			return true
		}
	} else if over := c.resident() + n - c.capacity(l); over > 0 {
		c.makeRoom(l, over)
		if c.resident()+n > c.capacity(l) {
			return false
		}
	}
	l.load = &load{lane: l, after: l.mark, limit: n}
	c.incoming += n
	c.reading++
	c.fetch(l.load)
	return true
}

// fetch asks for what a load reads.
func (c *Core) fetch(ld *load) {
	c.lastToken++
	ld.parked, ld.changed = noHandle, make(map[store.Handle]*store.Record)
	c.loads[c.lastToken] = ld
	c.do(Load{Token: c.lastToken, Lane: ld.lane.Lane, After: ld.after, Limit: ld.limit})
}

// loaded takes what was read of a lane.
func (c *Core) loaded(ev Loaded) {
	ld := c.loads[ev.Token]
	if ld == nil {
		return
	}
	delete(c.loads, ev.Token)
	if ld.sweep {
		c.swept(ld, ev)
		return
	}
	l := ld.lane
	l.load = nil
	c.incoming -= ld.limit
	c.reading--
	if ev.Err != nil {
		l.retryAt = c.now.Add(retryTime)
		c.reviewAt = min(c.reviewAt, l.retryAt)
		return
	}
	mark := ld.after
	for i := range ev.Records {
		rec := ev.Records[i]
		mark = max(mark, rec.Handle)
		if !c.isParked(ld, &rec) {
			continue
		}
		c.signalAgain(l, &rec)
		if rec.Expiry <= c.now {
			c.outlived(&entry{rec: rec, lane: l, place: placeGone})
			continue
		}
		c.enter(l, rec)
	}
	l.seen = max(l.seen, mark)
	l.mark = min(mark, ld.parked-1)
	if ev.End && ld.parked == noHandle {
		l.more = false
	}
	if l.waiting > c.window()-c.chunk() && c.isUseful(l) {
		c.sidestep(l)
	}
	c.want(l)
	c.tidyLane(l)
}

// isParked tells whether a record that was read is that of a parked bundle, and
// brings it up to date.
func (c *Core) isParked(ld *load, rec *store.Record) bool {
	if c.entries[rec.Handle] != nil || c.storing[rec.Handle] || c.leaving[rec.Handle] {
		return false
	}
	if now, ok := ld.changed[rec.Handle]; ok {
		if now == nil {
			return false
		}
		*rec = *now
	}
	return true
}

// signalAgain tells the custodian before once more that a bundle was accepted, when
// it is read for the first time since the start: the signal may have been lost with
// what ended this node.
func (c *Core) signalAgain(l *lane, rec *store.Record) {
	c.numbers.Seen(rec.Own.SeqID)
	if rec.Handle > l.seen && rec.Received < c.started && rec.From != (store.Episode{}) && c.now.Sub(rec.Received) < dtntime.Day {
		c.owe(rec.From, rec.Destination, true, rec.Expiry)
	}
}

// outlives notes when a parked bundle of a lane expires.
func (c *Core) outlives(l *lane, expiry dtntime.Time) {
	l.parkedTill = min(l.parkedTill, expiry)
	c.planSweep(l)
}

// planSweep sets the time of a lane's next sweep.
func (c *Core) planSweep(l *lane) {
	if !l.more && l.aside == 0 {
		return
	}
	at := max(l.parkedTill, 1)
	if l.sweptAt != 0 {
		at = max(at, l.sweptAt.Add(sweepTime))
	}
	if at == dtntime.Forever || l.sweepAt != 0 && l.sweepAt <= at {
		return
	}
	l.sweepAt = at
	c.sweeps.Add(at, l.number)
	c.sweepable[l.number] = l
}

// sweepOn goes on with the sweep, or begins the next one.
func (c *Core) sweepOn() {
	for c.sweep.lane == nil && c.now >= c.sweep.at {
		at, number, ok := c.sweeps.Due(c.now)
		if !ok {
			return
		}
		l := c.sweepable[number]
		if l == nil || l.sweepAt != at {
			continue
		}
		l.sweepAt = 0
		delete(c.sweepable, number)
		if l.closed || !l.more && l.aside == 0 || l.parkedTill > c.now {
			c.planSweep(l)
			continue
		}
		l.parkedTill = dtntime.Forever
		c.sweep = sweep{lane: l, at: c.now, till: dtntime.Forever}
	}
	if c.sweep.lane != nil && c.now >= c.sweep.at {
		c.sweep.at = dtntime.Forever
		c.fetch(&load{lane: c.sweep.lane, after: c.sweep.after, limit: sweepChunk, sweep: true})
	}
}

// swept deletes what has expired of the parked bundles that were read.
func (c *Core) swept(ld *load, ev Loaded) {
	l := ld.lane
	for i := range ev.Records {
		rec := ev.Records[i]
		c.sweep.after = rec.Handle
		if !c.isParked(ld, &rec) {
			continue
		}
		c.signalAgain(l, &rec)
		if rec.Expiry <= c.now {
			c.outlived(&entry{rec: rec, lane: l, place: placeGone})
		} else {
			c.sweep.till = min(c.sweep.till, rec.Expiry)
		}
	}
	l.seen = max(l.seen, c.sweep.after)
	switch {
	case ev.Err != nil:
		c.sweep.till = c.now // to be swept again
	case !ev.End:
		c.sweep.at = c.now.Add(sweepPause)
		return
	}
	l.sweptAt = c.now
	l.parkedTill = min(l.parkedTill, c.sweep.till)
	c.sweep = sweep{at: c.now.Add(sweepPause)}
	c.planSweep(l)
	c.tidyLane(l)
}

// repage begins all pauses of paging anew after the clock was set.
func (c *Core) repage() {
	c.reviewAt, c.rewindAt, c.cramped = c.now, c.now, 0
	if c.sweep.at != dtntime.Forever {
		c.sweep.at = c.now
	}
	for _, l := range c.laneOrder {
		l.retryAt, l.sweptAt, l.sweepAt = 0, 0, 0
		c.planSweep(l)
	}
}

// nextFeed returns when paging wants a Tick.
func (c *Core) nextFeed() dtntime.Time {
	wake := min(c.rewindAt, c.reviewAt)
	if c.sweep.lane == nil {
		wake = min(wake, max(c.sweeps.Next(), c.sweep.at))
	} else {
		wake = min(wake, c.sweep.at)
	}
	for u := wantBulk; u < wants; u++ {
		if len(c.wanting[u]) > 0 && c.reading < maxLoads {
			wake = min(wake, c.cramped)
		}
	}
	return wake
}

// urgentLoad is the highest priority of bundles for a neighbour that are just being
// read, or about to be, while none of their lane waits: less urgent ones wait for
// them.
func (c *Core) urgentLoad(n *neighbour) bundle.Priority {
	var highest bundle.Priority
	for u := wantNormal; u < wants; u++ {
		for _, l := range c.wanting[u][:min(len(c.wanting[u]), 4*maxLoads)] {
			if l.next == n && l.Duty == store.DutyForward && l.waiting == 0 && l.more && l.wanted == u {
				highest = max(highest, l.Priority)
			}
		}
	}
	for _, ld := range c.loads {
		if l := ld.lane; !ld.sweep && l.next == n && l.Duty == store.DutyForward && l.waiting == 0 {
			highest = max(highest, l.Priority)
		}
	}
	return highest
}
