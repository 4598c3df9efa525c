package sim

import (
	"errors"
	"math"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/contact/orbit"
	"perigee/bundle/contact/predict"
	"perigee/bundle/dtntime"
)

func TestWalkerIsEven(t *testing.T) {
	epoch := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	w := Walker{Satellites: 24, Planes: 3, Phasing: 1, Height: 550, Inclination: 97.6}
	list, err := w.Elements(epoch)
	if err != nil || len(list) != 24 {
		t.Fatal(len(list), err)
	}
	var places []orbit.Vector
	for _, e := range list {
		p, err := orbit.NewPropagator(e)
		if err != nil {
			t.Fatal(err)
		}
		if minutes := p.Period().Minutes(); minutes < 95 || minutes > 96.5 {
			t.Errorf("%s takes %.2f minutes", e.Name, minutes)
		}
		s, err := p.At(epoch)
		if err != nil {
			t.Fatal(err)
		}
		if h := s.Position.Norm() - earthRadius; math.Abs(h-550) > 20 {
			t.Errorf("%s is %.1f km up", e.Name, h)
		}
		places = append(places, s.Position)
	}
	chord := 2 * (earthRadius + 550) * math.Sin(math.Pi/8)
	for i := range 8 {
		if d := places[i].Sub(places[(i+1)%8]).Norm(); math.Abs(d-chord) > 30 {
			t.Errorf("neighbours in a plane are %.0f km apart, want %.0f", d, chord)
		}
	}
	if n := len(w.Neighbours()); n != 24+24 {
		t.Errorf("%d pairs of neighbours", n)
	}
}

func TestWalkerMistakes(t *testing.T) {
	for _, w := range []Walker{
		{},
		{Satellites: 10, Planes: 3, Height: 500},
		{Satellites: 9, Planes: 3, Height: 50},
		{Satellites: 9, Planes: 3, Height: 500, Phasing: 3},
		{Satellites: 9, Planes: 3, Height: 500, Inclination: 181},
	} {
		if _, err := w.Elements(time.Unix(0, 0)); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

// over is a window of a satellite over station 1, from and to a time in minutes.
func over(satellite uint64, from, to dtntime.Time) predict.Window {
	const minute = dtntime.Time(dtntime.Minute)
	c := contact.Contact{From: id(satellite), To: id(1), Start: from * minute, End: to * minute, Rate: 1000}
	return predict.Window{Satellite: c.From, Peer: c.To, Start: c.Start, End: c.End, Contacts: []contact.Contact{c}}
}

func TestAntennasFollowOneEach(t *testing.T) {
	windows := []predict.Window{over(10, 0, 10), over(11, 2, 8), over(12, 5, 15), over(13, 9, 11), over(14, 20, 25)}
	type span struct{ satellite, from, to uint64 }
	for _, c := range []struct {
		antennas int
		want     []span
	}{
		{0, []span{{10, 0, 10}, {11, 2, 8}, {12, 5, 15}, {13, 9, 11}, {14, 20, 25}}},
		{1, []span{{10, 0, 10}, {12, 10, 15}, {14, 20, 25}}},
		{2, []span{{10, 0, 10}, {12, 10, 15}, {14, 20, 25}, {11, 2, 8}, {13, 9, 11}}},
	} {
		var got []span
		for _, k := range ShareAntennas(windows, map[bundle.EID]int{id(1): c.antennas}, dtntime.Minute) {
			got = append(got, span{k.From.NodeNumber(), uint64(k.Start) / 60_000, uint64(k.End) / 60_000})
		}
		if len(got) != len(c.want) {
			t.Errorf("%d antennas: %v, want %v", c.antennas, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%d antennas: %v, want %v", c.antennas, got, c.want)
				break
			}
		}
	}
}
