package labels

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"perigee/models"
)

// scenes are labels as a ground would send them.
func scenes(n int) []Labelled {
	rng := rand.New(rand.NewPCG(5, 6))
	all := make([]Labelled, n)
	for i := range all {
		all[i].Key = KeyOf(models.HashBytes([]byte{byte(i), byte(i >> 8)}))
		for range rng.IntN(9) {
			side := func() float32 { return (18 + 26*rng.Float32()) / 416 }
			all[i].Truth = append(all[i].Truth, models.Truth{
				Class: 4 + 4*rng.IntN(2), Box: models.Box{X: rng.Float32(), Y: rng.Float32(), W: side(), H: side()},
			})
		}
	}
	return all
}

func TestPackIsSmallAndComesBack(t *testing.T) {
	want := scenes(120)
	data, err := Pack(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(data)
	if err != nil {
		t.Fatal(err)
	}
	objects := 0
	near := func(a, b float32) bool { return math.Abs(float64(a-b)) <= 0.5001/grid }
	for i := range want {
		objects += len(want[i].Truth)
		if got[i].Key != want[i].Key || len(got[i].Truth) != len(want[i].Truth) {
			t.Fatalf("picture %d: %+v, want %+v", i, got[i], want[i])
		}
		for j, w := range want[i].Truth {
			g := got[i].Truth[j]
			if g.Class != w.Class || !near(g.Box.X, w.Box.X) || !near(g.Box.Y, w.Box.Y) || !near(g.Box.W, w.Box.W) || !near(g.Box.H, w.Box.H) {
				t.Fatalf("object %d of picture %d: %+v, want %+v", j, i, g, w)
			}
		}
	}
	if limit := 7*len(want) + 5*objects + 200; len(data) > limit {
		t.Errorf("%d bytes for %d objects in %d pictures, want at most %d", len(data), objects, len(want), limit)
	}
	t.Logf("%d bytes for %d objects in %d pictures", len(data), objects, len(want))
	again, err := Pack(got)
	if err != nil || string(again) != string(data) {
		t.Errorf("what was unpacked packs differently: %v", err)
	}
}

func TestPackRefuses(t *testing.T) {
	at := func(class int, x, w float32) []Labelled {
		return []Labelled{{Truth: []models.Truth{{Class: class, Box: models.Box{X: x, Y: 0.5, W: w, H: 0.1}}}}}
	}
	many := make([]models.Truth, maxPacked+1)
	for name, labelled := range map[string][]Labelled{
		"class": at(models.MaxClasses, 0.5, 0.1), "centre": at(0, 1.5, 0.1), "side": at(0, 0.5, 3),
		"no number": at(0, float32(math.NaN()), 0.1), "pictures": make([]Labelled, MaxPictures+1), "objects": {{Truth: many}},
	} {
		if _, err := Pack(labelled); !errors.Is(err, ErrPacked) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnpackRefusesEveryTruncation(t *testing.T) {
	for _, n := range []int{0, 3} {
		data, err := Pack(scenes(n))
		if err != nil {
			t.Fatal(err)
		}
		for cut := range data {
			if _, err := Unpack(data[:cut]); !errors.Is(err, ErrPacked) {
				t.Errorf("%d of %d bytes of %d pictures: %v", cut, len(data), n, err)
			}
		}
		if _, err := Unpack(append(data, 0)); !errors.Is(err, ErrPacked) {
			t.Errorf("a byte more: %v", err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		data, err := Pack(scenes(n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		labelled, err := Unpack(data)
		if err != nil {
			if !errors.Is(err, ErrPacked) {
				t.Fatal(err)
			}
			return
		}
		again, err := Pack(labelled)
		if err != nil {
			t.Fatal(err)
		}
		if more, err := Unpack(again); err != nil || len(more) != len(labelled) {
			t.Fatalf("packed again it holds %d pictures, not %d: %v", len(more), len(labelled), err)
		}
	})
}
