package sim

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"time"

	"perigee/bundle/core"
	"perigee/bundle/store"
	"perigee/convergence"
	"perigee/convergence/ltp"
)

const (
	// headerBytes are those of UDP and IPv4 in front of each datagram.
	headerBytes = 28
	// dialTimeout is how long an end waits for the other to answer, and dialPause how
	// long until it tries again.
	dialTimeout = 10 * time.Second
	dialPause   = time.Second
	// closeGrace is how long the orderly end of a session may take.
	closeGrace = 2 * time.Second
	// ltpPage is the bytes of a bundle that are handed over at a time.
	ltpPage = 64 << 10
)

// ltpCarrier carries bundles with the machines of package ltp, datagram by datagram.
type ltpCarrier struct {
	*wire
	link    Link
	engines [2]*ltpEngine
	spare   [][]byte // buffers of datagrams
}

func newLTP(l *wire, c Link) *ltpCarrier {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	k := &ltpCarrier{wire: l, link: c}
	for end := range k.engines {
		k.engines[end] = &ltpEngine{ltpCarrier: k, end: end, node: l.ends[end], lookAt: never}
	}
	return k
}

func (k *ltpCarrier) want(end int, wanted bool)        { k.engines[end].want(wanted) }
func (k *ltpCarrier) hangup(end int, link core.LinkID) { k.engines[end].hangup(link) }
func (k *ltpCarrier) follow(end int, f core.Follow)    { k.engines[end].follow(f) }
func (k *ltpCarrier) changed()                         { k.engines[0].changed(); k.engines[1].changed() }

func (k *ltpCarrier) send(end int, link core.LinkID, h store.Handle, raw []byte) {
	k.engines[end].send(link, h, raw)
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// ltpEngine is one end of it. What it knows is lost when power fails.
type ltpEngine struct {
	*ltpCarrier
	end     int
	node    *node
	epoch   int // the life of the node that machine is of, 0 for none
	machine *ltp.Machine
	wanted  bool
	session *ltpSession // nil when there is none
	lookAt  time.Duration
	looks   uint64
}

// ltpSession is a session as one end sees it.
type ltpSession struct {
	link   core.LinkID // 0 until the node knows of it
	line   []*ltpBundle
	blocks map[uint64][]*ltpBundle // by block, in the order of its units
}

// ltpBundle is a bundle that was handed over to be sent.
type ltpBundle struct {
	handle store.Handle
	raw    []byte
	at     int // bytes handed to the machine
	block  uint64
	begun  bool
}

// isAlive tells whether the node runs, and gives each of its lives a machine.
func (e *ltpEngine) isAlive() bool {
	if !e.node.up {
		return false
	}
	if e.epoch != e.node.epoch {
		e.epoch, e.session, e.wanted, e.lookAt = e.node.epoch, nil, false, never
		e.looks++
		e.machine = ltp.NewMachine(ltp.Params{
			Local: e.node.id.NodeNumber(), Remote: e.ends[1-e.end].id.NodeNumber(), MTU: e.link.MTU, Margin: ltp.DefaultMargin,
			LightTime: e.light(), MaxUnclaimed: ltp.DefaultMaxUnclaimed, MaxHeld: ltp.DefaultMaxHeld, MaxBlocks: ltp.DefaultMaxBlocks,
			StreamFrom: ltp.DefaultMaxHeld / 2, Probe: ltp.DefaultProbe, DeadAfter: ltp.DefaultDeadAfter, Random: e.rng,
		}, e.w.now)
	}
	return true
}

func (e *ltpEngine) want(wanted bool) {
	if e.isAlive() {
		e.wanted = wanted
		e.dial()
	}
}

func (e *ltpEngine) changed() {
	if e.isAlive() {
		e.dial()
		e.lookBy(e.w.now)
	}
}

// dial opens a session when one is wanted and there is none.
func (e *ltpEngine) dial() {
	c, open := e.w.open(e.node, e.ends[1-e.end])
	if !e.wanted || e.session != nil || !open {
		return
	}
	s := &ltpSession{blocks: make(map[uint64][]*ltpBundle)}
	e.session = s
	e.follow(core.Follow{Open: true, Rate: c.Rate, Light: c.Light})
	e.machine.Open(e.w.now)
	e.lookBy(e.w.now)
	if 2*c.Light.Std() > dialTimeout {
		s.link = e.linkUp(e.end, true, true) // the other end shows itself later, or never
		return
	}
	e.node.after(dialTimeout, func() {
		if e.session == s && s.link == 0 {
			e.machine.Fail(errors.New("nobody answers"), e.w.now)
			e.lookBy(e.w.now)
		}
	})
}

func (e *ltpEngine) hangup(link core.LinkID) {
	s := e.session
	if !e.isAlive() || s == nil || s.link != link {
		return
	}
	e.machine.Close(e.w.now)
	e.lookBy(e.w.now)
	e.node.after(closeGrace, func() {
		if e.session == s {
			e.machine.Fail(errCut, e.w.now)
			e.lookBy(e.w.now)
		}
	})
}

// follow has the machine heed a contact.
func (e *ltpEngine) follow(f core.Follow) {
	if !e.isAlive() {
		return
	}
	if f.Rate > 0 {
		e.machine.SetRate(uint64(f.Rate))
	}
	e.machine.SetLightTime(f.Light.Std())
	if f.Open {
		e.machine.Resume(e.w.now)
	} else {
		e.machine.Suspend(e.w.now)
	}
	e.lookBy(e.w.now)
}

func (e *ltpEngine) send(link core.LinkID, h store.Handle, raw []byte) {
	s := e.session
	if !e.isAlive() || s == nil || s.link != link {
		e.node.after(0, func() { e.node.step(core.Sent{Link: link, Handle: h, Err: errCut}) })
		return
	}
	s.line = append(s.line, &ltpBundle{handle: h, raw: raw})
	e.lookBy(e.w.now)
}

// lookBy has the engine look what there is to do at a time at the latest.
func (e *ltpEngine) lookBy(at time.Duration) {
	if at = max(at, e.w.now); at >= e.lookAt {
		return
	}
	e.lookAt = at
	e.looks++
	mine, epoch := e.looks, e.epoch
	e.w.at(at, func() {
		if e.looks == mine && e.epoch == epoch && e.node.up && e.node.epoch == epoch {
			e.lookAt = never
			e.look()
		}
	})
}

// look does all that is possible now.
func (e *ltpEngine) look() {
	e.machine.Tick(e.w.now)
	e.listen()
	e.take()
	e.hand()
	e.emitNext()
	e.listen()
	if at, ok := e.machine.NextTick(); ok {
		e.lookBy(at)
	}
}

// listen acts on what the machine tells.
func (e *ltpEngine) listen() {
	for ev, ok := e.machine.Next(); ok; ev, ok = e.machine.Next() {
		s := e.session
		switch ev.Kind {
		case ltp.EventOpened:
			s = &ltpSession{blocks: make(map[uint64][]*ltpBundle)}
			e.session = s
			s.link = e.linkUp(e.end, false, true)
		case ltp.EventUp:
			if s.link == 0 {
				s.link = e.linkUp(e.end, true, true)
			}
		case ltp.EventDelivered:
			for i, b := range s.blocks[ev.Block] {
				var err error
				if reason, refused := ev.Refused[i]; refused {
					err = &convergence.RefusedError{Reason: reason}
				}
				e.settle(s, b, err)
			}
			delete(s.blocks, ev.Block)
		case ltp.EventCancelled:
			for _, b := range s.blocks[ev.Block] {
				e.settle(s, b, ev.Err)
			}
			delete(s.blocks, ev.Block)
		case ltp.EventEnded, ltp.EventFailed:
			e.over(s)
		}
	}
}

// settle tells the node what became of a bundle.
func (e *ltpEngine) settle(s *ltpSession, b *ltpBundle, err error) {
	s.line = slices.DeleteFunc(s.line, func(x *ltpBundle) bool { return x == b }) // not all of it was handed over, perhaps
	e.node.step(core.Sent{Link: s.link, Handle: b.handle, Err: err})
}

// over ends a session at this end.
func (e *ltpEngine) over(s *ltpSession) {
	e.session = nil
	e.machine.Resume(e.w.now)
	if s == nil {
		return
	}
	var flying []store.Handle
	for _, list := range s.blocks { // in any order: it is sorted below
		for _, b := range list {
			flying = append(flying, b.handle)
		}
	}
	for _, b := range s.line {
		if !b.begun {
			flying = append(flying, b.handle)
		}
	}
	slices.SortFunc(flying, func(a, b store.Handle) int { return cmp.Compare(a, b) })
	if s.link != 0 {
		e.linkDown(e.end, s.link, flying)
	}
	e.node.after(dialPause, e.changed)
}

// take takes the bundles that have come.
func (e *ltpEngine) take() {
	for e.session != nil {
		u, length, ok := e.machine.Arrival()
		if !ok {
			return
		}
		raw, err := e.read(u, length)
		s := e.session
		if err != nil { // its sender gave it up
			_ = e.machine.Refuse(u, convergence.RefuseUnknown) // there is nothing left to refuse
			continue
		}
		e.node.arrive(s.link, raw, func(err error) { e.answer(s, u, err) })
	}
}

// read reads a bundle that has come whole, as all do that are smaller than what streams.
func (e *ltpEngine) read(u ltp.Unit, length int64) ([]byte, error) {
	raw := make([]byte, 0, max(length, 512))
	for {
		if len(raw) == cap(raw) {
			raw = slices.Grow(raw, len(raw)+1)
		}
		n, err := e.machine.Read(u, raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		if errors.Is(err, io.EOF) {
			return raw, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// answer accepts or refuses a bundle.
func (e *ltpEngine) answer(s *ltpSession, u ltp.Unit, err error) {
	if e.session != s || !e.isAlive() {
		return // its sender will send it again
	}
	var refused *convergence.RefusedError
	switch {
	case err == nil:
		_ = e.machine.Accept(u) // if its block was given up meanwhile, it comes again
	case errors.As(err, &refused):
		_ = e.machine.Refuse(u, refused.Reason)
	default:
		_ = e.machine.Refuse(u, convergence.RefuseUnknown)
	}
	e.lookBy(e.w.now)
}

// hand hands bundles to the machine while it has room.
func (e *ltpEngine) hand() {
	for e.session != nil && len(e.session.line) > 0 {
		s := e.session
		b := s.line[0]
		n := min(len(b.raw)-b.at, ltpPage)
		if !b.begun {
			if err := e.machine.CanBegin(uint64(len(b.raw))); err != nil {
				e.settle(s, b, err)
				continue
			}
		}
		if !b.begun && !e.machine.HasRoomForBlock(n) || b.begun && !e.machine.HasRoomIn(b.block, n) {
			return
		}
		page := e.machine.Page(n)
		copy(page, b.raw[b.at:])
		var err error
		if b.begun {
			err = e.machine.Continue(b.block, page)
		} else {
			var u ltp.Unit
			if u, err = e.machine.Begin(uint64(len(b.raw)), page, false); err == nil {
				b.begun, b.block = true, u.Block
				s.blocks[u.Block] = append(s.blocks[u.Block], b)
			}
		}
		if b.at += n; b.at == len(b.raw) || err != nil {
			s.line = s.line[1:] // of one that was cancelled, an event tells
			e.w.recycle(b.raw)
			b.raw = nil
		}
	}
}

// emitNext puts the next datagram on the channel once that is free.
func (e *ltpEngine) emitNext() {
	if free := e.free[e.end]; free > e.w.now {
		if e.machine.HasOutput() {
			e.lookBy(free)
		}
		return
	}
	out := e.machine.Output(e.buffer(), e.w.now)
	if len(out) == 0 {
		e.recycle(out)
		return
	}
	other, size := e.engines[1-e.end], len(out)+headerBytes
	lost := e.link.Loss > 0 && e.rng.Float64() < e.link.Loss
	free, ok := e.emit(e.end, size, func() {
		if !lost && other.isAlive() {
			other.machine.Feed(out, e.w.now)
			other.look()
		}
		e.recycle(out)
	})
	if !ok { // it vanishes, and takes about its time
		free = e.w.now + time.Duration(size)*lostByteTime
		e.free[e.end] = free
	}
	e.lookBy(free)
}

// lostByteTime is how long a byte takes that is sent where no contact is.
const lostByteTime = 8 * time.Microsecond

func (k *ltpCarrier) buffer() []byte {
	if n := len(k.spare); n > 0 {
		b := k.spare[n-1]
		k.spare = k.spare[:n-1]
		return b
	}
	return make([]byte, 0, k.link.MTU)
}

func (k *ltpCarrier) recycle(b []byte) { k.spare = append(k.spare, b[:0]) }
