package ground

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

// sketchAt is a sketch that lies in one of several directions.
func sketchAt(direction int) mining.Sketch {
	s := make(mining.Sketch, mining.SketchSize)
	s[direction] = 1
	return s
}

func TestPicturesAreChosen(t *testing.T) {
	dir := agenttest.TempDir(t)
	open := func() *previews {
		t.Helper()
		p, err := openPreviews(dir, durable.Disk{}, 6, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	id := func(n int) models.Hash { return models.HashBytes([]byte{byte(n)}) }
	p := open()
	add := func(n int, worth uint32, direction int, from bundle.EID) {
		t.Helper()
		s := Sample{ID: id(n), Satellite: from, Received: dtntime.Time(n + 1), Worth: worth}
		if _, err := p.add(preview{Sample: s, Sketch: sketchAt(direction)}, []byte("small")); err != nil {
			t.Fatal(err)
		}
	}
	add(0, 1000, 0, satellite()) // makes room
	add(1, 900, 1, satellite())
	add(2, 890, 1, satellite()) // like 1, so it can wait
	add(3, 500, 2, satellite())
	add(4, 400, 3, satellite())
	add(5, 999, 4, bundle.IPN(9, 0))
	add(6, 100, 5, satellite())
	c := &PreviewConfig{Ask: 2, Period: dtntime.Day, Lifetime: dtntime.Hour}
	choose := func(now dtntime.Time, to bundle.EID, want ...int) {
		t.Helper()
		var ids []models.Hash
		for _, n := range want {
			ids = append(ids, id(n))
		}
		node, got := p.choose(c, now)
		if !reflect.DeepEqual(got, ids) || len(ids) > 0 && node != to {
			t.Errorf("at %d: %v of %v, want %v of %v", now, got, node, ids, to)
		}
		for _, one := range got {
			if err := p.change(one, func(p *preview) { p.Asked = now }); err != nil {
				t.Fatal(err)
			}
		}
		p = open() // as after a restart
	}
	choose(10, bundle.IPN(9, 0), 5) // it is worth most, and alone there
	choose(20, satellite(), 1)
	choose(30, satellite()) // that was the day's
	if err := os.WriteFile(p.path(id(6), ".ask"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	choose(40, satellite(), 6) // but a person may want one
	if err := os.Remove(p.path(id(6), ".ask")); err != nil {
		t.Fatal(err)
	}
	next := dtntime.Time(dtntime.Day)
	if err := p.change(id(5), func(p *preview) { p.Came = true }); err != nil {
		t.Fatal(err)
	}
	if err := p.change(id(1), func(p *preview) { p.Gone = true }); err != nil {
		t.Fatal(err)
	}
	choose(next, satellite(), 3, 4)                  // unlike what was asked for
	choose(next.Add(dtntime.Day), satellite(), 3, 4) // they did not come
	if names, err := durable.Names(dir); err != nil || len(names) != 12 {
		t.Errorf("folder holds %v, %v", names, err)
	}
}

// TestRoundOnPicturesAskedFor lets a satellite announce its samples first.
func TestRoundOnPicturesAskedFor(t *testing.T) {
	p := newPair(t, 8)
	p.sat.Preview.FeaturesFirst = true
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p.run(ctx, func() *agenttest.Fuse { return agenttest.NewFuse(-1) }, p.rounds(1))
	p.check()
	for _, s := range p.mission.SentTo(satellite().WithService(serviceVerdicts)) {
		if m, err := payload.Decode(s.Payload); err != nil || m.Kind() != payload.KindRequest && m.Kind() != payload.KindVerdictBatch {
			t.Errorf("%v, %v went up", m, err)
		}
	}
}

func TestGoneIsNotAskedForAgain(t *testing.T) {
	w := newWorld(t, 2)
	w.cfg.Previews.Lifetime = dtntime.Millisecond // ask again at once
	b, err := payload.DecodeSampleBatch(w.batch(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	p := payload.Preview{Sample: b.Samples[0], Bytes: 500, Sketch: make([]float32, mining.SketchSize), Thumbnail: []byte("small")}
	p.Sample.Picture, p.Sample.Worth = nil, 10
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.downlink(serviceSamples, data)
	asked := func() int { return len(w.mission.SentTo(satellite().WithService(serviceVerdicts))) }
	w.runAll(func() bool { return asked() >= 2 })
	gone, err := (&payload.Gone{Time: 1, Samples: []models.Hash{p.Sample.ID}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.downlink(serviceSamples, gone)
	w.runAll(func() bool {
		var one preview
		found, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, "previews", p.Sample.ID.Digits()+".json"), maxRecord, &one)
		return found && err == nil && one.Gone
	})
	before := asked()
	w.runAll(func() bool { return w.state().Stage == "" || len(w.stages()) > 0 })
	if n := asked(); n != before {
		t.Errorf("asked %d times more", n-before)
	}
}
