package sim

import (
	"context"
	"errors"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

const start = dtntime.Time(833_587_200_000)

func id(n uint64) bundle.EID { return bundle.IPN(n, 0) }

// small is a satellite, 1, that meets two relays, 2 and 3, which see the ground, 4, at
// other times.
func small(t testing.TB, seed uint64) Config {
	t.Helper()
	c := Config{Seed: seed, Start: start, Length: 2 * dtntime.Hour, Drain: 4 * dtntime.Hour}
	for n := range uint64(4) {
		c.Nodes = append(c.Nodes, Node{Name: string(rune('a' + n)), ID: id(n + 1)})
	}
	var contacts []contact.Contact
	meet := func(a, b uint64, first, length, every dtntime.Duration) {
		for at := first; at < c.Length.Add(c.Drain); at = at.Add(every) {
			one := contact.Contact{From: id(a), To: id(b), Start: start.Add(at), End: start.Add(at).Add(length), Rate: 500_000, Light: 3}
			back := one
			back.From, back.To = id(b), id(a)
			contacts = append(contacts, one, back)
		}
	}
	const minute = dtntime.Minute
	meet(1, 2, 0, 3*minute, 15*minute)
	meet(1, 3, 5*minute, 3*minute, 15*minute)
	meet(2, 4, 4*minute, 2*minute, 15*minute)
	meet(3, 4, 10*minute, 2*minute, 15*minute)
	var err error
	if c.Plan, err = contact.New(contacts); err != nil {
		t.Fatal(err)
	}
	c.Traffic = []Traffic{
		{Kind: Samples, From: id(1), To: id(4), Every: 30 * dtntime.Second, Size: 20_000, Lifetime: dtntime.Day, Custody: true},
		{Kind: Telemetry, From: id(1), To: id(4), Every: minute, Lifetime: dtntime.Day, Priority: bundle.PriorityExpedited, Custody: true},
		{Kind: Delta, From: id(4), To: id(1), Every: dtntime.Hour, Size: 50_000, Part: 8000, Lifetime: dtntime.Day, Custody: true},
	}
	return c
}

func mustRun(t testing.TB, c Config) *Result {
	t.Helper()
	r, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) > 0 {
		t.Fatalf("not kept:\n%s", strings.Join(r.Failures, "\n"))
	}
	return r
}

func TestEverythingArrivesOnce(t *testing.T) {
	r := mustRun(t, small(t, 1))
	if r.Drained == 0 || r.Delivered != r.Accepted || r.Sent != r.Accepted || r.Twice+r.Lost+r.Expired+r.Waiting > 0 {
		t.Errorf("%+v", r)
	}
	if want := 240 + 120 + 14; r.Sent != want {
		t.Errorf("%d bundles were sent, want %d", r.Sent, want)
	}
	if r.Bound.To != id(4) || r.Bound.Delivered > r.Bound.Bytes || r.Bound.Bytes > r.Bound.Capacity {
		t.Errorf("bound %+v", r.Bound)
	}
	for _, p := range r.Passes {
		if p.Bytes > p.Capacity {
			t.Errorf("the contact from %s to %s at %s carried %d bytes and has room for %d", p.From, p.To, p.Start, p.Bytes, p.Capacity)
		}
	}
}

// TestFaultsLoseNothing has seeds with every kind of fault, each run twice.
func TestFaultsLoseNothing(t *testing.T) {
	hashes := make(map[string]uint64)
	for seed := range uint64(12) {
		c := small(t, seed)
		c.Link.Loss = 0.02
		c.Faults = Faults{
			Crashes: 6, Down: 10 * dtntime.Minute, Missed: 0.2,
			At: []Fault{{At: 20 * dtntime.Minute, Node: id(2), For: 5 * dtntime.Minute}, {At: dtntime.Hour, Node: id(1), Peer: id(3), For: 30 * dtntime.Minute}},
		}
		r := mustRun(t, c)
		if r.Drained == 0 || r.Delivered != r.Accepted || r.Crashes == 0 {
			t.Errorf("seed %d: %d of %d were delivered, with %d crashes", seed, r.Delivered, r.Accepted, r.Crashes)
		}
		if again := mustRun(t, c); again.Hash != r.Hash {
			t.Errorf("seed %d: two runs have the traces %s and %s", seed, r.Hash, again.Hash)
		}
		if other, known := hashes[r.Hash]; known {
			t.Errorf("seeds %d and %d have the same trace", other, seed)
		}
		hashes[r.Hash] = seed
	}
}

func TestFullStoreLosesNothing(t *testing.T) {
	c := small(t, 1)
	c.Nodes[1].Storage, c.Nodes[2].Storage = 100_000, 100_000
	c.Drain = 20 * dtntime.Hour
	c.Plan = small(t, 1).Plan
	r := mustRun(t, c)
	if r.Lost+r.Twice+r.Expired > 0 || r.Delivered+r.Waiting != r.Accepted {
		t.Errorf("%+v", r)
	}
}

func TestExpiredIsNotLost(t *testing.T) {
	c := small(t, 1)
	for i := range c.Traffic {
		c.Traffic[i].Lifetime = 14 * dtntime.Minute
	}
	c.Faults.Missed = 0.5
	r := mustRun(t, c)
	if r.Expired == 0 || r.Delivered == 0 || r.Delivered+r.Expired != r.Accepted {
		t.Errorf("%d expired and %d delivered of %d", r.Expired, r.Delivered, r.Accepted)
	}
}

func TestConfigMistakes(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"one node":        func(c *Config) { c.Nodes, c.Plan, c.Traffic = c.Nodes[:1], nil, nil },
		"node twice":      func(c *Config) { c.Nodes[1].ID = c.Nodes[0].ID },
		"foreign contact": func(c *Config) { c.Nodes = c.Nodes[:3] },
		"no length":       func(c *Config) { c.Length = 0 },
		"loss":            func(c *Config) { c.Link.Loss = 1 },
		"layer":           func(c *Config) { c.Link.Layer = "magic" },
		"crashes":         func(c *Config) { c.Faults.Crashes = 1 },
		"fault":           func(c *Config) { c.Faults.At = []Fault{{Node: id(9)}} },
		"traffic to self": func(c *Config) { c.Traffic[0].To = c.Traffic[0].From },
		"traffic of kind": func(c *Config) { c.Traffic[0].Kind = "noise" },
		"too often":       func(c *Config) { c.Traffic[0].Every = 1 },
		"no lifetime":     func(c *Config) { c.Traffic[0].Lifetime = 0 },
		"too large":       func(c *Config) { c.Traffic[0].Size = 1 << 30 },
		"whole delta":     func(c *Config) { c.Traffic[2].Size, c.Traffic[2].Part = 10<<20, 0 },
	} {
		c := small(t, 1)
		spoil(&c)
		if _, err := Run(context.Background(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := small(t, 1)
	c.Progress = func(dtntime.Duration, dtntime.Duration) { cancel() }
	if _, err := Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
