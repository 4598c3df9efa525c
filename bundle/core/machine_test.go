package core_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
	"perigee/bundle/store/memstore"
	"perigee/convergence"
)

// machine is a node: a core, and around it what carries out its effects. All but
// the store and the counters is lost in a crash.
type machine struct {
	w       *world
	number  int
	id      bundle.EID
	options options
	plan    *contact.Plan // what it believes

	store    *memstore.Store
	counters map[string]uint64
	// registrations are those of its applications, which outlast a crash.
	registrations []core.Registration
	made          int64 // payloads
	lastLink      core.LinkID
	offset        int64   // of its clock, in ms
	noticed       int64   // the offset that the core knows of
	drift         float64 // of its clock, as a part of what passes

	up       bool
	epoch    int // of its lives
	core     *core.Core
	token    core.Token
	staged   map[core.Token]store.Staged
	replies  map[core.Token]func(error)
	sessions []*session
	ending   map[core.LinkID]bool // of which the core does not know yet
	wanted   []bundle.EID
	held     map[bundle.EID]bool   // links that the operator holds down
	waiting  map[uint64]core.Token // of the applications that wait for a bundle, by registration
	diskFree dtntime.Time
	wake     uint64
	loads    int
	most     int                    // bundles in store, at any time
	deliver  func(rec store.Record) // nil: acknowledged at once
	news     []app.Event
	created  bundle.Timestamp
	full     bool  // the store has no room
	broken   bool  // the disk has failed, until the next start
	away     bool  // the application does not ask for bundles
	room     int64 // for custody; 0: without limit
	// saidBytes are the bytes of records that the core made itself.
	saidBytes int64
	// power tells whether it fails just before or just after a commit.
	power func(ops []store.Op, after bool) bool
}

func refusal(r *core.RefusedError) error { return &convergence.RefusedError{Reason: r.Reason} }

// clockStep is how much a clock must be set for the node to notice.
const clockStep = int64(second)

// now is what the node's clock shows.
func (m *machine) now() dtntime.Time {
	passed := int64(m.w.now - start)
	return dtntime.Time(int64(m.w.now) + m.offset + int64(m.drift*float64(passed)))
}

// setClock sets the node's clock, which is an amount ahead of the true time then.
// The node notices with its next step, within a second.
func (m *machine) setClock(offset int64) {
	if offset == m.offset {
		return
	}
	m.w.note("%s has its clock set from %d ms to %d ms", m.id, m.offset, offset)
	m.offset = offset
	m.w.after(dtntime.Duration(m.w.rng.Intn(1000)), func() { m.step(core.Tick{}) })
}

// boot starts a node on its store. One that runs goes on.
func (m *machine) boot() *machine {
	if m.up {
		return m
	}
	m.up, m.broken, m.noticed = true, false, m.offset
	m.created = bundle.Timestamp{}
	m.epoch++
	m.staged, m.replies = make(map[core.Token]store.Staged), make(map[core.Token]func(error))
	m.sessions, m.wanted, m.token, m.diskFree = nil, nil, 0, 0
	m.waiting = make(map[uint64]core.Token)
	m.ending = make(map[core.LinkID]bool)
	m.held = make(map[bundle.EID]bool)
	routes, err := route.NewTable(m.options.routes)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.core, err = core.New(core.Config{
		Node: m.id, Neighbours: m.neighbours(), Routes: routes, Plan: m.plan,
		AcceptCustody: !m.options.unaware, Custody: m.policy(), Aggregate: 5 * second, StatusReports: m.options.reports, MaxBundle: 1 << 30,
		MaxResident: m.options.resident, NextHandle: m.store.NextHandle, Registrations: m.registrations,
		Counter: func(name string) (uint64, error) { return m.counters[name], nil },
		Stamp:   m.stamp,
	})
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.restore()
	m.step(core.Tick{})
	m.listen()
	return m
}

// restore takes up what the store holds.
func (m *machine) restore() {
	lanes, err := m.store.Lanes(store.Lane{}, 1<<30)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.w.note("%s starts with %d lanes", m.id, len(lanes))
	m.core.Restore(m.now(), lanes)
	lost, err := m.core.NumbersLost()
	if err != nil {
		m.w.t.Fatal(err)
	}
	if !lost {
		return
	}
	records, err := m.store.Scan(0, 1<<30)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.core.Seen(records)
}

// load reads a lane, some time later. The core hears of it still later.
func (m *machine) load(e core.Load) {
	epoch := m.epoch
	m.w.after(dtntime.Duration(m.w.rng.Intn(20)), func() {
		if m.epoch != epoch {
			return
		}
		answer := core.Loaded{Token: e.Token}
		answer.Records, answer.Err = m.store.ScanLane(e.Lane, e.After, e.Limit)
		answer.End = len(answer.Records) < e.Limit
		m.loads++
		m.w.note("%s reads %d of %s behind %d", m.id, len(answer.Records), e.Lane, e.After)
		m.w.after(dtntime.Duration(m.w.rng.Intn(20)), func() {
			if m.epoch == epoch {
				m.step(answer)
			}
		})
	})
}

// resident is how many bundles are kept in memory.
func (m *machine) resident() int {
	if m.options.resident == 0 {
		return core.DefaultMaxResident
	}
	return m.options.resident
}

func (m *machine) policy() core.CustodyPolicy {
	p := m.options.policy
	p.Space = func() int64 {
		if m.room == 0 {
			return 1 << 40
		}
		return m.room - m.store.Stats().Bytes
	}
	return p
}

func (m *machine) neighbours() []core.Neighbour {
	var list []core.Neighbour
	for _, other := range m.w.nodes {
		if other == m || m.options.peers != nil && !slices.Contains(m.options.peers, other.number) {
			continue
		}
		list = append(list, core.Neighbour{Peer: other.id, Always: m.w.stands(m, other), Dial: m.number < other.number})
	}
	return list
}

// stamp returns a timestamp that this life of the node has not used before.
func (m *machine) stamp(now dtntime.Time) bundle.Timestamp {
	if now > m.created.Time {
		m.created = bundle.Timestamp{Time: now}
	} else {
		m.created.Sequence++
	}
	return m.created
}

// crash stops a node as a loss of power does.
func (m *machine) crash() {
	if !m.up {
		return
	}
	m.w.note("%s crashes", m.id)
	sessions := m.sessions
	m.up = false
	m.epoch++
	m.store = m.store.Crash()
	for _, s := range sessions {
		m.w.cut(s, [2]dtntime.Duration{3 * second, 3 * second})
	}
}

// listen waits for bundles at the application's endpoint and under all registrations.
func (m *machine) listen() {
	m.listenAs(core.Registration{Endpoint: m.id.WithService(1)})
	for _, r := range m.registrations {
		m.listenAs(r)
	}
}

// listenAs waits for bundles under one registration.
func (m *machine) listenAs(r core.Registration) {
	if m.away || m.waiting[r.Number] != 0 || !m.up {
		return
	}
	m.token++
	m.waiting[r.Number] = m.token
	m.step(core.Receive{Token: m.token, Endpoint: r.Endpoint, Registration: r.Number})
}

// register registers another application.
func (m *machine) register(r core.Registration) {
	m.w.note("%s registers %d", m.id, r.Number)
	m.registrations = append(m.registrations, r)
	m.step(core.Register{Registration: r})
	m.listen()
}

// unregister ends the registration of an application.
func (m *machine) unregister(number uint64) {
	m.w.note("%s unregisters %d", m.id, number)
	m.registrations = slices.DeleteFunc(m.registrations, func(r core.Registration) bool { return r.Number == number })
	m.w.unregistered(m, number)
	m.step(core.Unregister{Number: number})
	delete(m.waiting, number)
}

// step gives the core an event and carries out the effects.
func (m *machine) step(e core.Event) {
	if !m.up {
		return
	}
	if d := m.offset - m.noticed; d >= clockStep || d <= -clockStep {
		m.noticed = m.offset
		m.step(core.ClockStepped{Was: dtntime.Time(int64(m.now()) - d)})
	}
	for _, effect := range slices.Clone(m.core.Step(m.now(), e)) {
		m.carryOut(effect)
	}
	m.checkBounds()
	m.wake++
	mine, epoch := m.wake, m.epoch
	if next := m.core.NextWake(); next != dtntime.Forever {
		m.w.after(next.Sub(m.now()), func() {
			if m.wake == mine && m.epoch == epoch {
				m.step(core.Tick{})
			}
		})
	}
}

func (m *machine) carryOut(effect core.Effect) {
	switch e := effect.(type) {
	case core.Persist:
		m.persist(e)
	case core.Load:
		m.load(e)
	case core.Reply:
		m.w.note("%s replies: %v", m.id, e.Err)
		if st := m.staged[e.Token]; st != nil {
			st.Discard()
			delete(m.staged, e.Token)
		}
		if then := m.replies[e.Token]; then != nil {
			delete(m.replies, e.Token)
			then(e.Err)
		}
	case core.Transmit:
		m.transmit(e)
	case core.Deliver:
		m.w.note("%s delivers %s to %d", m.id, e.Record.ID, e.Registration)
		delete(m.waiting, e.Registration)
		m.checkDelivery(e)
		m.received(e)
	case core.Assemble:
		m.assemble(e)
	case core.Connect:
		if !slices.Contains(m.wanted, e.Peer) {
			m.wanted = append(m.wanted, e.Peer)
			m.dial(e.Peer, m.epoch)
		}
	case core.Hangup:
		m.hangup(e)
	case core.Notify:
		m.news = append(m.news, e.Event)
		m.checkReport(&e.Event)
		if e.Event.Kind == app.EventDeleted && !strings.HasPrefix(e.Event.Detail, "no application is registered") {
			m.w.spoil(*e.Event.Bundle)
		}
	default:
		m.w.fail("%s: unknown effect %T", m.id, e)
	}
}

// persist commits in order, some time later. The core hears of it still later.
func (m *machine) persist(e core.Persist) {
	var put store.Staged
	ops := slices.Clone(e.Ops)
	for i, op := range ops {
		p, ok := op.(store.Put)
		if !ok {
			continue
		}
		if put = m.staged[e.Token]; e.Inline != nil {
			m.saidBytes += p.Record.PayloadLen
			put = m.stage(e.Inline)
		}
		delete(m.staged, e.Token)
		p.Staged = put
		ops[i] = p
	}
	m.diskFree = max(m.diskFree, m.w.now).Add(dtntime.Duration(1 + m.w.rng.Intn(20)))
	epoch := m.epoch
	m.w.at(m.diskFree, func() {
		if m.epoch != epoch {
			return
		}
		early, late := m.outage(ops)
		if early {
			m.fails()
			return
		}
		err := m.commit(ops, put)
		m.w.note("%s commits %d: %v", m.id, len(ops), err)
		if late || m.power != nil && m.power(ops, true) {
			m.fails()
			return
		}
		m.w.after(dtntime.Duration(m.w.rng.Intn(3)), func() {
			if m.epoch == epoch {
				m.step(core.Committed{Token: e.Token, Err: err})
			}
		})
	})
}

// outage tells whether the power fails just before or just after a commit.
func (m *machine) outage(ops []store.Op) (before, after bool) {
	if m.power != nil && m.power(ops, false) {
		return true, false
	}
	if p := m.w.faults.power; p > 0 && m.w.rng.Float64() < p {
		before = m.w.rng.Intn(2) == 0
		return before, !before
	}
	return false, false
}

// fails crashes the node. In a simulation it comes back by itself.
func (m *machine) fails() {
	m.crash()
	if m.w.faults.power > 0 {
		m.w.after(dtntime.Duration(1000+m.w.rng.Intn(100_000)), func() { m.boot() })
	}
}

// commit makes ops durable, or says why not. When the disk fails, what was being
// written may have got there.
func (m *machine) commit(ops []store.Op, put store.Staged) error {
	w := m.w
	fails := !m.broken && w.faults.fail > 0 && w.rng.Float64() < w.faults.fail
	switch {
	case m.broken, fails && w.rng.Intn(2) == 0:
		m.broken, w.tally.failed = true, true
		if put != nil {
			put.Discard()
		}
		return store.ErrFailed
	case put != nil && (m.full || w.faults.full > 0 && w.rng.Float64() < w.faults.full):
		put.Discard()
		return store.ErrQuota
	}
	w.leave(m, ops)
	acked := w.acknowledging(m, ops)
	err := m.store.Commit(context.Background(), ops)
	if err == nil {
		m.committed(ops)
		for _, t := range acked {
			t.done, t.of.taken = true, true
		}
	}
	if fails && err == nil {
		m.broken = true
		return store.ErrFailed
	}
	return err
}

func (m *machine) stage(raw []byte) store.Staged {
	st, err := m.store.Stage(int64(len(raw)))
	if err == nil {
		_, err = st.Write(raw)
	}
	if err != nil {
		m.w.t.Fatalf("staging: %v", err)
	}
	return st
}

// arrive takes bytes that came over a link, and answers when the core does.
func (m *machine) arrive(link core.LinkID, raw []byte, answer func(error)) {
	b, payload, err := bundle.Parse(raw, bundle.DefaultLimits())
	if err != nil {
		m.w.t.Fatalf("%s: what came over a link is no bundle: %v", m.id, err)
	}
	m.token++
	token := m.token
	m.staged[token], m.replies[token] = m.stage(raw), answer
	known, err := m.store.Find(b.ID())
	if err != nil {
		m.w.t.Fatal(err)
	}
	a := core.Arrival{
		Token: token, Link: link, Bundle: &b, Known: known,
		HeaderLen: int64(len(raw) - len(payload)), Size: int64(len(raw)), Priority: b.Priority(),
	}
	if b.Primary.Destination == m.id && b.Primary.Flags&bundle.FlagAdminRecord != 0 {
		a.Admin = payload
	}
	if id := b.ID(); id.Fragment {
		if a.Whole, err = m.store.Find(id.Whole()); err != nil {
			m.w.t.Fatal(err)
		}
	}
	m.step(a)
}

// assemble puts a bundle together some time later.
func (m *machine) assemble(e core.Assemble) {
	m.w.note("%s puts %s together from %d parts", m.id, e.Whole, len(e.Parts))
	var payload []byte
	var whole bundle.Bundle
	for i, part := range e.Parts {
		content, err := m.store.Open(part.Record.Handle)
		if err != nil {
			m.w.t.Fatal(err)
		}
		raw, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
		if err != nil {
			m.w.t.Fatal(err)
		}
		_ = content.Close()
		b, data, err := bundle.Parse(raw, bundle.DefaultLimits())
		if err != nil {
			m.w.t.Fatal(err)
		}
		if i == 0 {
			if whole, err = b.Whole(); err != nil {
				m.w.t.Fatal(err)
			}
		}
		payload = append(payload, data[part.From:part.From+part.Length]...)
	}
	raw, epoch := whole.Append(nil, payload), m.epoch
	if f := m.w.sent[e.Whole]; f != nil && !bytes.Equal(f.payload, payload) {
		m.w.fail("%s was put together wrongly", e.Whole)
	}
	m.w.after(dtntime.Duration(m.w.rng.Intn(50)), func() {
		if m.epoch != epoch {
			return
		}
		known, err := m.store.Find(e.Whole)
		if err != nil {
			m.w.t.Fatal(err)
		}
		m.token++
		m.staged[m.token] = m.stage(raw)
		m.step(core.Assembled{
			Token: m.token, Whole: e.Whole, Known: known,
			HeaderLen: int64(whole.HeaderLen()), PayloadLen: int64(len(payload)), Size: int64(len(raw)),
		})
	})
}

// send sends a bundle as an application of this node: to that of another one, or to
// fleet if to is 0.
func (m *machine) send(to int, custody bool, size int, opts ...bundletest.Option) *fate {
	dest := fleet
	if to != 0 {
		dest = eid(to).WithService(1)
	}
	opts = append([]bundletest.Option{
		bundletest.From(m.id.WithService(1)), bundletest.To(dest),
		bundletest.Flags(bundle.FlagMustNotFragment), bundletest.Lifetime(dtntime.Day),
	}, opts...)
	b := bundletest.New(opts...)
	wish, _ := b.Reporting()
	b.RemoveExtension(bundle.TypeReporting)
	for { // after the clock was set back, an old ID may come up again
		b.Primary.Created = m.stamp(m.now())
		if m.w.sent[b.ID()] == nil {
			break
		}
	}
	m.made++
	content := bundletest.Payload(m.made<<8+int64(m.number), size)
	raw := bundletest.Encode(b, content)
	parsed, payload, err := bundle.Parse(raw, bundle.DefaultLimits())
	if err != nil {
		m.w.t.Fatal(err)
	}
	f := &fate{
		id: parsed.ID(), custody: custody, expiry: parsed.Expiry(m.now()), primary: parsed.Primary,
		payload: payload,
	}
	m.w.sent[f.id] = f
	m.w.order = append(m.w.order, f.id)
	m.w.note("%s sends %s to %d", m.id, f.id, to)
	m.token++
	m.staged[m.token] = m.stage(raw)
	m.replies[m.token] = func(err error) { m.w.accept(f, m, err) }
	m.step(core.Arrival{
		Token: m.token, Bundle: &parsed, HeaderLen: int64(len(raw) - len(payload)), Size: int64(len(raw)),
		Custody: custody, Priority: parsed.Priority(), Reporting: wish.Requests,
	})
	return f
}

// asksFor has a bundle ask for compressed reports. In the place of an application,
// whose bundles get the block when they leave, it is only a wish.
func asksFor(requests bundle.ReportingFlags) bundletest.Option {
	return func(b *bundle.Bundle) { b.SetExtension(bundle.ReportingBlock(0, bundle.Reporting{Requests: requests})) }
}

// divisible lets a bundle be cut.
func divisible(b *bundle.Bundle) { b.Primary.Flags &^= bundle.FlagMustNotFragment }

// transmit puts a stored bundle on a session.
func (m *machine) transmit(e core.Transmit) {
	m.w.note("%s transmits %s", m.id, e.Record.ID)
	for _, s := range m.sessions {
		for i := range s.ends {
			if s.ends[i] != m || s.links[i] != e.Link {
				continue
			}
			m.checkWindow(s.ends[1-i], e)
			raw, b, err := m.encode(e)
			if err != nil {
				m.w.after(1, func() { m.step(core.Sent{Link: e.Link, Handle: e.Record.Handle, Err: err}) })
				return
			}
			m.w.transfer(s, i, &transfer{handle: e.Record.Handle, bundle: b, admin: e.Record.Flags&bundle.FlagAdminRecord != 0}, raw)
			return
		}
	}
	if m.ending[e.Link] {
		m.step(core.Sent{Link: e.Link, Handle: e.Record.Handle, Err: errCut})
		return
	}
	m.w.fail("%s transmits over link %d, which has ended", m.id, e.Link)
}

// hold is an operator who takes a link down or gives it back. It may hold already.
func (m *machine) hold(peer bundle.EID, held bool) {
	if !m.up {
		return
	}
	m.w.note("%s holds its link with %s down: %v", m.id, peer, held)
	m.held[peer] = held
	m.token++
	m.replies[m.token] = func(err error) {
		if err != nil {
			m.w.fail("%s does not hold its link with %s: %v", m.id, peer, err)
		}
	}
	m.step(core.HoldLink{Token: m.token, Peer: peer, Held: held})
}

// checkWindow fails a transmission outside the contacts that the node knows, or over a
// link that is held down.
func (m *machine) checkWindow(to *machine, e core.Transmit) {
	if m.held[to.id] {
		m.w.fail("%s transmits to %s over a link that is held down", m.id, to.id)
		return
	}
	if m.w.stands(m, to) {
		return
	}
	c, open := m.plan.Active(m.id, to.id, m.now())
	switch {
	case !open:
		for k := range m.plan.Involving(m.id) {
			if k.From == to.id || k.To == to.id {
				m.w.fail("%s transmits to %s outside the contacts", m.id, to.id)
				return
			}
		}
	case e.Piece == (core.Piece{}) && !c.Fits(e.Record.Size, m.now()), !c.Fits(int64(e.Piece.Length), m.now()):
		m.w.fail("%s transmits %d bytes to %s, which do not fit into the contact", m.id, e.Record.Size, to.id)
	}
}

func (m *machine) encode(e core.Transmit) ([]byte, *bundle.Bundle, error) {
	content, err := m.store.Open(e.Record.Handle)
	if err != nil {
		return nil, nil, err
	}
	defer content.Close()
	raw, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
	if err != nil {
		return nil, nil, err
	}
	b, payload, err := bundle.Parse(raw, bundle.DefaultLimits())
	if err != nil {
		return nil, nil, err
	}
	if err := e.Changes.Apply(&b, &e.Record, m.now()); err != nil {
		return nil, nil, fmt.Errorf("changing the header: %w", err)
	}
	if e.Piece == (core.Piece{}) {
		return b.Append(nil, payload), &b, nil
	}
	part, err := b.Fragment(e.Piece.Offset, e.Piece.Length)
	if err != nil {
		return nil, nil, err
	}
	return part.Append(nil, payload[e.Piece.Offset:e.Piece.Offset+e.Piece.Length]), &part, nil
}

// received is the application: it makes a bundle its own after a while, or it
// fails meanwhile and gives it back.
func (m *machine) received(e core.Deliver) {
	if m.deliver != nil {
		m.deliver(e.Record)
		return
	}
	epoch := m.epoch
	again := m.w.rng.Intn(8) == 0
	m.w.after(dtntime.Duration(m.w.rng.Intn(2000)), func() {
		if m.epoch != epoch {
			return
		}
		if again {
			m.giveBack(e)
		} else {
			m.take(e)
		}
		m.listen()
	})
}

// giveBack is an application that fails before it has made a bundle its own.
func (m *machine) giveBack(e core.Deliver) {
	m.w.note("%s has its application give %s back", m.id, e.Record.ID)
	if t := m.taker(e); t != nil {
		t.leased = 0
	}
	m.step(core.Release{Handle: e.Record.Handle, Registration: e.Registration})
}

// take makes a bundle the application's own.
func (m *machine) take(e core.Deliver) {
	m.token++
	m.replies[m.token] = func(err error) {
		if t := m.taker(e); t != nil && err == nil {
			t.acked = true
		}
	}
	m.step(core.Ack{Token: m.token, Handle: e.Record.Handle, Registration: e.Registration})
}

// ack makes a bundle at the application's endpoint its own.
func (m *machine) ack(rec store.Record) { m.take(core.Deliver{Record: rec}) }

// dial tries to make a wanted session, again and again.
func (m *machine) dial(peer bundle.EID, epoch int) {
	m.w.after(dtntime.Duration(500+m.w.rng.Intn(2500)), func() {
		if m.epoch != epoch || !slices.Contains(m.wanted, peer) {
			return
		}
		if other := m.w.node(peer); other != nil && m.w.reachable(m, other) {
			m.w.connect(m, other)
		}
		m.dial(peer, epoch)
	})
}

func (m *machine) hangup(e core.Hangup) {
	if e.Link == 0 {
		m.wanted = slices.DeleteFunc(m.wanted, func(p bundle.EID) bool { return p == e.Peer })
		return
	}
	for _, s := range slices.Clone(m.sessions) {
		for i := range s.ends {
			if s.ends[i] == m && s.links[i] == e.Link {
				m.w.cut(s, [2]dtntime.Duration{20, 20})
			}
		}
	}
}
