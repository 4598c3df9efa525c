package ground

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

// PreviewConfig says which pictures are asked for of those that wait on board.
type PreviewConfig struct {
	Ask    int              `toml:"ask"`    // pictures in a period; 40
	Period dtntime.Duration `toml:"period"` // 24h
	// Lifetime is how long a request may be on its way. A picture that has not come
	// by then is asked for again; 7 days.
	Lifetime dtntime.Duration `toml:"lifetime"`
}

func (c *PreviewConfig) validate() error {
	switch {
	case c.Ask < 0 || c.Ask > payload.MaxAsked:
		return fmt.Errorf("previews.ask is %d, want 0 to %d", c.Ask, payload.MaxAsked)
	case c.Period < dtntime.Millisecond || c.Lifetime < dtntime.Millisecond:
		return errors.New("previews.period and previews.lifetime must be at least 1ms")
	}
	return nil
}

// preview is a picture that waits, or waited, on board: the file ID.json beside
// the thumbnail ID.jpg.
type preview struct {
	Sample
	Sketch mining.Sketch `json:"sketch"`
	Asked  dtntime.Time  `json:"asked,omitempty"` // when it was asked for last
	Gone   bool          `json:"gone,omitempty"`  // it is on board no longer
	Came   bool          `json:"came,omitempty"`
}

// previews are the announced pictures on disk, the oldest first.
type previews struct {
	dir  string
	disk durable.Disk
	most int

	mu   sync.Mutex // guards list, and changes of the files
	list []*preview
}

func openPreviews(dir string, disk durable.Disk, most int, log *slog.Logger) (*previews, error) {
	p := &previews{dir: dir, disk: disk, most: most}
	names, err := disk.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		one := new(preview)
		_, err := durable.ReadJSON(filepath.Join(dir, name), maxRecord, one)
		if err != nil || filepath.Base(p.path(one.ID, ".json")) != name {
			log.Error("record of a preview is damaged; it is left out", "file", name, "err", err)
			continue
		}
		p.list = append(p.list, one)
	}
	slices.SortFunc(p.list, func(a, b *preview) int {
		return cmp.Or(cmp.Compare(a.Received, b.Received), slices.Compare(a.ID[:], b.ID[:]))
	})
	return p, nil
}

func (p *previews) path(id models.Hash, ext string) string {
	return filepath.Join(p.dir, id.Digits()+ext)
}

func (p *previews) find(id models.Hash) *preview {
	at := slices.IndexFunc(p.list, func(one *preview) bool { return one.ID == id })
	if at < 0 {
		return nil
	}
	return p.list[at]
}

// add keeps a preview, and says whether it is new.
func (p *previews) add(one preview, thumbnail []byte) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.find(one.ID) != nil {
		return false, nil
	}
	for len(p.list) >= p.most {
		for _, ext := range []string{".json", ".jpg", ".ask"} {
			if err := p.disk.Remove(p.path(p.list[0].ID, ext)); err != nil {
				return false, err
			}
		}
		p.list = p.list[1:]
	}
	if err := p.disk.Write(p.path(one.ID, ".jpg"), thumbnail); err != nil {
		return false, err
	}
	if err := p.disk.WriteJSON(p.path(one.ID, ".json"), one); err != nil {
		return false, err
	}
	p.list = append(p.list, &one)
	return true, nil
}

// change replaces the record of a preview, unless there is none.
func (p *previews) change(id models.Hash, how func(*preview)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.find(id)
	if one == nil {
		return nil
	}
	next := *one
	how(&next)
	if err := p.disk.WriteJSON(p.path(id, ".json"), next); err != nil {
		return err
	}
	*one = next
	return nil
}

// mostCompared bounds the pictures asked for before that others are held against:
// the last ones.
const mostCompared = 512

// choose returns the pictures to ask one satellite for: those that a person wants
// (a file ID.ask is there), and of the others what the period still allows, first
// what is worth most and least like what was asked for before.
func (p *previews) choose(c *PreviewConfig, now dtntime.Time) (to bundle.EID, ids []models.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	open, had, left := p.sort(c, now)
	wanted := map[*preview]bool{}
	for _, one := range open {
		if _, err := os.Stat(p.path(one.ID, ".ask")); err == nil {
			wanted[one] = true
		}
	}
	if len(wanted) == 0 && left <= 0 {
		return to, nil
	}
	apart := make([]float64, len(open)) // from the nearest of those asked for
	for i, one := range open {
		apart[i] = one.apart(had)
	}
	gain := func(i int) float64 {
		if wanted[open[i]] {
			return math.Inf(1)
		}
		return float64(open[i].Worth) * apart[i]
	}
	for len(ids) < payload.MaxAsked {
		best := -1
		for i, one := range open {
			if (len(ids) == 0 || one.Satellite == to) && !slices.Contains(ids, one.ID) && (best < 0 || gain(i) > gain(best)) {
				best = i
			}
		}
		if best < 0 || left <= 0 && !wanted[open[best]] {
			break
		}
		taken := open[best]
		to, ids, left = taken.Satellite, append(ids, taken.ID), left-1
		for i, one := range open {
			apart[i] = min(apart[i], one.apart([]*preview{taken}))
		}
	}
	return to, ids
}

// sort returns the previews that may be asked for, those that were, and how many
// the period still allows. p.mu is held.
func (p *previews) sort(c *PreviewConfig, now dtntime.Time) (open, had []*preview, left int) {
	left = c.Ask
	for _, one := range p.list {
		if one.Asked > 0 {
			had = append(had, one)
			if uint64(one.Asked)/uint64(c.Period) == uint64(now)/uint64(c.Period) {
				left--
			}
		}
		if !one.Gone && !one.Came && (one.Asked == 0 || now.Sub(one.Asked) >= c.Lifetime) {
			open = append(open, one)
		}
	}
	return open, had[max(0, len(had)-mostCompared):], left
}

// apart is how far a picture is from the nearest of others, 1 without any.
func (p *preview) apart(others []*preview) float64 {
	least := 1.0
	for _, o := range others {
		if o != p {
			least = min(least, p.Sketch.Distance(o.Sketch))
		}
	}
	return least
}

func (g *Ground) keepPreview(from bundle.EID, p *payload.Preview) error {
	if len(p.Sketch) != mining.SketchSize {
		return fmt.Errorf("%w: sketch of %d numbers, want %d", mail.ErrUseless, len(p.Sketch), mining.SketchSize)
	}
	s := &p.Sample
	isNew, err := g.previews.add(preview{
		Sample: Sample{
			ID: s.ID, Name: s.Name, Satellite: from, Taken: s.Taken, Received: g.clock.Now(),
			Model: s.Model, Bytes: int64(p.Bytes), Worth: s.Worth, Found: s.Found,
		},
		Sketch: p.Sketch,
	}, p.Thumbnail)
	if err != nil {
		return err
	}
	g.log.Info("preview received", "source", from, "sample", s.ID, "worth", s.Worth, "picture_bytes", p.Bytes, "new", isNew)
	return nil
}

func (g *Ground) keepGone(from bundle.EID, m *payload.Gone) error {
	g.log.Warn("pictures that were asked for are on board no longer", "source", from, "pictures", len(m.Samples))
	for _, id := range m.Samples {
		if err := g.previews.change(id, func(p *preview) { p.Gone = !p.Came }); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for pictures that wait on board until ctx ends.
func (g *Ground) ask(ctx context.Context) error {
	for {
		if err := g.askOnce(ctx); err != nil {
			return err
		}
		t := time.NewTimer(g.cfg.LabelEvery.Std())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

func (g *Ground) askOnce(ctx context.Context) error {
	now := g.clock.Now()
	to, ids := g.previews.choose(&g.cfg.Previews, now)
	if len(ids) == 0 {
		return nil
	}
	data, err := (&payload.Request{Time: now, Samples: ids}).Encode()
	if err != nil {
		return fmt.Errorf("prepare a request for %v: %w", to, err)
	}
	id, err := g.client.Send(ctx, app.Outgoing{
		To: to.WithService(serviceVerdicts), Custody: true, Lifetime: g.cfg.Previews.Lifetime,
		Priority: bundle.PriorityNormal, Payload: bytes.NewReader(data), Length: int64(len(data)),
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && mail.IsPassing(err):
		g.log.Info("node does not take a request now; trying again", "err", err)
		return nil
	case errors.Is(err, app.ErrRejected):
		g.log.Error("node rejects a request for pictures", "to", to, "err", err)
	case err != nil:
		return fmt.Errorf("ask %v for pictures: %w", to, err)
	default:
		g.log.Info("pictures asked for", "pictures", len(ids), "bundle", id, "to", to)
	}
	for _, id := range ids {
		if err := g.previews.change(id, func(p *preview) { p.Asked = now }); err != nil {
			return err
		}
		if err := g.disk.Remove(g.previews.path(id, ".ask")); err != nil {
			return err
		}
	}
	return nil
}
