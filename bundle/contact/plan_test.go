package contact

import (
	"bytes"
	"errors"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

func node(n uint64) bundle.EID { return bundle.IPN(n, 0) }

func span(from, to uint64, start, end dtntime.Time) Contact {
	return Contact{From: node(from), To: node(to), Start: start, End: end, Rate: 1000, Confidence: 1}
}

func mustPlan(t testing.TB, contacts ...Contact) *Plan {
	t.Helper()
	p, err := New(contacts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNewRefuses(t *testing.T) {
	good := span(1, 2, 10, 20)
	for name, change := range map[string]func(*Contact){
		"no sender":      func(c *Contact) { c.From = bundle.EID{} },
		"no receiver":    func(c *Contact) { c.To = bundle.EID{} },
		"itself":         func(c *Contact) { c.To = bundle.IPN(1, 7) },
		"local node":     func(c *Contact) { c.To = node(bundle.LocalNode) },
		"group":          func(c *Contact) { c.To = bundle.DTN("a", "~all") },
		"empty":          func(c *Contact) { c.End = c.Start },
		"backwards":      func(c *Contact) { c.End = c.Start - 1 },
		"no rate":        func(c *Contact) { c.Rate = 0 },
		"sure":           func(c *Contact) { c.Confidence = 1.01 },
		"negative":       func(c *Contact) { c.Confidence = -0.1 },
		"not a number":   func(c *Contact) { c.Confidence = math.NaN() },
		"long layer":     func(c *Contact) { c.Layer = strings.Repeat("x", MaxLayer+1) },
		"layer in bytes": func(c *Contact) { c.Layer = "\xff" },
	} {
		c := good
		change(&c)
		if _, err := New([]Contact{c}); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := New([]Contact{span(1, 2, 10, 20), span(1, 2, 19, 30)}); !errors.Is(err, ErrPlan) {
		t.Errorf("overlap: got %v", err)
	}
	if _, err := New(make([]Contact, MaxContacts+1)); !errors.Is(err, ErrPlan) {
		t.Errorf("too many: got %v", err)
	}
	mustPlan(t, span(1, 2, 10, 20), span(1, 2, 20, 30), span(2, 1, 10, 20), span(1, 3, 10, 20))
}

func TestNewNormalises(t *testing.T) {
	given := []Contact{
		{From: bundle.IPN(1, 7), To: bundle.DTN("b", "x"), Start: 10, End: 20, Rate: 1},
		span(1, 2, 5, 6),
	}
	p := mustPlan(t, given...)
	all := slices.Collect(p.All())
	if all[0] != span(1, 2, 5, 6) {
		t.Errorf("first by start: %+v", all[0])
	}
	want := Contact{From: node(1), To: bundle.DTN("b", ""), Start: 10, End: 20, Rate: 1, Confidence: 1}
	if all[1] != want {
		t.Errorf("got %+v, want %+v", all[1], want)
	}
	if given[0].Confidence != 0 || given[0].From.Service() != 7 {
		t.Errorf("New changed its argument: %+v", given[0])
	}
}

func TestQueries(t *testing.T) {
	a, b := span(1, 2, 10, 20), span(1, 2, 30, 40)
	long, back := span(1, 3, 5, 50), span(2, 1, 12, 18)
	p := mustPlan(t, b, long, back, a)

	for _, c := range []struct {
		now          dtntime.Time
		active, next Contact
	}{
		{0, Contact{}, a},
		{9, Contact{}, a},
		{10, a, b},
		{19, a, b},
		{20, Contact{}, b},
		{30, b, Contact{}},
		{40, Contact{}, Contact{}},
	} {
		active, ok := p.Active(node(1), bundle.IPN(2, 7), c.now)
		if ok != (c.active != Contact{}) || (ok && active != c.active) {
			t.Errorf("active at %d: %+v, %v", c.now, active, ok)
		}
		next, ok := p.Next(node(1), node(2), c.now)
		if ok != (c.next != Contact{}) || (ok && next != c.next) {
			t.Errorf("next at %d: %+v, %v", c.now, next, ok)
		}
	}
	equal := func(what string, got []Contact, want ...Contact) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	equal("involving 1", slices.Collect(p.Involving(node(1))), long, a, back, b)
	equal("involving 3", slices.Collect(p.Involving(node(3))), long)
	equal("involving 9", slices.Collect(p.Involving(node(9))))
	equal("leaving 1", slices.Collect(p.Leaving(node(1), 0)), a, b, long)
	equal("leaving 1 at 20", slices.Collect(p.Leaving(node(1), 20)), b, long)
	equal("leaving 1 at 50", slices.Collect(p.Leaving(node(1), 50)))
	equal("upcoming", p.Upcoming(node(1), 18, 3), long, a, b)
	equal("upcoming, two", p.Upcoming(node(1), 18, 2), long, a)
	equal("upcoming of none", p.Upcoming(node(1), 50, 2))

	for _, c := range []struct {
		of   uint64
		want []dtntime.Time
	}{
		{1, []dtntime.Time{5, 10, 12, 18, 20, 30, 40, 50}}, {3, []dtntime.Time{5, 50}}, {9, nil},
	} {
		var changes []dtntime.Time
		for now := p.NextChange(node(c.of), 0); now != dtntime.Forever; now = p.NextChange(node(c.of), now) {
			changes = append(changes, now)
		}
		if !slices.Equal(changes, c.want) {
			t.Errorf("changes of %d: %v, want %v", c.of, changes, c.want)
		}
	}
}

func TestNilPlanIsEmpty(t *testing.T) {
	var p *Plan
	if _, ok := p.Active(node(1), node(2), 0); ok {
		t.Error("a contact is active")
	}
	if _, ok := p.Next(node(1), node(2), 0); ok {
		t.Error("a contact is next")
	}
	if p.Len() != 0 || len(p.Upcoming(node(1), 0, 5)) != 0 || p.NextChange(node(1), 0) != dtntime.Forever {
		t.Error("it holds contacts")
	}
	for range p.Leaving(node(1), 0) {
		t.Error("a contact leaves")
	}
	if p.Generation() != mustPlan(t).Generation() {
		t.Error("its generation is not that of an empty plan")
	}
}

func TestGenerationStandsForContents(t *testing.T) {
	a, b := span(1, 2, 10, 20), span(1, 3, 5, 50)
	first := mustPlan(t, a, b).Generation()
	if mustPlan(t, b, a).Generation() != first {
		t.Error("order matters")
	}
	for name, change := range map[string]func(*Contact){
		"start": func(c *Contact) { c.Start++ }, "end": func(c *Contact) { c.End++ },
		"rate": func(c *Contact) { c.Rate++ }, "light": func(c *Contact) { c.Light++ },
		"confidence": func(c *Contact) { c.Confidence = 0.5 }, "layer": func(c *Contact) { c.Layer = "ltp" },
		"from": func(c *Contact) { c.From = node(7) }, "to": func(c *Contact) { c.To = node(7) },
	} {
		changed := a
		change(&changed)
		if mustPlan(t, changed, b).Generation() == first {
			t.Errorf("another %s has the same generation", name)
		}
	}
}

// TestQueriesMatchScan checks the indexed answers against a look at every contact.
func TestQueriesMatchScan(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	p := randomPlan(t, rng, 300)
	for range 2000 {
		from, to := node(1+uint64(rng.Intn(6))), node(1+uint64(rng.Intn(6)))
		now := dtntime.Time(rng.Intn(5000))
		var active, next Contact
		change := dtntime.Forever
		for c := range p.All() {
			for _, at := range []dtntime.Time{c.Start, c.End} {
				if at > now && (c.From == from || c.To == from) {
					change = min(change, at)
				}
			}
			if c.From != from || c.To != to {
				continue
			}
			if c.ActiveAt(now) {
				active = c
			}
			if c.Start > now && next == (Contact{}) {
				next = c
			}
		}
		if got, ok := p.Active(from, to, now); ok != (active != Contact{}) || ok && got != active {
			t.Fatalf("active %v to %v at %d: got %v, want %v", from, to, now, got, active)
		}
		if got, ok := p.Next(from, to, now); ok != (next != Contact{}) || ok && got != next {
			t.Fatalf("next %v to %v at %d: got %v, want %v", from, to, now, got, next)
		}
		if got := p.NextChange(from, now); got != change {
			t.Fatalf("change of %v after %d: got %d, want %d", from, now, got, change)
		}
	}
}

func randomPlan(t testing.TB, rng *rand.Rand, n int) *Plan {
	ends := make(map[[2]uint64]dtntime.Time)
	var contacts []Contact
	for len(contacts) < n {
		at := [2]uint64{1 + uint64(rng.Intn(5)), 1 + uint64(rng.Intn(5))}
		if at[0] == at[1] {
			continue
		}
		start := ends[at] + dtntime.Time(rng.Intn(200))
		end := start + 1 + dtntime.Time(rng.Intn(300))
		ends[at] = end
		c := span(at[0], at[1], start, end)
		c.Rate = BitRate(1 + rng.Uint64()>>uint(rng.Intn(63)))
		c.Light = dtntime.Duration(rng.Intn(3))
		if rng.Intn(2) == 0 {
			c.Confidence = 1 - rng.Float64()
		}
		contacts = append(contacts, c)
	}
	return mustPlan(t, contacts...)
}

func TestTextRoundTrip(t *testing.T) {
	odd := []Contact{
		{
			From: bundle.DTN("a&b", ""), To: node(2), Start: 1, End: dtntime.Forever, Rate: math.MaxUint64,
			Light: math.MaxUint64, Confidence: 0.1, Layer: "ltp \"<>\n",
		},
		{From: bundle.IPN(977000<<32|3, 0), To: node(2), Start: 0, End: 757382400123, Rate: 1, Confidence: 1},
	}
	for _, p := range []*Plan{mustPlan(t), mustPlan(t, odd...), randomPlan(t, rand.New(rand.NewSource(2)), 200)} {
		var text bytes.Buffer
		n, err := p.WriteTo(&text)
		if err != nil || n != int64(text.Len()) {
			t.Fatalf("wrote %d of %d bytes: %v", n, text.Len(), err)
		}
		back, err := Parse(bytes.NewReader(text.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(slices.Collect(back.All()), slices.Collect(p.All())) || back.Generation() != p.Generation() {
			t.Errorf("came back different:\n%s", text.Bytes())
		}
	}
}
