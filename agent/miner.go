package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/agent/record"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

// Counters run since the satellite was commissioned.
type Counters struct {
	Taken      uint64 `json:"taken"`       // pictures looked at
	TakenBytes uint64 `json:"taken_bytes"` // of these
	Hard       uint64 `json:"hard"`        // of these, found hard
	Oversize   uint64 `json:"oversize"`    // pictures above the limit, left out
	Broken     uint64 `json:"broken"`      // pictures that could not be read, left out
	Closed     uint64 `json:"closed"`      // samples in closed batches
	Repeats    uint64 `json:"repeats"`     // hard pictures that show what was sent before, left out
	Spared     uint64 `json:"spared"`      // hard pictures for which the period's budget had no room, left out
	// ClosedBytes is the payloads of the closed batches.
	ClosedBytes uint64 `json:"closed_bytes"`
}

// mined is what the miner must not forget. It is written after every picture.
type mined struct {
	Cursor   cursor        `json:"cursor"`
	Batch    uint64        `json:"batch"`            // number of the open batch
	Open     []models.Hash `json:"open,omitempty"`   // samples in it
	Bytes    int64         `json:"bytes,omitempty"`  // of their pictures
	Opened   dtntime.Time  `json:"opened,omitempty"` // when the first one came
	Counters Counters      `json:"counters"`
	Spent    mining.Spent  `json:"spent"` // of the period's budget
}

// miner looks at pictures and batches the hard ones. A sample is a file of the
// open folder before the state names it; a batch is a file of the outbox before
// the state moves on to the next. So a crash loses nothing: what the state does
// not name is done again.
type miner struct {
	cfg    *Config
	clock  dtntime.Clock
	disk   durable.Disk
	log    *slog.Logger
	source source
	chooser
	runner *runner
	outbox *outbox
	record *record.Book
	held   *held
	open   string // folder of the open batch

	mu    sync.Mutex // guards state against readers; only the miner's goroutine writes
	state mined
}

const stateFile = "state.json"

// maxFound bounds the detections that travel with a sample, best first, so that
// those of a full batch add less than 1 MiB to its pictures.
const maxFound = 100

// readMined reads the state of an earlier run.
func readMined(dir string) (mined, error) {
	var m mined
	if _, err := durable.ReadJSON(filepath.Join(dir, stateFile), maxStateFile, &m); err != nil {
		return mined{}, fmt.Errorf("recall the pictures taken: %w", err)
	}
	return m, nil
}

func batchKey(number uint64) string { return fmt.Sprintf("%016d", number) }

// tidy holds the samples that the state does not name: those of a batch that was closed
// when a crash came. One of them may be of a picture that is yet to be looked at again.
func (m *miner) tidy() error {
	names, err := m.disk.OpenDir(m.open)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(m.open, name)
		id, ok := parseSample(name)
		switch {
		case !ok:
			err = m.disk.Remove(path)
		case !slices.Contains(m.state.Open, id):
			err = m.held.keep(max(m.state.Batch, 1)-1, id, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sampleName(id models.Hash) string { return id.Digits() + ".cbor" }

func parseSample(name string) (id models.Hash, ok bool) {
	digits, isFile := strings.CutSuffix(name, ".cbor")
	id, ok = models.ParseDigits(digits)
	return id, isFile && ok
}

func (m *miner) samplePath(id models.Hash) string { return filepath.Join(m.open, sampleName(id)) }

// counters returns a snapshot.
func (m *miner) counters() Counters {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Counters
}

// save makes next the state, on disk first.
func (m *miner) save(next mined) error {
	if err := m.disk.WriteJSON(filepath.Join(m.cfg.DataDir, stateFile), next); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = next
	return nil
}

// run looks at one picture after the other until ctx ends.
func (m *miner) run(ctx context.Context) error {
	last := m.clock.Now()
	for {
		if err := m.outbox.waitRoom(ctx, m.cfg.Batch.OutboxBytes); err != nil {
			return err
		}
		if err := m.previews.waitRoom(ctx, m.cfg.Batch.OutboxBytes); err != nil {
			return err
		}
		p, err := m.source.next(m.state.Cursor)
		if err != nil {
			m.log.Error("pictures cannot be reached; trying again", "err", err)
		}
		if len(m.state.Open) > 0 && (m.aged() || err == nil && p == nil && m.source.ended()) {
			if err := m.close(); err != nil {
				return err
			}
		}
		if err := mail.Pause(ctx, m.untilNext(p, last)); err != nil {
			return err
		}
		last = m.clock.Now()
		if p == nil || m.rests() {
			continue
		}
		if err := m.process(ctx, p); err != nil {
			return err
		}
	}
}

// untilNext returns how long to wait before the next picture, the one before
// having been begun at last.
func (m *miner) untilNext(p *picture, last dtntime.Time) time.Duration {
	wait := m.cfg.Source.Interval.Std()
	if p != nil && p.pause > 0 {
		wait = p.pause
	}
	return wait - m.clock.Now().Sub(last).Std()
}

// aged tells whether the open batch has waited long enough.
func (m *miner) aged() bool {
	return m.clock.Now().Sub(m.state.Opened) >= m.cfg.Batch.MaxWait
}

// process looks at one picture and makes the outcome durable.
func (m *miner) process(ctx context.Context, p *picture) error {
	next := m.state
	next.Cursor = p.next
	data, err := m.read(p)
	if err != nil {
		m.log.Warn("picture left out", "picture", p.name, "err", err)
		if errors.Is(err, durable.ErrTooLarge) {
			next.Counters.Oversize++
		} else {
			next.Counters.Broken++
		}
		return m.save(next)
	}
	found, model, err := m.runner.look(ctx, data)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errGrave) {
		return err
	}
	if err != nil {
		m.log.Warn("picture left out", "picture", p.name, "err", err)
		next.Counters.Broken++
		return m.save(next)
	}
	next.Counters.Taken++
	next.Counters.TakenBytes += uint64(len(data))
	s := payload.NewSample(data)
	s.Name, s.Taken, s.Model = shorten(p.name, payload.MaxName), p.taken, model
	s.Found = found[:min(len(found), maxFound)]
	if s.Taken == 0 {
		s.Taken = m.clock.Now()
	}
	choice, chosen := m.choose(&next, &s, found)
	if err := m.note(&s, chosen); err != nil {
		return err
	}
	switch {
	case !chosen:
		err = m.save(next)
	case m.cfg.Preview.FeaturesFirst:
		err = m.announce(next, s)
	default:
		err = m.add(next, s)
	}
	if err != nil {
		return err
	}
	// Only now: what a crash has do again must not be taken for a repeat.
	m.selector.Remember(choice, chosen)
	return nil
}

func (m *miner) read(p *picture) ([]byte, error) {
	if p.bad != nil {
		return nil, p.bad
	}
	return durable.Read(p.path, m.cfg.Source.MaxPictureBytes)
}

// add puts a sample into the open batch, closing batches as they fill up. next is
// the state with the picture counted.
func (m *miner) add(next mined, s payload.Sample) error {
	if slices.Contains(m.state.Open, s.ID) {
		return m.save(next)
	}
	size := int64(len(s.Picture))
	if len(m.state.Open) > 0 && m.state.Bytes+size > m.cfg.Batch.Bytes {
		if err := m.close(); err != nil {
			return err
		}
		closed := m.state
		next.Batch, next.Open, next.Bytes, next.Opened = closed.Batch, nil, 0, 0
		next.Counters.Closed, next.Counters.ClosedBytes = closed.Counters.Closed, closed.Counters.ClosedBytes
	}
	data, err := (&payload.SampleBatch{Batch: next.Batch, Samples: []payload.Sample{s}}).Encode()
	if err != nil {
		return fmt.Errorf("keep sample %s: %w", s.Name, err)
	}
	if err := m.disk.Write(m.samplePath(s.ID), data); err != nil {
		return err
	}
	if len(next.Open) == 0 {
		next.Opened = m.clock.Now()
	}
	next.Open = append(slices.Clone(next.Open), s.ID)
	next.Bytes += size
	if err := m.save(next); err != nil {
		return err
	}
	if len(next.Open) >= m.cfg.Batch.Samples || next.Bytes >= m.cfg.Batch.Bytes {
		return m.close()
	}
	return nil
}

// close puts the open batch on its way and begins the next.
func (m *miner) close() error {
	now := m.state
	batch := payload.SampleBatch{Batch: now.Batch}
	for _, id := range now.Open {
		data, err := durable.Read(m.samplePath(id), payload.MaxMessage)
		if err != nil {
			return fmt.Errorf("close batch %d: %w", now.Batch, err)
		}
		one, err := payload.DecodeSampleBatch(data)
		if err != nil {
			m.log.Error("a kept sample is damaged and is lost", "sample", id, "err", err)
			continue
		}
		batch.Samples = append(batch.Samples, one.Samples...)
	}
	data, err := batch.Encode()
	if err != nil {
		return fmt.Errorf("close batch %d: %w", now.Batch, err)
	}
	l, err := m.outbox.writeValued(batchKey(now.Batch), len(batch.Samples), worthOf(batch.Samples), data)
	if err != nil {
		return err
	}
	next := mined{Cursor: now.Cursor, Batch: now.Batch + 1, Counters: now.Counters, Spent: now.Spent}
	next.Counters.Closed += uint64(len(batch.Samples))
	next.Counters.ClosedBytes += uint64(len(data))
	if err := m.save(next); err != nil {
		return err
	}
	m.outbox.add(l)
	m.log.Info("batch of hard samples closed", "batch", now.Batch, "samples", len(batch.Samples), "size", len(data))
	for _, id := range now.Open {
		if err := m.held.keep(now.Batch, id, m.samplePath(id)); err != nil {
			return err
		}
	}
	return m.keepMemory()
}
