package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"path/filepath"

	"golang.org/x/image/draw"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

// PreviewConfig steers whether samples go down as previews, whose pictures wait on
// board until the ground asks for them.
type PreviewConfig struct {
	FeaturesFirst bool  `toml:"features_first"` // false
	Thumbnail     int   `toml:"thumbnail"`      // pixels of its longer side; 64
	Bytes         int64 `toml:"bytes"`          // of the pictures that wait; 256 MiB
	// Wait is how long a picture waits; 7 days.
	Wait     dtntime.Duration `toml:"wait"`
	Lifetime dtntime.Duration `toml:"lifetime"` // of a preview's bundle; 7 days
	Priority bundle.Priority  `toml:"priority"` // of previews and of notices; normal
}

func (c *PreviewConfig) validate(batch int64) error {
	switch {
	case c.Thumbnail < 8 || c.Thumbnail > 256:
		return fmt.Errorf("preview.thumbnail is %d, want 8 to 256", c.Thumbnail)
	case c.Bytes < batch:
		return fmt.Errorf("preview.bytes is %d, want at least batch.bytes = %d", c.Bytes, batch)
	case c.Wait < dtntime.Millisecond || c.Lifetime < dtntime.Millisecond:
		return errors.New("preview.wait and preview.lifetime must be at least 1ms")
	case c.Priority > bundle.PriorityExpedited:
		return fmt.Errorf("preview.priority %v is unknown", c.Priority)
	}
	return nil
}

// announcer puts previews of samples on their way, and their pictures on the shelf.
type announcer struct {
	shelf    *shelf
	previews *outbox // previews, and notices that pictures are gone
	answers  *outbox // pictures that were asked for
	preview  []byte  // of the sample that is being chosen
}

func (a *Agent) prepareAnnouncer() error {
	m := a.miner
	c := &a.cfg.Preview
	var err error
	if m.shelf, err = openShelf(filepath.Join(a.cfg.DataDir, "waiting"), a.disk, c, a.log); err != nil {
		return err
	}
	if m.previews, err = a.openOutbox("previews", nil); err != nil {
		return err
	}
	if m.answers, err = a.openOutbox("answers", nil); err != nil {
		return err
	}
	to := a.cfg.Ground.WithService(ServiceSamples)
	m.previews.out = app.Outgoing{To: to, Custody: true, Lifetime: c.Lifetime, Priority: c.Priority}
	m.answers.out = app.Outgoing{To: to, Custody: true, Lifetime: a.cfg.Batch.Lifetime, Priority: a.cfg.Batch.Priority}
	return nil
}

// makePreview prepares the preview of a sample, and returns its size.
func (m *miner) makePreview(s *payload.Sample, sketch mining.Sketch) (int, error) {
	small, err := thumbnail(s.Picture, m.cfg.Preview.Thumbnail)
	if err != nil {
		return 0, err
	}
	p := payload.Preview{Sample: *s, Bytes: uint64(len(s.Picture)), Sketch: sketch, Thumbnail: small}
	p.Sample.Picture = nil
	m.preview, err = p.Encode()
	return len(m.preview), err
}

// thumbnail makes a JPEG of the picture whose longer side has so many pixels.
func thumbnail(picture []byte, side int) ([]byte, error) {
	img, err := models.DecodeJPEG(picture)
	if err != nil {
		return nil, err
	}
	b := img.Bounds()
	longer := max(b.Dx(), b.Dy())
	side = min(side, longer)
	small := image.NewRGBA(image.Rect(0, 0, max(1, b.Dx()*side/longer), max(1, b.Dy()*side/longer)))
	draw.CatmullRom.Scale(small, small.Bounds(), img, b, draw.Src, nil)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, small, nil); err != nil {
		return nil, fmt.Errorf("make thumbnail: %w", err)
	}
	return out.Bytes(), nil
}

// announce puts the preview of a sample on its way, and its picture on the shelf.
// next is the state with the picture counted. What a crash interrupts is done
// again: a preview that comes twice says nothing new.
func (m *miner) announce(next mined, s payload.Sample) error {
	data, err := (&payload.SampleBatch{Batch: answerNumber(&s), Samples: []payload.Sample{s}}).Encode()
	if err != nil {
		return fmt.Errorf("keep sample %s: %w", s.Name, err)
	}
	if err := m.shelf.put(s.ID, data, m.clock.Now()); err != nil {
		return err
	}
	l, err := m.previews.writeValued(s.ID.Digits(), 1, uint64(s.Worth), m.preview)
	if err != nil {
		return err
	}
	next.Counters.Closed++
	next.Counters.ClosedBytes += uint64(len(m.preview))
	if err := m.save(next); err != nil {
		return err
	}
	m.previews.add(l)
	return m.keepMemory()
}

// answerNumber is the number of the batch that brings one sample that was asked
// for: apart from those of other batches, and the same each time.
func answerNumber(s *payload.Sample) uint64 { return 1<<63 | binary.BigEndian.Uint64(s.ID[:8]) }

// takeRequest puts pictures that the ground asks for on their way. They stay on the
// shelf, so that a request that comes twice is no harm.
func (a *Agent) takeRequest(r *payload.Request) error {
	m := a.miner
	gone := payload.Gone{Time: a.clock.Now()}
	for _, id := range r.Samples {
		data, err := m.shelf.get(id, a.clock.Now())
		if errors.Is(err, errNotWaiting) {
			gone.Samples = append(gone.Samples, id)
			continue
		}
		if err != nil {
			return err
		}
		worth := uint64(0)
		if b, err := payload.DecodeSampleBatch(data); err == nil {
			worth = worthOf(b.Samples)
		}
		l, err := m.answers.writeValued(id.Digits(), 1, worth, data)
		if err != nil {
			return err
		}
		m.answers.add(l)
	}
	a.log.Info("pictures asked for", "pictures", len(r.Samples), "gone", len(gone.Samples))
	if len(gone.Samples) == 0 {
		return nil
	}
	data, err := gone.Encode()
	if err != nil {
		return fmt.Errorf("prepare notice: %w", err)
	}
	l, err := m.previews.write(fmt.Sprintf("gone-%016x", uint64(gone.Time)), 0, data)
	if err != nil {
		return err
	}
	m.previews.add(l)
	return nil
}
