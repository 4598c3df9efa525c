package powercut

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"perigee/bundle"
)

// maxFailures bounds the failures that are kept; the first ones tell the story.
const maxFailures = 20

// ledger is what the applications know: what they sent, what they were told, and what
// they received. It is kept apart from the disks whose power is cut.
type ledger struct {
	mu       sync.Mutex // guards all below
	log      *json.Encoder
	messages []message
	open     map[uint64]bool // accepted and not yet handed to the other application
	accepted int
	received int // acknowledged by an application, and the answer came
	failures []string
}

// message is one payload. Its number is its place in the ledger.
type message struct {
	from     int // sending node
	size     int
	id       bundle.ID
	accepted bool // the sender was told so
	handed   bool // its receiver has seen it and may have acknowledged it
	settled  bool // its receiver was told that the acknowledgement is kept
}

// line is an entry of the ledger's log.
type line struct {
	At     string `json:"at"`
	What   string `json:"what"`
	Number uint64 `json:"number"`
	Bundle string `json:"bundle,omitempty"`
	Detail string `json:"detail,omitempty"`
}

func newLedger(w io.Writer) *ledger {
	return &ledger{log: json.NewEncoder(w), open: make(map[uint64]bool)}
}

// write adds to the log. The mutex is held. The log helps people only, so that it
// does not matter when it cannot be written.
func (l *ledger) write(x line) {
	x.At = time.Now().UTC().Format("15:04:05.000000")
	_ = l.log.Encode(x)
}

// note adds what else happened to the log.
func (l *ledger) note(what, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(line{What: what, Detail: detail})
}

func (l *ledger) fail(x line) {
	l.write(x)
	if len(l.failures) < maxFailures {
		l.failures = append(l.failures, fmt.Sprintf("%s: message %d, bundle %s %s", x.What, x.Number, x.Bundle, x.Detail))
	}
}

// asked opens an entry before a node is asked to take a message.
func (l *ledger) asked(from, size int) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, message{from: from, size: size})
	return uint64(len(l.messages) - 1)
}

// taken notes that a node has accepted a message.
func (l *ledger) taken(number uint64, id bundle.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.messages[number]
	m.accepted, m.id = true, id
	l.accepted++
	if !m.handed {
		l.open[number] = true
	}
	l.write(line{What: "accepted", Number: number, Bundle: id.String()})
}

// refused notes that a node did not accept a message, or did not answer. It may have
// become a bundle all the same.
func (l *ledger) refused(number uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(line{What: "not accepted", Number: number, Detail: err.Error()})
}

// handed notes that a node hands a message to its application, which is about to
// acknowledge it. From then on it may be gone.
func (l *ledger) handed(number uint64, id bundle.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages[number].settled {
		l.fail(line{What: "delivered twice", Number: number, Bundle: id.String()})
		return
	}
	l.messages[number].handed = true
	delete(l.open, number)
	l.write(line{What: "handed over", Number: number, Bundle: id.String()})
}

// settled notes that the application was told that its acknowledgement is kept.
func (l *ledger) settled(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[number].settled = true
	l.received++
	l.write(line{What: "acknowledged", Number: number})
}

// damaged notes that a payload is not what was sent.
func (l *ledger) damaged(id bundle.ID, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail(line{What: "damaged", Bundle: id.String(), Detail: what})
}

// owed is what some node must hold now: accepted, and not handed over yet.
func (l *ledger) owed() map[bundle.ID]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make(map[bundle.ID]uint64, len(l.open))
	for number := range l.open {
		ids[l.messages[number].id] = number
	}
	return ids
}

// missing notes that no node holds a message that is owed.
func (l *ledger) missing(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[number] {
		l.fail(line{What: "lost", Number: number, Bundle: l.messages[number].id.String()})
	}
}

// find returns what was sent under a number.
func (l *ledger) find(number uint64) (message, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number >= uint64(len(l.messages)) {
		return message{}, false
	}
	return l.messages[number], true
}

// figures are counts of the ledger.
type figures struct{ asked, accepted, received, open int }

func (l *ledger) figures() figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	return figures{len(l.messages), l.accepted, l.received, len(l.open)}
}

// verdict returns the failures so far.
func (l *ledger) verdict() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.failures...)
}
