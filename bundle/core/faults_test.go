package core_test

import (
	"maps"
	"slices"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
)

// plagues lays out what goes wrong in a world. Each kind of fault is absent in
// some worlds, so that what it hides can be seen there.
func (w *simulation) plagues() {
	w.faults = faults{strays: 0.05}
	some := func(p float64) float64 { return p * float64(w.rng.Intn(4)) / 2 }
	w.faults.lose, w.faults.cut, w.faults.refuse = some(0.05), some(0.04), some(0.03)
	w.faults.full = some(0.03)
	if w.rng.Intn(2) == 0 {
		w.faults.fail, w.faults.power = some(0.002), some(0.01)
	}
	for _, kind := range []struct {
		most int
		what func()
	}{
		{20, w.cutSomething},
		{6, w.crashSomething},
		{12, w.stray},
		{8, w.misinform},
		{6, w.obstruct},
		{4, w.fillDisk},
		{4, w.breakDisk},
		{5, w.stepClock},
		{4, w.removeSomething},
		{4, w.sendAway},
		{6, w.comeAndGo},
		{6, w.holdSomething},
	} {
		if w.rng.Intn(3) == 0 {
			continue
		}
		for range w.rng.Intn(kind.most + 1) {
			w.within(troubled, kind.what)
		}
	}
}

// heal ends all faults.
func (w *simulation) heal() {
	w.note("all is well from now on")
	w.faults = faults{}
	clear(w.outages)
	for _, m := range w.nodes {
		m.full, m.away = false, false
		m.setClock(0)
		if m.broken {
			m.crash()
		}
		m.boot()
		m.listen()
		w.inform(m, w.truth)
		for _, peer := range w.nodes {
			if m.held[peer.id] {
				m.hold(peer.id, false)
			}
		}
	}
}

// awhile is a time for which a fault lasts.
func (w *world) awhile() dtntime.Duration {
	return dtntime.Duration(1000 + w.rng.Intn([]int{10_000, 100_000, 600_000}[w.rng.Intn(3)]))
}

// detection is how long each end of a session takes to see that it has ended.
func (w *world) detection() [2]dtntime.Duration {
	return [2]dtntime.Duration{dtntime.Duration(w.rng.Intn(4000)), dtntime.Duration(w.rng.Intn(4000))}
}

// sever cuts the sessions of two nodes if they cannot reach each other any more.
func (w *world) sever(a, b *machine) {
	if w.reachable(a, b) {
		return
	}
	for _, s := range slices.Clone(w.sessions) {
		if linkOf(s.ends[0], s.ends[1]) == linkOf(a, b) {
			w.cut(s, w.detection())
		}
	}
}

func (w *world) cutSomething() {
	if len(w.sessions) > 0 {
		w.cut(w.sessions[w.rng.Intn(len(w.sessions))], w.detection())
	}
}

// crashSomething crashes a node, which comes back after a while. Sometimes its
// counters are lost.
func (w *world) crashSomething() {
	m := w.anyone()
	if !m.up {
		return
	}
	m.crash()
	if w.rng.Intn(4) == 0 {
		w.note("%s loses its counters", m.id)
		clear(m.counters)
	}
	w.after(dtntime.Duration(1000+w.rng.Intn(200_000)), func() { m.boot() })
}

// stray lets an old copy of a bundle come again, over any session.
func (w *world) stray() {
	if len(w.copies) == 0 || len(w.sessions) == 0 {
		return
	}
	s, i := w.sessions[w.rng.Intn(len(w.sessions))], w.rng.Intn(2)
	raw := w.copies[w.rng.Intn(len(w.copies))]
	if s.closed[i] || !s.ends[i].up {
		return
	}
	w.note("a stray copy comes to %s", s.ends[i].id)
	if b, _, err := bundle.Parse(raw, bundle.DefaultLimits()); err == nil {
		w.spoil(b.ID()) // it seems to come from the other end, which may not have it
	}
	s.ends[i].arrive(s.links[i], raw, nil)
}

// misinform gives a node a wrong contact plan: one of another world, or its own
// shifted by some seconds. It may be put right again.
func (w *simulation) misinform() {
	m := w.anyone()
	if w.rng.Intn(2) == 0 {
		w.inform(m, randomPlan(w.rng, topology(w.rng, len(w.nodes))))
	} else {
		w.inform(m, shifted(w.truth, w.rng.Intn(20_000)-10_000))
	}
	if w.rng.Intn(2) == 0 {
		w.after(w.awhile(), func() { w.inform(m, w.truth) })
	}
}

// shifted returns a plan with all contacts later by so many ms.
func shifted(plan *contact.Plan, ms int) *contact.Plan {
	var list []contact.Contact
	for c := range plan.All() {
		c.Start, c.End = dtntime.Time(int(c.Start)+ms), dtntime.Time(int(c.End)+ms)
		list = append(list, c)
	}
	shifted, err := contact.New(list)
	if err != nil {
		panic(err)
	}
	return shifted
}

func (w *world) inform(m *machine, plan *contact.Plan) {
	m.plan = plan
	w.note("%s gets a plan", m.id)
	m.step(core.PlanChanged{Plan: plan})
}

// obstruct keeps a link from coming up, whatever the plan says, and cuts it when it
// is up.
func (w *simulation) obstruct() {
	link := w.edges[w.rng.Intn(len(w.edges))]
	w.note("the link of %d and %d fails", link[0], link[1])
	w.outages[link] = w.now.Add(w.awhile())
	w.sever(w.nodes[link[0]-1], w.nodes[link[1]-1])
}

// fillDisk leaves a node no room for a while, for custody or for anything.
func (w *world) fillDisk() {
	m := w.anyone()
	if w.rng.Intn(2) == 0 {
		m.full = true
		w.note("%s has a full disk", m.id)
		w.after(w.awhile(), func() { m.full = false })
		return
	}
	m.room = m.store.Stats().Bytes + int64(w.rng.Intn(5000))
	w.note("%s has %d bytes of room for custody", m.id, m.room)
	w.after(w.awhile(), func() { m.room = 0 })
}

// breakDisk lets a disk fail. The node refuses what needs it, until somebody starts
// it again.
func (w *world) breakDisk() {
	m := w.anyone()
	if !m.up {
		return
	}
	w.note("%s has a broken disk", m.id)
	m.broken = true
	epoch := m.epoch
	w.after(w.awhile(), func() {
		if m.up && m.epoch == epoch {
			m.crash()
			w.after(second, func() { m.boot() })
		}
	})
}

// stepClock sets the clock of a node wrong, by seconds or days, and mostly right
// again after a while.
func (w *world) stepClock() {
	m := w.anyone()
	unit := []dtntime.Duration{second, second, dtntime.Minute, dtntime.Hour, dtntime.Day}[w.rng.Intn(5)]
	d := int64(unit) * int64(1+w.rng.Intn(10))
	if w.rng.Intn(2) == 0 {
		d = -d
	}
	m.setClock(m.offset + d)
	if w.rng.Intn(4) > 0 {
		w.after(w.awhile(), func() { m.setClock(0) })
	}
}

// removeSomething is an operator that deletes a bundle.
func (w *world) removeSomething() {
	m := w.anyone()
	records, err := m.store.Scan(0, 100)
	if !m.up || err != nil || len(records) == 0 {
		return
	}
	r := records[w.rng.Intn(len(records))]
	w.note("%s is told to remove %s", m.id, r.ID)
	m.token++
	m.step(core.Remove{Token: m.token, Record: r})
}

// sendAway takes the application of a node away for a while.
func (w *world) sendAway() {
	m := w.anyone()
	w.note("%s has no application", m.id)
	m.away = true
	if m.up {
		for _, number := range slices.Sorted(maps.Keys(m.waiting)) {
			m.step(core.Cancel{Token: m.waiting[number]})
		}
		clear(m.waiting)
	}
	w.after(w.awhile(), func() {
		m.away = false
		m.listen()
	})
}

// comeAndGo registers an application for a while.
func (w *world) comeAndGo() {
	m := w.anyone()
	w.guests++
	number := steady + w.guests
	m.register(core.Registration{Number: number, Endpoint: fleet})
	w.after(w.awhile(), func() { m.unregister(number) })
}

// holdSomething is an operator who takes a link down, mostly for a while.
func (w *simulation) holdSomething() {
	link, end := w.edges[w.rng.Intn(len(w.edges))], w.rng.Intn(2)
	m, peer := w.nodes[link[end]-1], eid(link[1-end])
	m.hold(peer, true)
	if w.rng.Intn(4) > 0 {
		w.after(w.awhile(), func() { m.hold(peer, false) })
	}
}

// lastLines returns the end of the trace.
func (w *world) lastLines() []string {
	return w.lines[max(0, len(w.lines)-keptLines):]
}
