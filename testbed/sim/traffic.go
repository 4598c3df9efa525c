package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/payload"
)

// Kind is what an application sends.
type Kind string

// The kinds of traffic.
const (
	Samples   Kind = "samples"   // batches of hard samples
	Telemetry Kind = "telemetry" // small and often
	Delta     Kind = "delta"     // updates of a network, in parts
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{Samples, Telemetry, Delta} }

// Service is the service number from which and to which bundles of a kind go.
func (k Kind) Service() uint64 {
	switch k {
	case Samples:
		return 11
	case Delta:
		return 12
	}
	return 10
}

// shortestEvery is the shortest time from one message of a traffic to the next.
const shortestEvery = 10 * dtntime.Millisecond

// Traffic is what one application sends to another, in payloads as agent and ground
// make them.
type Traffic struct {
	Kind     Kind
	From, To bundle.EID // node IDs
	// Every is the time from one to the next, the first at a random part of it.
	Every dtntime.Duration
	// Size is the bytes of pictures of a batch, or of a whole update.
	Size int
	// Part is the bytes of each part of an update; 0: it goes in one.
	Part     int
	Priority bundle.Priority
	Lifetime dtntime.Duration
	// Custody asks for custody transfer.
	Custody bool
}

func (t *Traffic) check(known map[bundle.EID]bool) error {
	switch {
	case !known[t.From] || !known[t.To] || t.From == t.To:
		return fmt.Errorf("%w: %s from %s to %s: want two nodes that are there", ErrConfig, t.Kind, t.From, t.To)
	case t.Every < shortestEvery:
		return fmt.Errorf("%w: %s every %s, want %s at least", ErrConfig, t.Kind, t.Every, shortestEvery)
	case t.Lifetime < dtntime.Second:
		return fmt.Errorf("%w: %s with a lifetime of %s, want 1s at least", ErrConfig, t.Kind, t.Lifetime)
	}
	switch t.Kind {
	case Telemetry:
	case Samples:
		if t.Size < 1 || t.Size > payload.MaxPicture {
			return fmt.Errorf("%w: samples of %d bytes, want 1 to %d", ErrConfig, t.Size, payload.MaxPicture)
		}
	case Delta:
		if t.Size < 1 || t.Size > payload.MaxUpdate || t.Part < 0 || t.Part > payload.MaxPart || t.Part == 0 && t.Size > payload.MaxPart {
			return fmt.Errorf("%w: a delta of %d bytes in parts of %d, want parts of at most %d", ErrConfig, t.Size, t.Part, payload.MaxPart)
		}
	default:
		return fmt.Errorf("%w: traffic of kind %q; want one of %v", ErrConfig, t.Kind, Kinds())
	}
	return nil
}

// Maker makes the payloads that one application sends.
type Maker struct {
	Traffic
	// First is when it sends first, since the start.
	First time.Duration

	rng  *rand.Rand
	pool []payload.Sample // pictures, taken over and over
	sent uint64
}

// State is what telemetry tells of a node: the bytes of its store, and its bundles.
type State struct{ Used, Free, Bundles uint64 }

// Makers returns what makes the payloads of each Traffic, in order. They follow from
// the seed.
func (c *Config) Makers() []*Maker {
	pools := make(map[int][]payload.Sample)
	makers := make([]*Maker, len(c.Traffic))
	for i, t := range c.Traffic {
		m := &Maker{Traffic: t, rng: c.stream("traffic", i)}
		if t.Kind == Samples {
			if pools[t.Size] == nil {
				pools[t.Size] = pictures(c.stream("pictures", t.Size), t.Size)
			}
			m.pool = pools[t.Size]
		}
		m.First = time.Duration(m.rng.Int64N(int64(t.Every.Std())))
		makers[i] = m
	}
	return makers
}

// pictures draws some pictures of a size.
func pictures(rng *rand.Rand, size int) []payload.Sample {
	const different = 16
	list := make([]payload.Sample, different)
	for i := range list {
		list[i] = payload.NewSample(noise(rng, size))
		list[i].Name, list[i].Filter = fmt.Sprintf("picture-%d", i), "Threshold"
	}
	return list
}

// noise draws bytes that no compression shortens.
func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:n]
}

// Next makes the payloads of what is sent next, at a time and at a node that is as state
// says.
func (m *Maker) Next(now dtntime.Time, state State) ([][]byte, error) {
	m.sent++
	switch m.Kind {
	case Samples:
		one := m.pool[m.rng.IntN(len(m.pool))]
		one.Taken = now
		return m.encode(&payload.SampleBatch{Batch: m.sent, Samples: []payload.Sample{one}})
	case Telemetry:
		return m.encode(&payload.Telemetry{
			Time: now, Taken: m.sent, StorageUsed: state.Used, StorageFree: state.Free,
			Battery: 80, Temperature: 20, PendingBatches: state.Bundles,
		})
	}
	parts, err := payload.Split(payload.ModelPart{
		Update: m.sent, Version: m.sent, Type: payload.UpdateDelta, Encoding: "int4",
		Base: models.HashBytes([]byte("base")), Result: models.HashBytes([]byte("result")), Backbone: models.HashBytes([]byte("backbone")),
	}, noise(m.rng, m.Size), max(min(m.Part, m.Size), 1))
	if err != nil {
		return nil, fmt.Errorf("making a delta at %s: %w", m.From, err)
	}
	messages := make([]payload.Message, len(parts))
	for i := range parts {
		messages[i] = &parts[i]
	}
	return m.encode(messages...)
}

func (m *Maker) encode(messages ...payload.Message) ([][]byte, error) {
	var bodies [][]byte
	for _, one := range messages {
		body, err := one.Encode()
		if err != nil {
			return nil, fmt.Errorf("making %s at %s: %w", m.Kind, m.From, err)
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}

// source is an application that sends.
type source struct {
	*Maker
	w    *world
	node *node
}

// beginTraffic starts the applications.
func (w *world) beginTraffic() {
	for _, m := range w.cfg.Makers() {
		s := &source{Maker: m, w: w, node: w.byID[m.From]}
		w.byID[m.To].listenAt(m.To.WithService(m.Kind.Service()))
		w.at(m.First, s.next)
	}
}

// next sends, and comes again.
func (s *source) next() {
	if s.w.now >= s.w.cfg.Length.Std() {
		return
	}
	s.w.after(s.Every.Std(), s.next)
	if !s.node.up {
		return // and neither is the application
	}
	st := s.node.store.Stats()
	bodies, err := s.Next(s.w.clock(), State{uint64(st.Bytes), uint64(max(st.Quota-st.Bytes, 0)), uint64(st.Bundles)})
	if err != nil {
		s.w.fail(err)
	}
	for _, body := range bodies {
		s.node.send(&s.Traffic, body)
	}
}
