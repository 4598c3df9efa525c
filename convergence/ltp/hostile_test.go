package ltp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// hostilePeer is what a peer that wants memory sends to engine 2.
type hostilePeer struct {
	m   *Machine
	now time.Duration
}

func newHostilePeer() *hostilePeer {
	m := newTestMachine(2, 1, nil)
	m.Open(0)
	return &hostilePeer{m: m}
}

// data sends a part of a block; an end makes it the checkpoint at the end of the block.
func (h *hostilePeer) data(session, offset uint64, data []byte, end bool) {
	s := dataSegment{header: header{originator: 1, session: session}, service: serviceBundle, offset: offset, data: data}
	if end {
		s.kind, s.checkpoint = typeRedBlockEnd, 1
	}
	h.feed(s.append(nil))
}

func (h *hostilePeer) cancel(session uint64) {
	s := cancelSegment{header: header{kind: typeCancelBySender, originator: 1, session: session}}
	h.feed(s.append(nil))
}

func (h *hostilePeer) feed(b []byte) {
	h.now += time.Microsecond
	h.m.Feed(b, h.now)
	for len(h.m.Output(nil, h.now)) > 0 {
	}
	for ok := true; ok; {
		_, ok = h.m.Next()
	}
}

// check holds what is held against the limits.
func (h *hostilePeer) check(t *testing.T) {
	t.Helper()
	rx := &h.m.rx
	if most := h.m.params.MaxHeld + 3*pageSize; rx.pool.held > most {
		t.Errorf("%d bytes are held, at most %d may be", rx.pool.held, most)
	}
	if rx.parts > maxParts+maxSpans {
		t.Errorf("%d parts are held", rx.parts)
	}
	blocks := 2 * h.m.params.MaxBlocks
	if len(rx.blocks) > blocks {
		t.Errorf("%d blocks are open, at most %d may be", len(rx.blocks), blocks)
	}
	for name, n := range map[string]int{"order": rx.order.len(), "ready": rx.ready.len(), "told": rx.told.len(), "waiting": rx.waiting.len()} {
		if n > 2*blocks+compactFrom+1 {
			t.Errorf("%d blocks are queued in %s", n, name)
		}
	}
	if n := rx.closed.order.len(); n > maxClosed || len(rx.closed.bySession) > maxClosed {
		t.Errorf("%d closed blocks are remembered", n)
	}
}

// However a peer spreads what it sends, a machine holds no more than it may.
func TestHostileMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	attacks := map[string]func(h *hostilePeer, i uint64){
		"bytes far apart in one block": func(h *hostilePeer, i uint64) { h.data(1, 2*i, []byte{1}, false) },
		"pages far apart in one block": func(h *hostilePeer, i uint64) { h.data(1, (i*977%4096)*pageSize, []byte{1}, false) },
		"a byte at the end of many blocks": func(h *hostilePeer, i uint64) {
			h.data(i, uint64(h.m.params.MaxHeld)-1, []byte{1}, false)
		},
		"bytes far apart in many blocks": func(h *hostilePeer, i uint64) { h.data(i%500, random.Uint64N(1<<24), []byte{1}, false) },
		"blocks that are cancelled": func(h *hostilePeer, i uint64) {
			h.data(i, 0, []byte{1, 2, 3}, true)
			h.cancel(i)
		},
		"blocks that wait for the reader": func(h *hostilePeer, i uint64) { h.data(i, 0, []byte{1, 2, 3}, true) },
		"checkpoints without end": func(h *hostilePeer, i uint64) {
			s := dataSegment{header: header{kind: typeRedCheckpoint, originator: 1, session: i % 7}, service: serviceBundle, offset: i * 3, checkpoint: i + 1, data: []byte{1}}
			h.feed(s.append(nil))
		},
		"reports of what was never sent": func(h *hostilePeer, i uint64) {
			s := reportSegment{header: header{kind: typeReport, originator: 2, session: i}, serial: i + 1, upper: 10, claims: []span{{0, 10}}}
			h.feed(s.append(nil))
		},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			h := newHostilePeer()
			for i := range uint64(20_000) {
				attack(h, i)
			}
			h.check(t)
		})
	}
}

// One block that does not go on keeps none of those that do.
func TestStuckBlock(t *testing.T) {
	h := newHostilePeer()
	h.data(1, 10, []byte{1}, false)
	for i := range uint64(5000) {
		h.data(i+2, 0, []byte{1, 2, 3}, true)
		use(h.m, 1)
		h.cancel(i + 2)
	}
	h.check(t)
	if n := h.m.rx.order.len(); n > 2*compactFrom {
		t.Errorf("%d blocks are queued behind the one that is stuck", n)
	}
}
