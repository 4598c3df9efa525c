package ground

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/models"
	"perigee/models/payload"
)

// Service numbers of the applications under their node (ipn:N.SERVICE).
const (
	serviceTelemetry = 10
	serviceSamples   = 11
	serviceModels    = 12
	serviceReceipts  = 14
	serviceLessons   = 15
)

// maxTelemetryFile is where the telemetry file of a satellite begins anew, in
// bytes. The one before is kept.
const maxTelemetryFile = 16 << 20

// receive hands deliveries for a service to keep until ctx ends. Those of nodes
// that are not served are useless.
func (g *Ground) receive(ctx context.Context, service uint64, limit int64, keep func(from bundle.EID, data []byte) error) error {
	in := mail.Inbox{Client: g.client, Endpoint: g.node.WithService(service), Limit: limit, Wait: g.newBackoff(), Log: g.log}
	for {
		err := in.Next(ctx, func(from bundle.EID, data []byte) error {
			if !g.roster.knows(from) {
				return fmt.Errorf("%w: satellite %v is not in the configuration", mail.ErrUseless, from)
			}
			return keep(from, data)
		})
		if err != nil {
			return err
		}
	}
}

// keepWord keeps what a satellite says about its samples: batches of them, previews,
// and that pictures are gone.
func (g *Ground) keepWord(from bundle.EID, data []byte) error {
	message, err := payload.Decode(data)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	switch m := message.(type) {
	case *payload.SampleBatch:
		return g.keepSamples(from, m)
	case *payload.Preview:
		return g.keepPreview(from, m)
	case *payload.Gone:
		return g.keepGone(from, m)
	}
	return fmt.Errorf("%w: it is a %v", mail.ErrUseless, message.Kind())
}

func (g *Ground) keepSamples(from bundle.EID, batch *payload.SampleBatch) error {
	fresh := 0
	for i := range batch.Samples {
		s := &batch.Samples[i]
		isNew, err := g.library.add(Sample{
			ID: s.ID, Name: s.Name, Satellite: from, Taken: s.Taken, Received: g.clock.Now(),
			Model: s.Model, Bytes: int64(len(s.Picture)), Worth: s.Worth, Found: s.Found,
		}, s.Picture, g.isBusy)
		if err != nil {
			return err
		}
		if isNew {
			fresh++
		}
		if err := g.previews.change(s.ID, func(p *preview) { p.Came = true }); err != nil {
			return err
		}
	}
	g.log.Info("batch of samples received", "source", from, "batch", batch.Batch, "samples", len(batch.Samples), "new", fresh)
	g.publish(func(*Progress) {})
	signal(g.wake)
	return nil
}

func (g *Ground) keepTelemetry(from bundle.EID, data []byte) error {
	t, err := payload.DecodeTelemetry(data)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	line, err := json.Marshal(struct {
		Source bundle.EID `json:"source"`
		*payload.Telemetry
	}{from, t})
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	dir := filepath.Join(g.cfg.DataDir, "telemetry")
	path := filepath.Join(dir, fileName(from)+".jsonl")
	if info, err := os.Stat(path); err == nil && info.Size() > maxTelemetryFile {
		if err := g.disk.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	if err := g.disk.Append(path, append(line, '\n')); err != nil {
		return err
	}
	err = g.roster.change(from, func(s *Satellite) {
		s.Heard = g.clock.Now()
		if t.Time > s.At {
			s.Active, s.Version, s.At = t.Model, t.ModelVersion, t.Time
		}
	})
	g.publish(func(*Progress) {})
	signal(g.wake)
	return err
}

// keepAnswer keeps what a satellite says of an update.
func (g *Ground) keepAnswer(from bundle.EID, data []byte) error {
	m, err := payload.Decode(data)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	switch m := m.(type) {
	case *payload.Receipt:
		return g.keepReceipt(from, m)
	case *payload.Learned:
		return g.keepLearned(from, m)
	}
	return fmt.Errorf("%w: a %v among the receipts", mail.ErrUseless, m.Kind())
}

func (g *Ground) keepReceipt(from bundle.EID, r *payload.Receipt) error {
	g.log.Info("receipt received", "source", from, "update", r.Update, "version", r.Version, "status", r.Status, "reason", r.Reason)
	err := g.roster.change(from, func(s *Satellite) {
		s.Heard = g.clock.Now()
		if r.Time >= s.At {
			s.Active, s.Version, s.At = r.Active, r.ActiveVersion, r.Time
		}
		if r.Update > s.Update || r.Update == s.Update && !overtaken(s, r) {
			s.Update, s.Step, s.Status, s.Reason = r.Update, r.Step, r.Status, r.Reason
		}
	})
	g.publish(func(*Progress) {})
	signal(g.wake)
	return err
}

// fileName is an EID as part of a file name.
func fileName(e bundle.EID) string {
	name := []byte(e.String())
	for i, c := range name {
		if !slices.Contains([]byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"), c) {
			name[i] = '_'
		}
	}
	return string(name)
}

// signal wakes the one who waits on c, now or at its next wait.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// overtaken tells whether a receipt says less than one that came before it about
// the same update.
func overtaken(s *Satellite, r *payload.Receipt) bool {
	if r.Status == payload.StatusActive {
		return s.Status > payload.StatusActive || s.Status == payload.StatusActive && s.Step > r.Step
	}
	return r.Status < s.Status
}

// believed returns the network that most satellites are believed to fly, the
// first of several in the order of the configuration.
func believed(all []Satellite) models.Hash {
	count := map[models.Hash]int{}
	var best models.Hash
	for _, s := range all {
		count[s.Active]++
	}
	for _, s := range all {
		if count[s.Active] > count[best] {
			best = s.Active
		}
	}
	return best
}
