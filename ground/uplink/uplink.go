// Package uplink foresees how a change of network goes up: in which pass each of
// its steps arrives and becomes active, what parts it is best cut into, and which
// of several ways to write it is the best for the coming passes.
//
// It is arithmetic over a contact plan. It refuses to know the node, what a network
// is, and the present time, which is an argument.
package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"perigee/bundle/dtntime"
)

// ErrLink is wrapped by errors about a Link that makes no sense.
var ErrLink = errors.New("unusable description of an uplink")

// What an update costs besides its bytes.
const (
	// PartOverhead is what a part takes besides its data, in bytes: its hashes and
	// numbers, the bundle's blocks, and what the convergence layer adds.
	PartOverhead = 512
	// Activation is how long a satellite takes at most from the last byte of a
	// step until its network is active.
	Activation = 3 * dtntime.Second
	// smallestPart is the least data of a part, in bytes.
	smallestPart = 256
	// partsPerPass is how many parts should fit into the shortest pass, so that
	// one that ends early wastes little.
	partsPerPass = 4
	// maxWindows bounds the passes that are looked at.
	maxWindows = 100_000
)

// Window is a pass: a time in which bytes go up.
type Window struct {
	Start, End dtntime.Time
	Rate       uint64 // bit/s
}

// bytes is what goes through from a time on.
func (w *Window) bytes(from dtntime.Time) float64 {
	return w.End.Sub(max(from, w.Start)).Std().Seconds() * float64(w.Rate) / 8
}

// Link is what is known of the way up.
type Link struct {
	Windows []Window
	Loss    float64 // share of what is sent that is lost and sent again, 0 to below 1
	Queued  int64   // bytes that go first
}

func (l *Link) check() error {
	if !(l.Loss >= 0 && l.Loss < 1) {
		return fmt.Errorf("%w: a loss of %v, want 0 to below 1", ErrLink, l.Loss)
	}
	if l.Queued < 0 || len(l.Windows) > maxWindows {
		return fmt.Errorf("%w: %d bytes queued and %d passes, want at least 0 and at most %d", ErrLink, l.Queued, len(l.Windows), maxWindows)
	}
	return nil
}

// coming returns the windows that have not ended, in order of time, without those
// that carry nothing.
func (l *Link) coming(now dtntime.Time) []Window {
	open := slices.DeleteFunc(slices.Clone(l.Windows), func(w Window) bool { return w.End <= max(now, w.Start) || w.Rate == 0 })
	slices.SortFunc(open, func(a, b Window) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End)) })
	return open
}

// PartBytes returns how large parts should be: several fit into the shortest
// coming pass, and none is larger than most.
func PartBytes(l Link, now dtntime.Time, most int) int {
	size := float64(most)
	for _, w := range l.coming(now) {
		size = min(size, w.bytes(w.Start)*(1-l.Loss)/partsPerPass-PartOverhead)
	}
	return min(max(int(size), smallestPart), most)
}

// Arrival says when a step arrives. Pass is 0 when it does not within the plan.
type Arrival struct {
	Parts  int
	Pass   int          // in which it is whole, counted from the present or next one as 1
	At     dtntime.Time // when its last byte arrives
	Active dtntime.Time // when its network is active at the latest
}

// Foresee returns when each of several steps arrives, which are sent one behind the
// other in parts of partBytes. Errors wrap ErrLink.
func Foresee(l Link, now dtntime.Time, steps []int64, partBytes int) ([]Arrival, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	if partBytes < 1 {
		return nil, fmt.Errorf("%w: parts of %d bytes", ErrLink, partBytes)
	}
	t := transmitter{windows: l.coming(now), share: 1 - l.Loss, at: now}
	t.stream(float64(l.Queued))
	arrivals := make([]Arrival, len(steps))
	for i, size := range steps {
		a := &arrivals[i]
		for left := size; left > 0; left -= int64(partBytes) {
			a.Parts++
			t.part(float64(min(left, int64(partBytes)) + PartOverhead))
		}
		if t.pass < len(t.windows) {
			a.Pass, a.At, a.Active = t.pass+1, t.at, t.at.Add(Activation)
		}
	}
	return arrivals, nil
}

// transmitter goes through the windows.
type transmitter struct {
	windows []Window
	share   float64 // of what is sent that arrives
	pass    int     // index of the window that is used
	at      dtntime.Time
}

// left is what the present window still takes, in bytes that arrive.
func (t *transmitter) left() float64 {
	w := &t.windows[t.pass]
	t.at = max(t.at, w.Start)
	return max(w.bytes(t.at), 0) * t.share
}

// send moves the time on by what bytes take in the present window.
func (t *transmitter) send(bytes float64) {
	seconds := bytes / t.share * 8 / float64(t.windows[t.pass].Rate)
	t.at = t.at.Add(dtntime.Duration(seconds * float64(dtntime.Second)))
}

// stream sends bytes of bundles of any size, which fill a window to its end.
func (t *transmitter) stream(bytes float64) {
	for ; t.pass < len(t.windows); t.pass++ {
		room := t.left()
		if bytes <= room {
			t.send(bytes)
			return
		}
		bytes -= room
	}
}

// part sends one bundle, which goes in one pass as a whole. One that no pass takes
// whole goes nowhere.
func (t *transmitter) part(bytes float64) {
	for ; t.pass < len(t.windows); t.pass++ {
		if bytes <= t.left() {
			t.send(bytes)
			return
		}
	}
}

// Way is one of several ways to write a change.
type Way struct {
	Name    string
	Quality float64 // of its last step: the larger the better
	Steps   []int64 // bytes of each
}

// Bytes is what all steps have.
func (w *Way) Bytes() int64 {
	var sum int64
	for _, n := range w.Steps {
		sum += n
	}
	return sum
}

// Plan is a way with when it arrives.
type Plan struct {
	Way
	PartBytes int
	Arrivals  []Arrival
	Chosen    bool
}

// First returns when the first step arrives, and Last when the last one does.
func (p *Plan) First() Arrival { return p.Arrivals[0] }

// Last returns when the last step arrives.
func (p *Plan) Last() Arrival { return p.Arrivals[len(p.Arrivals)-1] }

// Choose plans every way and marks the best: of those whose quality is at least
// enough, or of all when there is none, the one that is whole in the earliest pass,
// of these the one whose first step is, and of these the smallest. A way that does
// not arrive within the plan comes behind all that do. Parts are of at most
// mostPart bytes. Errors wrap ErrLink.
func Choose(l Link, now dtntime.Time, ways []Way, enough float64, mostPart int) ([]Plan, error) {
	plans := make([]Plan, len(ways))
	best := -1
	good := slices.ContainsFunc(ways, func(w Way) bool { return w.Quality >= enough })
	for i, w := range ways {
		if len(w.Steps) == 0 {
			return nil, fmt.Errorf("%w: %s has no steps", ErrLink, w.Name)
		}
		plans[i] = Plan{Way: w, PartBytes: PartBytes(l, now, mostPart)}
		var err error
		if plans[i].Arrivals, err = Foresee(l, now, w.Steps, plans[i].PartBytes); err != nil {
			return nil, err
		}
		if good && w.Quality < enough {
			continue
		}
		if best < 0 || better(&plans[i], &plans[best]) {
			best = i
		}
	}
	if best >= 0 {
		plans[best].Chosen = true
	}
	return plans, nil
}

func better(a, b *Plan) bool {
	pass := func(x Arrival) int {
		if x.Pass == 0 {
			return maxWindows + 1
		}
		return x.Pass
	}
	return cmp.Or(cmp.Compare(pass(a.Last()), pass(b.Last())), cmp.Compare(pass(a.First()), pass(b.First())), cmp.Compare(a.Bytes(), b.Bytes())) < 0
}
