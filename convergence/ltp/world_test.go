package ltp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"perigee/convergence"
)

// newTestMachine returns a machine with small limits, after change.
func newTestMachine(local, remote uint64, change func(*Params)) *Machine {
	p := Params{
		Local: local, Remote: remote, MTU: 1400, Margin: 500 * time.Millisecond,
		MaxUnclaimed: 16 << 20, MaxHeld: 16 << 20, MaxBlocks: 256, StreamFrom: 1 << 20,
		Probe: 30 * time.Second, DeadAfter: time.Minute,
		Random: rand.New(rand.NewPCG(local, remote)),
	}
	if change != nil {
		change(&p)
	}
	return NewMachine(p, 0)
}

// A channel is one direction of an emulated link.
type channel struct {
	rate      float64 // bits per second, of datagrams with their headers
	light     time.Duration
	loss      float64
	burst     float64 // mean length of a loss in datagrams, when above 1
	duplicate float64
	jitter    time.Duration
	cuts      [][2]time.Duration // times at which all is lost
	drop      func(datagram []byte) bool

	free    time.Duration // when the next datagram may go
	inBurst bool
	flying  []flying // by arrival
	sent    uint64   // bytes, headers included
	lost    int
	log     func(at time.Duration, datagram []byte)
}

func (c *channel) String() string {
	return fmt.Sprintf("%g bit/s, loss %g by %g, duplicates %g, jitter %s, cuts %v", c.rate, c.loss, c.burst, c.duplicate, c.jitter, c.cuts)
}

type flying struct {
	at       time.Duration
	number   int
	datagram []byte
}

// headers are what UDP and IPv4 add to a datagram.
const headers = 28

// send puts a datagram on its way.
func (c *channel) send(now time.Duration, datagram []byte, random *rand.Rand) {
	size := len(datagram) + headers
	c.sent += uint64(size)
	c.free = max(c.free, now) + time.Duration(float64(size)*8/c.rate*1e9)
	if c.log != nil {
		c.log(now, datagram)
	}
	lost := c.isLost(random) || c.drop != nil && c.drop(datagram)
	for _, cut := range c.cuts {
		lost = lost || now >= cut[0] && now < cut[1]
	}
	if lost {
		c.lost++
		return
	}
	for copies := 1; copies > 0; copies-- {
		at := c.free + c.light
		if c.jitter > 0 {
			at += time.Duration(random.Int64N(int64(c.jitter)))
		}
		f := flying{at: at, number: int(c.sent)*2 + copies, datagram: slices.Clone(datagram)}
		i, _ := slices.BinarySearchFunc(c.flying, f, func(a, b flying) int {
			return int(a.at-b.at)*2 + min(max(a.number-b.number, -1), 1)
		})
		c.flying = slices.Insert(c.flying, i, f)
		if random.Float64() < c.duplicate {
			copies++
		}
	}
}

func (c *channel) isLost(random *rand.Rand) bool {
	if c.burst <= 1 {
		return random.Float64() < c.loss
	}
	if c.inBurst {
		c.inBurst = random.Float64() >= 1/c.burst
	} else {
		c.inBurst = random.Float64() < c.loss/(1-c.loss)/c.burst
	}
	return c.inBurst
}

// A party is one end of an emulated link: a machine and what uses it.
type party struct {
	m   *Machine
	out *channel

	toSend  []load
	sending *load
	unit    map[Unit]load // of ours, that are under way
	fates   map[int]error
	retry   func(number int, fate error) bool // nil for never
	retried map[int]bool

	accept  func(number int) (delay time.Duration, refuse convergence.RefuseReason, ok bool)
	reading *Unit
	got     []byte // the first bytes of what is read
	gotAt   uint64
	room    [80_000]byte
	waiting []decision
	held    map[int]int // how often each bundle was accepted
	events  []EventKind
	err     error
	maxIn   int64
	maxOut  int64
}

// A load is a bundle to be sent.
type load struct {
	number int
	length uint64
	at     uint64 // how far it was handed over
	bundle bool   // shaped like one
	green  bool
	unit   Unit
}

type decision struct {
	at     time.Duration
	unit   Unit
	number int
	refuse convergence.RefuseReason
	ok     bool
}

// noise is what loads are made of. Its length is a prime, so that no segment or page
// repeats with it.
var noise = func() []byte {
	b := make([]byte, 65521)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}()

// fill gives the bytes of a load from an offset on: its number and length, then
// noise. A bundle-shaped one holds them in a byte string.
func (l load) fill(p []byte, at uint64) {
	front := make([]byte, 0, 40)
	if l.bundle {
		front = append(front, 0x9f, 0x88, 7, 0, 0, 0, 0, 0, 0, 0, 0x5b)
		front = binary.BigEndian.AppendUint64(front, l.length-uint64(len(front))-8-1)
	}
	front = binary.BigEndian.AppendUint64(front, uint64(l.number))
	front = binary.BigEndian.AppendUint64(front, l.length)
	for rest, o := p, at+uint64(l.number)*7919; len(rest) > 0; {
		n := copy(rest, noise[o%uint64(len(noise)):])
		rest, o = rest[n:], o+uint64(n)
	}
	if at < uint64(len(front)) {
		copy(p, front[at:])
	}
	if l.bundle && at+uint64(len(p)) == l.length {
		p[len(p)-1] = 0xff
	}
}

func newParty(m *Machine, out *channel) *party {
	return &party{
		m: m, out: out, unit: map[Unit]load{}, fates: map[int]error{}, retried: map[int]bool{}, held: map[int]int{},
		accept: func(int) (time.Duration, convergence.RefuseReason, bool) { return 0, 0, true },
	}
}

// push hands over loads for as long as there is room.
func (p *party) push(t *testing.T, now time.Duration) {
	for {
		if p.sending == nil {
			if len(p.toSend) == 0 || !p.m.link.open || p.m.CanBegin(0) != nil {
				return
			}
			l := p.toSend[0]
			p.toSend = p.toSend[1:]
			p.sending = &l
		}
		l := p.sending
		n := int(min(l.length-l.at, pageSize))
		if l.at == 0 && (!p.m.HasRoomForBlock(n) || p.m.CanBegin(l.length) != nil) || l.at > 0 && !p.m.HasRoomIn(l.unit.Block, n) {
			return
		}
		page := p.m.Page(n)
		l.fill(page, l.at)
		var err error
		if l.at == 0 {
			l.unit, err = p.m.Begin(l.length, page, l.green)
			p.unit[l.unit] = *l
		} else {
			err = p.m.Continue(l.unit.Block, page)
		}
		if err != nil && !errors.Is(err, errStopped) {
			t.Fatalf("at %s: send load %d: %v", now, l.number, err)
		}
		if l.at += uint64(n); l.at == l.length || err != nil {
			p.sending = nil
		}
	}
}

// pull reads what has come and decides on it.
func (p *party) pull(t *testing.T, now time.Duration) {
	buf, want := p.room[:len(p.room)/2], p.room[len(p.room)/2:]
	for {
		if p.reading == nil {
			u, _, ok := p.m.Arrival()
			if !ok {
				return
			}
			p.reading, p.got, p.gotAt = &u, nil, 0
		}
		n, err := p.m.Read(*p.reading, buf)
		switch {
		case err == io.EOF:
			l := parseLoad(t, p.got)
			if l.length != p.gotAt {
				t.Fatalf("at %s: load %d of %d bytes came with %d", now, l.number, l.length, p.gotAt)
			}
			delay, refuse, ok := p.accept(l.number)
			p.waiting = append(p.waiting, decision{now + delay, *p.reading, l.number, refuse, ok})
			p.reading = nil
			continue
		case err == errWait:
			return
		case err != nil: // its sender gave up
			if p.m.Refuse(*p.reading, convergence.RefuseUnknown) == nil {
				t.Fatalf("at %s: a broken bundle could be refused", now)
			}
			p.reading = nil
			continue
		}
		if len(p.got) < 40 {
			p.got = append(p.got, buf[:min(n, 40)]...)
		}
		if len(p.got) >= 35 || p.gotAt == 0 {
			l := parseLoad(t, p.got)
			l.fill(want[:n], p.gotAt)
			if !slices.Equal(buf[:n], want[:n]) {
				t.Fatalf("at %s: load %d differs in the %d bytes from %d", now, l.number, n, p.gotAt)
			}
		}
		p.gotAt += uint64(n)
	}
}

func parseLoad(t *testing.T, b []byte) load {
	t.Helper()
	var l load
	if beginsBundle(b) {
		l.bundle = true
		b = b[19:]
	}
	if len(b) < 16 {
		t.Fatalf("bundle of %d bytes, shorter than any", len(b))
	}
	l.number, l.length = int(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])
	return l
}

// decide makes the decisions that are due.
func (p *party) decide(now time.Duration) {
	p.waiting = slices.DeleteFunc(p.waiting, func(d decision) bool {
		switch {
		case d.at > now:
			return false
		case !d.ok:
			p.m.Refuse(d.unit, d.refuse)
		case p.m.Accept(d.unit) == nil:
			p.held[d.number]++
		}
		return true
	})
}

// listen takes the machine's events.
func (p *party) listen() {
	for ev, ok := p.m.Next(); ok; ev, ok = p.m.Next() {
		switch ev.Kind {
		case EventDelivered, EventCancelled:
			for u, l := range p.unit {
				if u.Block != ev.Block {
					continue
				}
				fate := ev.Err
				if reason, refused := ev.Refused[u.Index]; refused {
					fate = &convergence.RefusedError{Reason: reason}
				}
				delete(p.unit, u)
				if p.retry != nil && p.retry(l.number, fate) {
					l.at = 0
					p.toSend = append(p.toSend, l)
					p.retried[l.number] = true
					continue
				}
				p.fates[l.number] = fate
			}
		default:
			p.events = append(p.events, ev.Kind)
			if ev.Err != nil {
				p.err = ev.Err
			}
			if ev.Kind == EventFailed || ev.Kind == EventEnded {
				for u, l := range p.unit {
					p.fates[l.number] = ev.Err
					delete(p.unit, u)
				}
				p.sending, p.reading, p.waiting = nil, nil, nil
			}
		}
	}
}

// A world is an emulated link and its two ends, on one clock.
type world struct {
	t      *testing.T
	now    time.Duration
	random *rand.Rand
	a, b   *party
	at     []happening
}

type happening struct {
	at time.Duration
	do func()
}

func newWorld(t *testing.T, seed uint64, a, b *Machine, ab, ba channel) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 7))}
	w.a, w.b = newParty(a, &ab), newParty(b, &ba)
	for _, p := range []*party{w.a, w.b} {
		p.m.SetRate(uint64(p.out.rate))
		p.m.SetLightTime(p.out.light)
	}
	a.Open(0)
	return w
}

// after has something happen.
func (w *world) after(d time.Duration, do func()) {
	w.at = append(w.at, happening{w.now + d, do})
	slices.SortStableFunc(w.at, func(a, b happening) int { return int(a.at - b.at) })
}

// run lets time pass until done, or the limit, which fails the test.
func (w *world) run(limit time.Duration, done func() bool) {
	w.t.Helper()
	for {
		w.settle()
		if done() {
			return
		}
		next, ok := w.nextTime()
		if !ok || next > limit {
			w.t.Fatalf("at %s: nothing more happens until %s (seed and state: %s)", w.now, limit, w)
		}
		w.now = max(w.now, next)
		w.step()
	}
}

func (w *world) String() string {
	s := ""
	for _, p := range []*party{w.a, w.b} {
		s += fmt.Sprintf("[to send %d, open %d out %d in, held %d/%d, silent %t, err %v] ",
			len(p.toSend), len(p.m.tx.blocks), len(p.m.rx.blocks), p.m.tx.pool.held, p.m.rx.pool.held, p.m.link.silent, p.err)
	}
	return s
}

// settle does all that is possible now.
func (w *world) settle() {
	for _, p := range []*party{w.a, w.b} {
		p.m.Tick(w.now)
		p.listen()
		p.decide(w.now)
		p.pull(w.t, w.now)
		p.decide(w.now)
		p.push(w.t, w.now)
		for p.out.free <= w.now {
			datagram := p.m.Output(nil, w.now)
			if len(datagram) == 0 {
				break
			}
			if len(datagram) > p.m.params.MTU {
				w.t.Fatalf("datagram of %d bytes", len(datagram))
			}
			w.wantUnclaimed(p, datagram)
			p.out.send(w.now, datagram, w.random)
			p.push(w.t, w.now)
		}
		p.listen()
		w.bound(p)
	}
}

// wantUnclaimed checks that nothing is sent that a report has claimed.
func (w *world) wantUnclaimed(p *party, datagram []byte) {
	s, _, err := parseDataSegment(datagram)
	if err != nil {
		return // it is of another kind
	}
	out := p.m.tx.blocks[s.session]
	if out == nil || len(out.claimed.overlap(s.scope(), nil)) == 0 {
		return
	}
	w.t.Fatalf("at %s: bytes %v of block %d are sent again, though %v are claimed", w.now, s.scope(), s.session, out.claimed)
}

// bound holds a machine against its memory limits.
func (w *world) bound(p *party) {
	m := p.m
	p.maxOut, p.maxIn = max(p.maxOut, m.tx.pool.held), max(p.maxIn, m.rx.pool.held)
	if m.tx.pool.held > m.params.MaxUnclaimed+leastWindow+pageSize { // an aggregate grows to a page
		w.t.Fatalf("at %s: %d bytes are held to be sent", w.now, m.tx.pool.held)
	}
	for _, b := range m.tx.blocks {
		asked := len(b.checkpoints) > 0 || len(b.batches) > 0 || b.sent < b.length || !b.sealed
		if !b.cancelled && !b.green && !asked {
			w.t.Fatalf("at %s: nothing is asked about block %d, and %v of %d bytes are claimed", w.now, b.session, b.claimed, b.length)
		}
		for _, c := range b.checkpoints {
			if !c.queued && c.deadline < m.now && !m.link.silent {
				w.t.Fatalf("at %s: checkpoint %+v of block %d waits for nothing", w.now, c, b.session)
			}
		}
	}
	if m.rx.pool.held > m.params.MaxHeld+3*pageSize {
		w.t.Fatalf("at %s: %d bytes are held that came", w.now, m.rx.pool.held)
	}
}

func (w *world) nextTime() (next time.Duration, ok bool) {
	look := func(at time.Duration) {
		if at > w.now && (!ok || at < next) {
			next, ok = at, true
		}
	}
	for _, p := range []*party{w.a, w.b} {
		if at, ticks := p.m.NextTick(); ticks {
			look(at)
		}
		look(p.out.free)
		if len(p.out.flying) > 0 {
			look(max(p.out.flying[0].at, w.now+1))
		}
		for _, d := range p.waiting {
			look(d.at)
		}
	}
	if len(w.at) > 0 {
		look(max(w.at[0].at, w.now+1))
	}
	return next, ok
}

// step does what happens at this time.
func (w *world) step() {
	for len(w.at) > 0 && w.at[0].at <= w.now {
		do := w.at[0].do
		w.at = w.at[1:]
		do()
	}
	for _, way := range []struct {
		c  *channel
		to *party
	}{{w.a.out, w.b}, {w.b.out, w.a}} {
		for len(way.c.flying) > 0 && way.c.flying[0].at <= w.now {
			way.to.m.Feed(way.c.flying[0].datagram, w.now)
			way.c.flying = way.c.flying[1:]
		}
	}
}

// isDone says whether all loads have a fate, in both directions.
func (w *world) isDone() bool {
	for _, p := range []*party{w.a, w.b} {
		if len(p.toSend) > 0 || p.sending != nil || len(p.unit) > 0 {
			return false
		}
	}
	return true
}

// isQuiet says whether nothing is open any more.
func (w *world) isQuiet() bool {
	return w.isDone() && len(w.a.m.tx.blocks)+len(w.a.m.rx.blocks)+len(w.b.m.tx.blocks)+len(w.b.m.rx.blocks) == 0
}

// wantAll checks that every load was accepted once, and its sender told so.
func (w *world) wantAll(from, to *party, loads int) {
	w.t.Helper()
	for i := range loads {
		if fate, ok := from.fates[i]; !ok || fate != nil {
			w.t.Errorf("load %d: fate %v (known %t), want delivered", i, fate, ok)
		}
		if to.held[i] != 1 {
			w.t.Errorf("load %d was accepted %d times", i, to.held[i])
		}
	}
	if from.err != nil || to.err != nil {
		w.t.Errorf("link ended: %v; %v", from.err, to.err)
	}
}

// loads makes n loads of about a length each.
func loads(n int, length uint64) []load {
	var all []load
	for i := range n {
		all = append(all, load{number: i, length: length})
	}
	return all
}
