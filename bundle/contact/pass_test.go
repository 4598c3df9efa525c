package contact

import (
	"math/rand"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// from1to2 is a contact from node 1 to node 2 at so many bytes a millisecond.
func from1to2(start, end dtntime.Time, bytes int) Contact {
	return Contact{
		From: bundle.IPN(1, 0), To: bundle.IPN(2, 0), Start: start, End: end, Rate: BitRate(8000 * bytes), Confidence: 1,
	}
}

// TestPassAgainstTicks holds the arithmetic of passes against one that goes millisecond
// by millisecond. Where a contact passes into the next, a millisecond may be lost.
func TestPassAgainstTicks(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for range 500 {
		var contacts []Contact
		at := dtntime.Time(100)
		for range 1 + rng.Intn(3) {
			c := from1to2(at, at+20+dtntime.Time(rng.Intn(300)), 1+rng.Intn(20))
			contacts, at = append(contacts, c), c.End
		}
		passes := Passes(contacts)
		if len(passes) != 1 || passes[0].Start() != 100 || passes[0].End() != at {
			t.Fatalf("%v make %v", contacts, passes)
		}
		p, until := passes[0], at-dtntime.Time(rng.Intn(30))
		ready := dtntime.Time(rng.Intn(int(at) + 50))
		room := int64(0)
		for now := max(ready, p.Start()); now < until; now++ {
			room += bytesAt(contacts, now)
		}
		if got := p.Room(ready, until); got != room {
			t.Fatalf("%v from %d to %d: room for %d bytes, want %d", contacts, ready, until, got, room)
		}
		size := 1 + rng.Int63n(max(room, 1)*2)
		now := max(ready, p.Start())
		for left := size; left > 0; now++ {
			left -= bytesAt(contacts, now)
		}
		if got := p.Sent(ready, size); got < now || got > now+dtntime.Time(len(contacts)) {
			t.Fatalf("%v from %d: %d bytes have left at %d, want %d", contacts, ready, size, got, now)
		}
	}
}

// bytesAt is what leaves in one millisecond. Beyond the end it goes on.
func bytesAt(contacts []Contact, now dtntime.Time) int64 {
	for _, c := range contacts {
		if now < c.End {
			return int64(c.Rate / 8000)
		}
	}
	return int64(contacts[len(contacts)-1].Rate / 8000)
}

func TestArrivalNeverFalls(t *testing.T) {
	far, near := from1to2(100, 200, 1), from1to2(200, 3000, 1)
	far.Light, near.Light = 1490, 150
	p := Passes([]Contact{far, near})[0]
	for left, want := range map[dtntime.Time]dtntime.Time{100: 1590, 200: 1690, 201: 1690, 1540: 1690, 1541: 1691, 2000: 2150} {
		if got := p.Arrival(left, func(c *Contact) dtntime.Duration { return c.Light }); got != want {
			t.Errorf("what leaves at %d arrives at %d, want %d", left, got, want)
		}
	}
}

func TestPassOfPlan(t *testing.T) {
	apart, likely, other := from1to2(400, 500, 3), from1to2(300, 400, 3), from1to2(150, 250, 9)
	likely.Confidence = 0.5
	other.To = bundle.IPN(3, 0)
	plan, err := New([]Contact{from1to2(100, 200, 1), from1to2(200, 300, 2), likely, apart, from1to2(600, 700, 3), other})
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[dtntime.Time][2]dtntime.Time{
		99: {}, 100: {100, 300}, 199: {100, 300}, 200: {100, 300}, 299: {100, 300}, 300: {300, 400}, 400: {400, 500}, 500: {}, 650: {600, 700},
	} {
		p := plan.Pass(bundle.IPN(1, 7), bundle.IPN(2, 0), now)
		if got := [2]dtntime.Time{p.Start(), p.End()}; got != want || p.IsNone() != (want[1] == 0) || p.IsNone() != (p.Confidence() == 0) {
			t.Errorf("at %d: from %d to %d, want %d", now, p.Start(), p.End(), want)
		}
	}
	p := plan.Pass(bundle.IPN(1, 0), bundle.IPN(2, 0), 150)
	if p.At(0) != from1to2(100, 200, 1) || p.At(200) != from1to2(200, 300, 2) || p.At(900) != from1to2(200, 300, 2) {
		t.Errorf("contacts of %v", p)
	}
	if !p.Equal(plan.Pass(bundle.IPN(1, 0), bundle.IPN(2, 0), 299)) || p.Equal(plan.Pass(bundle.IPN(1, 0), bundle.IPN(2, 0), 350)) {
		t.Error("passes are not equal when their contacts are")
	}
	if !(*Plan)(nil).Pass(bundle.IPN(1, 0), bundle.IPN(2, 0), 0).IsNone() {
		t.Error("an empty plan has a pass")
	}
}

func TestChannels(t *testing.T) {
	var p *Plan
	if p.Channels() != nil {
		t.Error("a plan that is nil has channels")
	}
	rng := rand.New(rand.NewSource(3))
	p = randomPlan(t, rng, 300)
	seen := 0
	for i, c := range p.Channels() {
		if i > 0 {
			before := p.Channels()[i-1]
			if order := CompareEID(before.From, c.From); order > 0 || order == 0 && CompareEID(before.To, c.To) >= 0 {
				t.Errorf("%v to %v comes behind %v to %v", c.From, c.To, before.From, before.To)
			}
		}
		for _, pass := range c.Passes {
			if got := p.Pass(c.From, c.To, pass.Start()); !got.Equal(pass) {
				t.Errorf("the pass from %v to %v at %d is %v, want %v", c.From, c.To, pass.Start(), pass, got)
			}
			seen += len(pass.contacts)
		}
	}
	if seen != p.Len() {
		t.Errorf("channels hold %d contacts of %d", seen, p.Len())
	}
}
