package emu

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/testbed/sim"
)

// maxFailures bounds the failures that are kept; the first ones tell the story.
const maxFailures = 20

// ledger is what applications know: what they sent, what they were told, and what they
// received.
type ledger struct {
	mu       sync.Mutex // guards all below
	byKey    map[key]*message
	order    []*message
	failures []string
	crashes  int
	twice    int // messages delivered again after they were acknowledged
}

// key tells messages apart: where they come from and go to, and what they say.
type key struct {
	from, to bundle.EID // endpoints
	sum      [sha256.Size]byte
}

func keyOf(from, to bundle.EID, body []byte) key { return key{from, to, sha256.Sum256(body)} }

// message is a payload that an application sent.
type message struct {
	traffic *sim.Traffic
	size    int64
	id      bundle.ID
	sent    time.Duration // since the start, as all times here
	expiry  dtntime.Time  // by the time of the Config

	accepted bool // the sender was told so
	refused  bool // or that it was not, or nothing
	handed   bool // its receiver has it and may have acknowledged it
	settled  bool // its receiver was told that the acknowledgement is kept
	arrived  time.Duration
}

func newLedger() *ledger { return &ledger{byKey: make(map[key]*message)} }

func (l *ledger) fail(format string, args ...any) {
	if len(l.failures) < maxFailures {
		l.failures = append(l.failures, fmt.Sprintf(format, args...))
	}
}

// asked opens an entry before a node is asked to take a message.
func (l *ledger) asked(t *sim.Traffic, k key, size int, now time.Duration, expiry dtntime.Time) (*message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey[k] != nil {
		return nil, fmt.Errorf("two messages of %s from %s to %s are the same; the scenario has this traffic twice", t.Kind, t.From, t.To)
	}
	m := &message{traffic: t, size: int64(size), sent: now, expiry: expiry}
	l.byKey[k] = m
	l.order = append(l.order, m)
	return m, nil
}

// taken notes that a node has accepted a message.
func (l *ledger) taken(m *message, id bundle.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.accepted, m.id = true, id
}

// refused notes that a node did not accept a message, or did not answer. It may have
// become a bundle all the same.
func (l *ledger) refused(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.refused = true
}

// handed notes that a node hands a payload to its application, which is about to
// acknowledge it. From then on it may be gone. What nobody sent is nil.
func (l *ledger) handed(k key, id bundle.ID, now time.Duration) *message {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.byKey[k]
	switch {
	case m == nil:
		l.fail("%s came to %s with a payload that nobody sent", id, k.to)
	case m.settled:
		l.twice++
		l.fail("%s was delivered again after it was acknowledged", id)
	case !m.handed:
		m.handed, m.arrived = true, now
	}
	return m
}

// settled notes that the application was told that its acknowledgement is kept.
func (l *ledger) settled(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.settled = true
}

func (l *ledger) crashed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.crashes++
}

// isOpen tells whether a message that was accepted is still to come.
func (m *message) isOpen(now dtntime.Time) bool { return m.accepted && !m.settled && now < m.expiry }

// isDrained tells whether everything that was accepted has been delivered or has expired.
func (l *ledger) isDrained(now dtntime.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.order {
		if m.isOpen(now) {
			return false
		}
	}
	return true
}
