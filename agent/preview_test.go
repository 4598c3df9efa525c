package agent

import (
	"bytes"
	"errors"
	"image/jpeg"
	"log/slog"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

// heardOf returns what came about samples besides the samples themselves.
func (w *world) heardOf() (previews map[models.Hash]*payload.Preview, samples, gone map[models.Hash]int) {
	w.t.Helper()
	previews, samples, gone = map[models.Hash]*payload.Preview{}, map[models.Hash]int{}, map[models.Hash]int{}
	for _, s := range w.mission.SentTo(groundNode().WithService(ServiceSamples)) {
		m, err := payload.Decode(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		switch m := m.(type) {
		case *payload.Preview:
			previews[m.Sample.ID] = m
			if s.Out.Value != uint64(m.Sample.Worth) || !s.Out.Custody {
				w.t.Errorf("preview worth %d has value %d, custody %v", m.Sample.Worth, s.Out.Value, s.Out.Custody)
			}
		case *payload.SampleBatch:
			for _, one := range m.Samples {
				samples[one.ID]++
			}
		case *payload.Gone:
			for _, id := range m.Samples {
				gone[id]++
			}
		}
	}
	return previews, samples, gone
}

func (w *world) request(ids ...models.Hash) {
	w.t.Helper()
	data, err := (&payload.Request{Time: 1, Samples: ids}).Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.correct(groundNode(), data)
}

// announced is done when so many previews came and every request was taken.
func (w *world) announced(n int) func() bool {
	return func() bool {
		p, _, _ := w.heardOf()
		return len(p) == n && w.mission.Queued(satellite().WithService(ServiceVerdicts)) == 0
	}
}

func TestFeaturesFirst(t *testing.T) {
	w := newWorld(t, 4)
	w.cfg.Preview.FeaturesFirst, w.cfg.Preview.Thumbnail = true, 8
	w.runAll(w.announced(4))
	previews, samples, _ := w.heardOf()
	if len(samples) != 0 {
		t.Errorf("%d pictures came unasked", len(samples))
	}
	for _, id := range w.ids {
		p := previews[id]
		if p == nil || len(p.Sketch) != mining.SketchSize || p.Bytes == 0 || p.Sample.Worth == 0 || p.Sample.Name == "" {
			t.Fatalf("preview %+v", p)
		}
		small, err := jpeg.DecodeConfig(bytes.NewReader(p.Thumbnail))
		if err != nil || small.Width != 8 || small.Height != 8 {
			t.Errorf("thumbnail %+v, %v", small, err)
		}
	}
	// A later run is asked, twice, and for one that was never there.
	never := models.HashBytes([]byte("never seen"))
	w.request(w.ids[1], never)
	w.request(w.ids[1], w.ids[2])
	w.runAll(func() bool {
		_, s, g := w.heardOf()
		return len(s) == 2 && len(g) == 1 && w.announced(4)()
	})
	if _, s, g := w.heardOf(); s[w.ids[1]] == 0 || s[w.ids[2]] != 1 || g[never] != 1 {
		t.Errorf("pictures %v, gone %v", s, g)
	}
	if c := w.mined().Counters; c.Hard != 4 || c.Closed != 4 {
		t.Errorf("counters %+v", c)
	}
}

// TestFeaturesFirstKilledAnywhere stops the agent before every durable step: every
// sample is announced, and every picture is there when it is asked for.
func TestFeaturesFirstKilledAnywhere(t *testing.T) {
	for cut := 0; ; cut++ {
		w := newWorld(t, 2)
		w.cfg.Preview.FeaturesFirst = true
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, w.announced(2))
		_, blown := fuse.Blown()
		came := func() bool { _, s, _ := w.heardOf(); return len(s) == 2 && w.announced(2)() }
		w.runAll(w.announced(2))
		w.request(w.ids...)
		w.runAll(came)
		if !blown {
			return
		}
	}
}

func TestPicturesWaitOnTheShelf(t *testing.T) {
	dir := agenttest.TempDir(t)
	cfg := &PreviewConfig{Bytes: 100, Wait: dtntime.Hour}
	open := func() *shelf {
		t.Helper()
		s, err := openShelf(dir, durable.Disk{}, cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	id := func(n byte) models.Hash { return models.HashBytes([]byte{n}) }
	s := open()
	const minute = dtntime.Time(dtntime.Minute)
	for n := range byte(5) {
		if err := s.put(id(n), bytes.Repeat([]byte{n}, 30), dtntime.Time(n)*minute); err != nil {
			t.Fatal(err)
		}
	}
	there := func(s *shelf, now dtntime.Time) (list []byte) {
		t.Helper()
		for n := range byte(5) {
			data, err := s.get(id(n), now)
			if err == nil && len(data) == 30 && data[0] == n {
				list = append(list, n)
			} else if !errors.Is(err, errNotWaiting) {
				t.Errorf("picture %d: %v, %v", n, data, err)
			}
		}
		return list
	}
	for _, s := range []*shelf{s, open()} {
		if got := there(s, 5*minute); !bytes.Equal(got, []byte{2, 3, 4}) || s.size != 90 {
			t.Errorf("there are %v, %d bytes", got, s.size)
		}
	}
	s = open()
	if got := there(s, 63*minute); !bytes.Equal(got, []byte{4}) || s.size != 30 {
		t.Errorf("an hour later there are %v, %d bytes", got, s.size)
	}
	if err := s.put(id(4), nil, 63*minute); err != nil || s.size != 30 {
		t.Errorf("put again: %v, %d bytes", err, s.size)
	}
}
