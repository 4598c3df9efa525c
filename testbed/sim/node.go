package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"perigee/bundle"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/bundle/store/memstore"
	"perigee/convergence"
)

// Times that real machines take.
const (
	commitTime  = 3 * time.Millisecond // of a disk, for what waits for it
	loadTime    = time.Millisecond
	consumeTime = 20 * time.Millisecond // of an application, to make a bundle its own
	forgetEvery = time.Hour
	hopLimit    = 64
	maxBundle   = 64 << 20
)

// node is a core, and around it what carries out its effects. All but the store and
// what the applications know is lost when power fails.
type node struct {
	w       *world
	number  int
	name    string
	id      bundle.EID
	quota   int64
	store   *memstore.Store
	peers   []core.Neighbour
	wires   map[bundle.EID]*wire
	listens []bundle.EID // endpoints of its applications

	up        bool
	epoch     int // of its lives
	core      *core.Core
	token     core.Token
	lastLink  core.LinkID // never used again
	links     map[core.LinkID]*wire
	staged    map[core.Token]store.Staged
	replies   map[core.Token]func(error)
	waiting   map[bundle.EID]bool
	created   bundle.Timestamp
	wake      uint64
	commits   []core.Persist // that wait for the disk
	diskBusy  bool
	stepping  bool
	postponed []core.Event
}

func newNode(w *world, number int, c Node) *node {
	return &node{
		w: w, number: number, name: c.Name, id: c.ID, quota: c.Storage,
		store: memstore.New(memstore.Options{Quota: c.Storage}), wires: make(map[bundle.EID]*wire),
	}
}

// boot starts a node on its store. One that runs goes on.
func (n *node) boot() {
	if n.up {
		return
	}
	n.up = true
	n.epoch++
	n.token, n.diskBusy, n.commits, n.postponed = 0, false, nil, nil
	n.links = make(map[core.LinkID]*wire)
	n.staged, n.replies = make(map[core.Token]store.Staged), make(map[core.Token]func(error))
	n.waiting = make(map[bundle.EID]bool)
	made, err := core.New(core.Config{
		Node: n.id, Neighbours: n.peers, Plan: n.w.cfg.Plan, AcceptCustody: true, Custody: n.policy(),
		MaxBundle: maxBundle, NextHandle: n.store.NextHandle, Counter: n.store.Counter, Stamp: n.stamp,
	})
	if err != nil {
		n.w.fail(err)
		return
	}
	n.core = made
	lanes, err := n.store.Lanes(store.Lane{}, 1<<30)
	if err != nil {
		n.w.fail(err)
		return
	}
	n.core.Restore(n.w.clock(), lanes)
	n.w.note(n, "boots", uint64(len(lanes)))
	n.step(core.Tick{})
	for _, e := range n.listens {
		n.listen(e)
	}
	n.forget(n.epoch)
	for _, p := range n.peers {
		n.wires[p.Peer].check()
	}
}

// policy is the custody that a node takes over: whatever there is room for.
func (n *node) policy() core.CustodyPolicy {
	if n.quota == 0 {
		return core.CustodyPolicy{}
	}
	return core.CustodyPolicy{Space: func() int64 {
		s := n.store.Stats()
		return s.CustodyQuota - s.CustodyBytes
	}}
}

// stamp returns a creation timestamp that the node has not used before.
func (n *node) stamp(now dtntime.Time) bundle.Timestamp {
	if now > n.created.Time {
		n.created = bundle.Timestamp{Time: now}
	} else {
		n.created.Sequence++
	}
	return n.created
}

// crash stops a node as a loss of power does.
func (n *node) crash() {
	if !n.up {
		return
	}
	n.w.note(n, "crashes")
	n.w.history.crashes++
	n.up = false
	n.epoch++
	n.store = n.store.Crash()
	for _, p := range n.peers {
		n.wires[p.Peer].check()
	}
}

// forget drops from the store what need not be known any more, from time to time.
func (n *node) forget(epoch int) {
	n.w.after(forgetEvery, func() {
		if n.epoch != epoch {
			return
		}
		if err := n.store.Forget(context.Background(), n.w.clock()); err != nil {
			n.w.fail(err)
		}
		n.forget(epoch)
	})
}

// after lets something happen in this life of the node.
func (n *node) after(d time.Duration, then func()) {
	epoch := n.epoch
	n.w.after(d, func() {
		if n.epoch == epoch {
			then()
		}
	})
}

// step gives the core an event and carries out the effects. What these bring about at
// once comes after them.
func (n *node) step(e core.Event) {
	if !n.up {
		return
	}
	if n.postponed = append(n.postponed, e); n.stepping {
		return
	}
	n.stepping = true
	for i := 0; i < len(n.postponed) && n.up; i++ {
		for _, effect := range n.core.Step(n.w.clock(), n.postponed[i]) {
			n.carryOut(effect)
		}
	}
	n.postponed, n.stepping = n.postponed[:0], false
	if n.up {
		n.setAlarm()
	}
}

// setAlarm has the core wake up when it wants to.
func (n *node) setAlarm() {
	n.wake++
	mine := n.wake
	next := n.core.NextWake()
	if next == dtntime.Forever {
		return
	}
	n.w.at(n.w.since(next), func() {
		if n.wake == mine && n.up {
			n.step(core.Tick{})
		}
	})
}

func (n *node) carryOut(effect core.Effect) {
	switch e := effect.(type) {
	case core.Persist:
		n.persist(e)
	case core.Load:
		n.load(e)
	case core.Reply:
		n.reply(e)
	case core.Transmit:
		n.transmit(e)
	case core.Deliver:
		n.deliver(e)
	case core.Connect:
		n.wires[e.Peer].carrier.want(n.wires[e.Peer].endOf(n), true)
	case core.Hangup:
		n.hangup(e)
	case core.Follow:
		if l := n.links[e.Link]; l != nil {
			l.carrier.follow(l.endOf(n), e)
		}
	case core.Notify:
		n.w.history.notice(n, &e.Event)
	case core.Assemble: // nothing that is sent here may be cut
		n.w.fail(fmt.Errorf("%s puts %s together, which was whole", n.id, e.Whole))
	default:
		n.w.fail(fmt.Errorf("%s: unknown effect %T", n.id, e))
	}
}

func (n *node) hangup(e core.Hangup) {
	l := n.wires[e.Peer]
	if e.Link == 0 {
		l.carrier.want(l.endOf(n), false)
		return
	}
	l.carrier.hangup(l.endOf(n), e.Link)
}

// load reads a lane, some time later.
func (n *node) load(e core.Load) {
	n.after(loadTime, func() {
		answer := core.Loaded{Token: e.Token}
		answer.Records, answer.Err = n.store.ScanLane(e.Lane, e.After, e.Limit)
		answer.End = len(answer.Records) < e.Limit
		n.step(answer)
	})
}

func (n *node) reply(e core.Reply) {
	if st := n.staged[e.Token]; st != nil {
		st.Discard()
		delete(n.staged, e.Token)
	}
	if then := n.replies[e.Token]; then != nil {
		delete(n.replies, e.Token)
		then(e.Err)
	}
}

// persist puts ops in line for the disk, which makes all that waits durable at once.
func (n *node) persist(e core.Persist) {
	ops := make([]store.Op, len(e.Ops))
	copy(ops, e.Ops)
	for i, op := range ops {
		p, ok := op.(store.Put)
		if !ok {
			continue
		}
		if e.Inline != nil {
			st, err := n.fill(e.Inline)
			if err != nil {
				n.w.fail(fmt.Errorf("staging a record at %s: %w", n.id, err))
				return
			}
			p.Staged = st
		} else {
			p.Staged = n.staged[e.Token]
		}
		delete(n.staged, e.Token)
		ops[i] = p
	}
	e.Ops = ops
	n.commits = append(n.commits, e)
	if !n.diskBusy {
		n.diskBusy = true
		n.after(commitTime, n.commit)
	}
}

// commit makes durable what waits.
func (n *node) commit() {
	list := n.commits
	n.commits = nil
	for _, p := range list {
		n.w.history.leaving(n, p.Ops)
		err := n.store.Commit(context.Background(), p.Ops)
		if err == nil {
			n.w.history.committed(n, p.Ops)
		}
		n.step(core.Committed{Token: p.Token, Err: err})
	}
	if n.diskBusy = len(n.commits) > 0; n.diskBusy {
		n.after(commitTime, n.commit)
	}
}

// fill stages a bundle without copying it.
func (n *node) fill(raw []byte) (store.Staged, error) {
	st, err := n.store.Stage(int64(len(raw)))
	if err != nil {
		return nil, err
	}
	return st, st.(store.Buffered).Fill(raw)
}

// send sends a bundle as an application of this node.
func (n *node) send(t *Traffic, body []byte) {
	b := bundle.Bundle{
		Primary: bundle.Primary{
			CRC: bundle.CRC32C, Destination: t.To.WithService(t.Kind.Service()), Source: n.id.WithService(t.Kind.Service()),
			Flags: bundle.FlagMustNotFragment, Created: n.stamp(n.w.clock()), Lifetime: t.Lifetime,
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(body))},
	}
	b.SetExtension(bundle.HopCountBlock(0, bundle.HopCount{Limit: hopLimit}))
	if t.Priority != bundle.PriorityNormal {
		b.SetExtension(bundle.PriorityBlock(0, t.Priority))
	}
	raw := b.Append(nil, body)
	f := n.w.history.sending(n, t, &b, body, int64(len(raw)))
	n.token++
	token := n.token
	st, err := n.fill(raw)
	if err != nil {
		f.refused = true // the store is full, and the application learns of it
		return
	}
	n.staged[token] = st
	n.replies[token] = func(err error) { n.w.history.answered(n, f, err) }
	n.step(core.Arrival{
		Token: token, Bundle: &b, HeaderLen: int64(b.HeaderLen()), Size: int64(len(raw)),
		Custody: t.Custody, Priority: t.Priority,
	})
}

// arrive takes the bytes of a bundle that came over a link, and answers when the core
// does.
func (n *node) arrive(link core.LinkID, raw []byte, answer func(error)) {
	b, body, err := bundle.Parse(raw, bundle.DefaultLimits())
	if err != nil {
		n.w.fail(fmt.Errorf("what came to %s over a link is no bundle: %w", n.id, err))
		return
	}
	st, err := n.fill(raw)
	if err != nil {
		answer(&convergence.RefusedError{Reason: convergence.RefuseNoResources})
		return
	}
	known, err := n.store.Find(b.ID())
	if err != nil {
		n.w.fail(err)
		return
	}
	n.token++
	n.staged[n.token] = st
	n.replies[n.token] = func(err error) {
		var refused *core.RefusedError
		if errors.As(err, &refused) {
			err = &convergence.RefusedError{Reason: refused.Reason}
		}
		answer(err)
	}
	a := core.Arrival{
		Token: n.token, Link: link, Bundle: &b, Known: known,
		HeaderLen: int64(b.HeaderLen()), Size: int64(len(raw)), Priority: b.Priority(),
	}
	if b.Primary.Destination == n.id && b.Primary.Flags&bundle.FlagAdminRecord != 0 {
		a.Admin = body
	}
	n.step(a)
}

// transmit puts a stored bundle on a link.
func (n *node) transmit(e core.Transmit) {
	l := n.links[e.Link]
	if l == nil {
		n.after(0, func() { n.step(core.Sent{Link: e.Link, Handle: e.Record.Handle, Err: errCut}) })
		return
	}
	raw, err := n.encode(e)
	if err != nil {
		n.after(0, func() { n.step(core.Sent{Link: e.Link, Handle: e.Record.Handle, Err: err}) })
		return
	}
	n.w.note(n, "transmits", uint64(e.Link), uint64(e.Record.Handle), uint64(len(raw)))
	n.w.history.transmitted(&e.Record, len(raw))
	l.carrier.send(l.endOf(n), e.Link, e.Record.Handle, raw)
}

// encode makes the bytes that a stored bundle has on its way. A carrier that has copied
// them recycles them.
func (n *node) encode(e core.Transmit) ([]byte, error) {
	if e.Piece != (core.Piece{}) {
		return nil, bundle.ErrNotFragmentable
	}
	content, err := n.store.Open(e.Record.Handle)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	header := make([]byte, e.Record.HeaderLen)
	if _, err := content.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var b bundle.Bundle
	if _, err := b.DecodeHeader(header, bundle.DefaultLimits()); err != nil {
		return nil, err
	}
	if err := e.Changes.Apply(&b, &e.Record, n.w.clock()); err != nil {
		return nil, fmt.Errorf("changing the header: %w", err)
	}
	return b.AppendFrom(n.w.buffer(int(b.EncodedLen())), io.NewSectionReader(content, e.Record.HeaderLen, e.Record.PayloadLen))
}

// listenAt adds an endpoint at which an application of this node listens.
func (n *node) listenAt(endpoint bundle.EID) {
	for _, e := range n.listens {
		if e == endpoint {
			return
		}
	}
	n.listens = append(n.listens, endpoint)
	n.listen(endpoint)
}

// listen waits for a bundle at an endpoint.
func (n *node) listen(endpoint bundle.EID) {
	if !n.up || n.waiting[endpoint] {
		return
	}
	n.waiting[endpoint] = true
	n.token++
	n.step(core.Receive{Token: n.token, Endpoint: endpoint})
}

// deliver is the application, which takes a bundle and makes it its own after a while.
func (n *node) deliver(e core.Deliver) {
	n.w.note(n, "delivers", uint64(e.Record.Handle))
	n.w.history.delivering(n, &e.Record)
	n.waiting[e.Record.Destination] = false
	n.after(0, func() { n.listen(e.Record.Destination) })
	n.after(consumeTime, func() {
		n.token++
		n.replies[n.token] = func(err error) { n.w.history.acknowledged(n, &e.Record, err) }
		n.step(core.Ack{Token: n.token, Handle: e.Record.Handle})
	})
}
