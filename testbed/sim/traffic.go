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

// service is the service number at which the other end listens.
func (k Kind) service() uint64 {
	switch k {
	case Samples:
		return 11
	case Delta:
		return 12
	}
	return 10
}

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
	case t.Every < dtntime.Second:
		return fmt.Errorf("%w: %s every %s, want 1s at least", ErrConfig, t.Kind, t.Every)
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

// source is an application that sends.
type source struct {
	w       *world
	traffic Traffic
	node    *node
	rng     *rand.Rand
	pool    []payload.Sample // pictures, taken over and over
	sent    uint64
}

// beginTraffic starts the applications.
func (w *world) beginTraffic() {
	pools := make(map[int][]payload.Sample)
	for i, t := range w.cfg.Traffic {
		s := &source{w: w, traffic: t, node: w.byID[t.From], rng: w.cfg.stream("traffic", i)}
		if t.Kind == Samples {
			if pools[t.Size] == nil {
				pools[t.Size] = pictures(w.cfg.stream("pictures", t.Size), t.Size)
			}
			s.pool = pools[t.Size]
		}
		w.byID[t.To].listenAt(t.To.WithService(t.Kind.service()))
		w.at(time.Duration(s.rng.Int64N(int64(t.Every.Std()))), s.next)
	}
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

// next sends, and comes again.
func (s *source) next() {
	if s.w.now >= s.w.cfg.Length.Std() {
		return
	}
	s.w.after(s.traffic.Every.Std(), s.next)
	if !s.node.up {
		return // and neither is the application
	}
	if err := s.send(); err != nil {
		s.w.fail(err)
	}
}

func (s *source) send() error {
	switch s.traffic.Kind {
	case Samples:
		one := s.pool[s.rng.IntN(len(s.pool))]
		one.Taken = s.w.clock()
		s.sent++
		return s.message(&payload.SampleBatch{Batch: s.sent, Samples: []payload.Sample{one}})
	case Telemetry:
		st := s.node.store.Stats()
		s.sent++
		return s.message(&payload.Telemetry{
			Time: s.w.clock(), Taken: s.sent, StorageUsed: uint64(st.Bytes), StorageFree: uint64(max(st.Quota-st.Bytes, 0)),
			Battery: 80, Temperature: 20, PendingBatches: uint64(st.Bundles),
		})
	}
	s.sent++
	parts, err := payload.Split(payload.ModelPart{
		Update: s.sent, Version: s.sent, Type: payload.UpdateDelta, Encoding: "int4",
		Base: models.HashBytes([]byte("base")), Result: models.HashBytes([]byte("result")), Backbone: models.HashBytes([]byte("backbone")),
	}, noise(s.rng, s.traffic.Size), max(min(s.traffic.Part, s.traffic.Size), 1))
	if err != nil {
		return err
	}
	for i := range parts {
		if err := s.message(&parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) message(m payload.Message) error {
	body, err := m.Encode()
	if err != nil {
		return fmt.Errorf("making %s at %s: %w", s.traffic.Kind, s.node.id, err)
	}
	s.node.send(&s.traffic, body)
	return nil
}
