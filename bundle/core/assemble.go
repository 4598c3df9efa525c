package core

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Limits on what waits for reassembly. Beyond them the bundle whose last fragment
// came longest ago makes room.
const (
	maxAssemblies = 1024
	// fragmentShare is the part of the bundles in memory, as its inverse, that
	// may be fragments.
	fragmentShare = 4
	// maxAssembling is how many bundles are put together at the same time.
	maxAssembling = 2
)

// assemblyPause is how long the node waits before it tries again to put a bundle
// together that it had no room for.
const assemblyPause = 30 * dtntime.Second

// assembly gathers the fragments of one bundle for an endpoint of this node (RFC
// 9171 section 5.9).
type assembly struct {
	gathered  bundle.Reassembly
	fragments map[store.Handle]*entry
	number    uint64       // in the order of the first fragments
	touched   dtntime.Time // when the last fragment came
	stale     bool         // a fragment has left: gathered must be made anew
	busy      bool         // being put together
	over      bool         // the whole bundle is here, or has been
	storing   int          // fragments on their way to the disk
	retry     dtntime.Time // when to try again
}

// assembling is all assemblies of a node.
type assembling struct {
	units     map[bundle.ID]*assembly // by the ID of the whole bundle
	last      uint64                  // number given to one of them
	fragments int                     // in all of them
	bytes     int64                   // of these, as stored
	running   int                     // units that are busy
	ready     []bundle.ID             // complete, in the order they became so
	retries   []bundle.ID             // complete, to be tried again
}

func (c *Core) assembly(whole bundle.ID) *assembly {
	a := c.assembling.units[whole]
	if a == nil {
		c.assembling.last++
		a = &assembly{fragments: make(map[store.Handle]*entry), number: c.assembling.last, touched: c.now}
		c.assembling.units[whole] = a
	}
	return a
}

// gather takes up a stored fragment. One that says nothing new, or that contradicts
// others, is dropped.
func (c *Core) gather(e *entry) {
	whole := e.rec.ID.Whole()
	a := c.assembly(whole)
	c.move(e, placeFragment, nil)
	if a.over {
		c.notify(app.EventDuplicate, e.rec.ID, bundle.EID{}, e.rec.Size, "the whole bundle is here already")
		c.counters.Duplicates++
		c.drop(e, 0, store.GoneExpired, nil)
		return
	}
	c.regather(a)
	material, err := a.gathered.Add(e.rec.ID, e.rec.Total)
	switch {
	case err != nil:
		reason := bundle.ReasonBlockUnintelligible
		if errors.Is(err, bundle.ErrLimit) {
			reason = bundle.ReasonDepletedStorage
		}
		c.dropFragment(e, reason, err.Error())
		return
	case !material:
		c.counters.Duplicates++
		c.notify(app.EventDuplicate, e.rec.ID, bundle.EID{}, e.rec.Size, "other fragments carry the same")
		c.drop(e, 0, store.GoneExpired, nil)
		return
	}
	a.fragments[e.rec.Handle] = e
	a.touched = c.now
	c.assembling.fragments++
	c.assembling.bytes += e.rec.Size
	if a.gathered.Complete() {
		c.assembling.ready = append(c.assembling.ready, whole)
	}
	c.limitAssemblies(whole)
}

// regather makes anew what is known of a bundle after one of its fragments has left.
func (c *Core) regather(a *assembly) {
	if !a.stale {
		return
	}
	a.stale, a.gathered = false, bundle.Reassembly{}
	for _, h := range sortedKeys(a.fragments) {
		// They fit together before, so they do without the one that left.
		_, _ = a.gathered.Add(a.fragments[h].rec.ID, a.fragments[h].rec.Total)
	}
}

// limitAssemblies drops the fragments of what waits longest when there are too many.
// The bundle that the last fragment was of goes last.
func (c *Core) limitAssemblies(latest bundle.ID) {
	s := &c.assembling
	for len(s.units) > maxAssemblies || s.fragments > c.cfg.MaxResident/fragmentShare || c.cfg.MaxAssembling > 0 && s.bytes > c.cfg.MaxAssembling {
		a := s.oldest(latest)
		if a == nil {
			return
		}
		for _, h := range sortedKeys(a.fragments) {
			c.dropFragment(a.fragments[h], bundle.ReasonDepletedStorage, "too many fragments wait for the rest of their bundles")
		}
	}
}

// oldest returns the assembly to make room, nil for none.
func (s *assembling) oldest(latest bundle.ID) *assembly {
	var oldest *assembly
	for id, a := range s.units {
		if a.busy || len(a.fragments) == 0 || id == latest {
			continue
		}
		if oldest == nil || cmp.Or(cmp.Compare(a.touched, oldest.touched), cmp.Compare(a.number, oldest.number)) < 0 {
			oldest = a
		}
	}
	if a := s.units[latest]; oldest == nil && a != nil && !a.busy && len(a.fragments) > 0 {
		return a
	}
	return oldest
}

// dropFragment deletes a fragment that is of no use here.
func (c *Core) dropFragment(e *entry, reason bundle.Reason, why string) {
	c.counters.BundlesDeleted++
	c.notify(app.EventDeleted, e.rec.ID, bundle.EID{}, e.rec.Size, why)
	c.report(&e.rec, bundle.FlagReportDeleted, reason)
	c.drop(e, 0, store.GoneExpired, nil)
}

// ungather takes a fragment off the list of its bundle.
func (c *Core) ungather(e *entry) {
	whole := e.rec.ID.Whole()
	a := c.assembling.units[whole]
	if a == nil {
		return
	}
	if a.fragments[e.rec.Handle] != nil {
		delete(a.fragments, e.rec.Handle)
		c.assembling.fragments--
		c.assembling.bytes -= e.rec.Size
		a.stale = true
	}
	c.tidyAssembly(whole)
}

// expect notes that a fragment is on its way to the disk, until what it returns is
// called.
func (c *Core) expect(whole bundle.ID) commit {
	a := c.assembly(whole)
	a.storing++
	return func(error) {
		a.storing--
		c.tidyAssembly(whole)
	}
}

// tidyAssembly forgets a bundle of which no fragment is here or on its way.
func (c *Core) tidyAssembly(whole bundle.ID) {
	if a := c.assembling.units[whole]; a != nil && len(a.fragments) == 0 && a.storing == 0 && !a.busy {
		delete(c.assembling.units, whole)
	}
}

// assemble has complete bundles put together, a few at a time.
func (c *Core) assemble() {
	s := &c.assembling
	s.retries = slices.DeleteFunc(s.retries, func(id bundle.ID) bool {
		a := s.units[id]
		if a != nil && a.retry > c.now {
			return false
		}
		s.ready = append(s.ready, id)
		return true
	})
	for len(s.ready) > 0 && s.running < maxAssembling {
		whole := s.ready[0]
		s.ready = s.ready[1:]
		a := s.units[whole]
		if a == nil || a.busy || a.over {
			continue
		}
		c.regather(a)
		if !a.gathered.Complete() {
			continue
		}
		c.hold(whole, a)
		c.do(Assemble{Whole: whole, Parts: a.parts()})
	}
}

// nextAssembly is when assemble may have something to do.
func (c *Core) nextAssembly() dtntime.Time {
	next := dtntime.Forever
	for _, id := range c.assembling.retries {
		if a := c.assembling.units[id]; a != nil {
			next = min(next, a.retry)
		}
	}
	return next
}

// parts are the pieces of a complete bundle and where they are stored.
func (a *assembly) parts() []Part {
	byID := make(map[bundle.ID]*entry, len(a.fragments))
	for _, e := range a.fragments {
		byID[e.rec.ID] = e
	}
	plan := a.gathered.Plan()
	parts := make([]Part, len(plan))
	for i, p := range plan {
		parts[i] = Part{Record: byID[p.Fragment].rec, From: int64(p.From), Length: int64(p.Length)}
	}
	return parts
}

// assembled takes a bundle that was put together: it takes the place of its
// fragments in one commit, and then it is delivered.
func (c *Core) assembled(ev Assembled) {
	a := c.assembling.units[ev.Whole]
	if a == nil || !a.busy {
		c.do(Reply{ev.Token, store.ErrNotFound})
		return
	}
	if ev.Err != nil {
		c.notAssembled(ev.Whole, a, ev.Err)
		c.do(Reply{ev.Token, ev.Err})
		return
	}
	if ev.Known.Live != nil || ev.Known.Gone != nil {
		c.free(ev.Whole, a)
		a.over = true
		for _, h := range sortedKeys(a.fragments) {
			c.counters.Duplicates++
			c.drop(a.fragments[h], 0, store.GoneExpired, nil)
		}
		c.do(Reply{Token: ev.Token})
		return
	}
	rec := c.wholeRecord(&ev, a)
	if !rec.Destination.IsSingleton() {
		rec.Duty, rec.Spread = store.DutyGroup, c.audience(&rec, true)
	}
	ops, count := append([]store.Op{store.Put{Record: rec}}, a.deletes()...), len(a.fragments)
	c.persist(ev.Token, nil, func(err error) {
		if err != nil {
			err = fmt.Errorf("storing %s, put together from %d fragments: %w", rec.ID, count, err)
			c.notAssembled(ev.Whole, a, err)
			c.do(Reply{ev.Token, err})
			return
		}
		c.replaced(ev.Whole, a)
		c.counters.Reassembled++
		c.notify(app.EventReassembled, rec.ID, bundle.EID{}, rec.Size, fmt.Sprintf("from %d fragments", count))
		c.do(Reply{Token: ev.Token})
		c.admit(rec)
	}, ops...)
}

// deletes takes all fragments of a bundle out of the store.
func (a *assembly) deletes() []store.Op {
	var ops []store.Op
	for _, h := range sortedKeys(a.fragments) {
		ops = append(ops, store.Delete{Handle: h, Gone: store.Gone{ID: a.fragments[h].rec.ID}})
	}
	return ops
}

// hold keeps the fragments of a bundle as they are, and other copies of it away,
// until free.
func (c *Core) hold(whole bundle.ID, a *assembly) {
	a.busy = true
	c.assembling.running++
	c.arriving[whole] = true
}

func (c *Core) free(whole bundle.ID, a *assembly) {
	a.busy = false
	c.assembling.running--
	delete(c.arriving, whole)
}

// replaced forgets the fragments that the whole bundle has replaced in the store.
// Those still on their way to the disk will find it over.
func (c *Core) replaced(whole bundle.ID, a *assembly) {
	c.free(whole, a)
	a.over = true
	for _, h := range sortedKeys(a.fragments) {
		c.strike(a.fragments[h])
	}
	c.tidyAssembly(whole)
}

// wholeRecord is the record of a bundle that was put together of fragments. The one
// that expires first decides about its lifetime.
func (c *Core) wholeRecord(ev *Assembled, a *assembly) store.Record {
	handles := sortedKeys(a.fragments)
	first := a.fragments[handles[0]].rec
	rec := store.Record{
		Handle: c.cfg.NextHandle(), ID: ev.Whole, Destination: first.Destination, ReportTo: first.ReportTo,
		Flags: first.Flags &^ bundle.FlagFragment, Priority: first.Priority, Duty: store.DutyDeliver,
		Received: c.now, Expiry: first.Expiry, Previous: first.Previous,
		HeaderLen: ev.HeaderLen, PayloadLen: ev.PayloadLen, Size: ev.Size,
	}
	for _, h := range handles {
		f := &a.fragments[h].rec
		rec.Expiry = min(rec.Expiry, f.Expiry)
		if f.ID.Offset == 0 && f.HasAge {
			rec.HasAge, rec.AgeReceived = true, f.AgeReceived.Add(c.now.Sub(f.Received))
		}
	}
	return rec
}

// notAssembled leaves a bundle in fragments until there may be room for it.
func (c *Core) notAssembled(whole bundle.ID, a *assembly, err error) {
	c.notify(app.EventRefused, whole, bundle.EID{}, 0, "cannot be put together now: "+err.Error())
	c.free(whole, a)
	a.retry = c.now.Add(assemblyPause)
	c.assembling.retries = append(c.assembling.retries, whole)
	for _, h := range sortedKeys(a.fragments) {
		if e := a.fragments[h]; e.rec.Expiry <= c.now {
			c.outlived(e)
		}
	}
	c.tidyAssembly(whole)
}

// isBusy tells whether a fragment is part of a bundle that is being put together.
func (c *Core) isBusy(e *entry) bool {
	if e.place != placeFragment {
		return false
	}
	a := c.assembling.units[e.rec.ID.Whole()]
	return a != nil && a.busy
}

// supersede returns what deletes the fragments of a bundle that has come whole, and
// what follows when that is durable, or is not.
func (c *Core) supersede(whole bundle.ID) ([]store.Op, commit) {
	a := c.assembling.units[whole]
	if a == nil || len(a.fragments) == 0 {
		return nil, func(error) {}
	}
	ops := a.deletes()
	c.hold(whole, a)
	return ops, func(err error) {
		if err != nil {
			c.notAssembled(whole, a, err)
			return
		}
		c.replaced(whole, a)
	}
}
