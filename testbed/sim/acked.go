package sim

import (
	"slices"
	"time"

	"perigee/bundle/core"
	"perigee/bundle/store"
)

// How long a session takes to come about beside two light times, and how long an end
// takes to notice that the other one has gone silent.
const (
	handshake = 5 * time.Millisecond
	silence   = 3 * time.Second
)

// acked carries whole bundles, each acknowledged by itself.
type acked struct {
	*wire
	loss    float64
	wanted  [2]bool
	making  bool
	session *ackedSession
}

// ackedSession is a session of it. Each end learns of its end in its own time.
type ackedSession struct {
	links  [2]core.LinkID
	epochs [2]int
	closed [2]bool // known to that end
	broken bool
	flying [2][]store.Handle
}

func (a *acked) want(end int, wanted bool) {
	a.wanted[end] = wanted
	a.changed()
}

func (a *acked) changed() {
	open := a.isOpen()
	switch {
	case !open && a.session != nil:
		a.cut([2]time.Duration{silence, silence})
	case open && a.session == nil && !a.making && (a.wanted[0] || a.wanted[1]):
		a.making = true
		a.w.after(2*a.light()+handshake, a.make)
	}
}

// make makes a session.
func (a *acked) make() {
	a.making = false
	if !a.isOpen() || a.session != nil || !a.wanted[0] && !a.wanted[1] {
		return
	}
	s := &ackedSession{epochs: [2]int{a.ends[0].epoch, a.ends[1].epoch}}
	a.session = s
	for end := range a.ends {
		s.links[end] = a.linkUp(end, end == 0, false)
	}
}

// cut ends the session. Each end learns of it after a while.
func (a *acked) cut(notice [2]time.Duration) {
	s := a.session
	s.broken, a.session = true, nil
	for end := range a.ends {
		a.w.after(notice[end], func() { a.end(s, end) })
	}
}

// end tells one end that a session is over.
func (a *acked) end(s *ackedSession, end int) {
	n := a.ends[end]
	if s.closed[end] || n.epoch != s.epochs[end] {
		return
	}
	s.closed[end] = true
	flying := s.flying[end]
	s.flying[end] = nil
	a.linkDown(end, s.links[end], flying)
	a.changed()
}

func (a *acked) hangup(end int, link core.LinkID) {
	if s := a.session; s != nil && s.links[end] == link {
		var notice [2]time.Duration
		notice[1-end] = a.light() + handshake
		a.cut(notice)
	}
}

// follow does nothing: the session ends with the contact.
func (a *acked) follow(int, core.Follow) {}

func (a *acked) send(end int, link core.LinkID, h store.Handle, raw []byte) {
	s := a.session
	if s == nil || s.links[end] != link {
		a.ends[end].after(0, func() { a.ends[end].step(core.Sent{Link: link, Handle: h, Err: errCut}) })
		return
	}
	s.flying[end] = append(s.flying[end], h)
	if a.loss > 0 && a.rng.Float64() < a.loss {
		a.w.after(time.Duration(a.rng.Int64N(int64(time.Second))), func() {
			if !s.broken {
				a.cut([2]time.Duration{silence, silence})
			}
		})
		return
	}
	a.emit(end, len(raw), func() {
		if s.broken || s.closed[1-end] {
			return // the sender learns of it with the end of the session
		}
		a.ends[1-end].arrive(s.links[1-end], raw, func(err error) { a.answer(s, end, h, err) })
	})
}

// answer brings the answer to a transfer back to its sender.
func (a *acked) answer(s *ackedSession, end int, h store.Handle, err error) {
	a.w.after(a.light(), func() {
		n := a.ends[end]
		i := slices.Index(s.flying[end], h)
		if s.broken || s.closed[end] || n.epoch != s.epochs[end] || i < 0 {
			return
		}
		s.flying[end] = slices.Delete(s.flying[end], i, i+1)
		n.step(core.Sent{Link: s.links[end], Handle: h, Err: err})
	})
}
