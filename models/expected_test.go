package models

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func randomOutputs(seed uint64) []Tensor {
	rng := rand.New(rand.NewPCG(seed, 5))
	var all []Tensor
	for _, s := range []Shape{{C: 255, H: 13, W: 13}, {C: 255, H: 26, W: 26}} {
		t := NewTensor(s)
		for i := range t.Data {
			t.Data[i] = float32(rng.NormFloat64()*4 - 2)
		}
		all = append(all, t)
	}
	return all
}

func TestExpectedNoticesChanges(t *testing.T) {
	want := Expected{Picture: PictureIDOf([]byte("picture")), Summary: Summarise(randomOutputs(1))}
	for name, test := range map[string]struct {
		change func(out []Tensor)
		fails  bool
	}{
		"nothing": {func([]Tensor) {}, false},
		"noise of another engine": {func(out []Tensor) {
			rng := rand.New(rand.NewPCG(9, 9))
			for _, o := range out {
				for i := range o.Data {
					o.Data[i] += float32(rng.NormFloat64() * 1e-3)
				}
			}
		}, false},
		"one filter off": {func(out []Tensor) {
			for i, c := 0, out[1].Channel(77); i < len(c); i++ {
				c[i]++
			}
		}, true},
		"one value far off":    {func(out []Tensor) { out[0].Data[4000] = 1000 }, true},
		"no number":            {func(out []Tensor) { out[1].Data[1] = float32(math.NaN()) }, true},
		"infinite":             {func(out []Tensor) { out[1].Data[1] = float32(math.Inf(-1)) }, true},
		"zeros":                {func(out []Tensor) { clear(out[0].Data) }, true},
		"two places exchanged": {func(out []Tensor) { slices.Reverse(out[0].Data) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			out := randomOutputs(1)
			test.change(out)
			if err := want.Check(out); errors.Is(err, ErrUnexpected) != test.fails || !test.fails && err != nil {
				t.Errorf("error %v, want one: %v", err, test.fails)
			}
		})
	}
	if err := want.Check(randomOutputs(1)[:1]); !errors.Is(err, ErrUnexpected) {
		t.Errorf("too few outputs: error %v", err)
	}
}

func TestExpectedRoundTrip(t *testing.T) {
	want := Expected{Picture: PictureIDOf([]byte("picture")), Summary: Summarise(randomOutputs(2))}
	data, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var got Expected
	if err := got.UnmarshalBinary(data); err != nil || got.Picture != want.Picture || !slices.Equal(got.Summary, want.Summary) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for n := range data {
		if whole := n > 8 && (n-8)%(4*SummaryLen) == 0; (got.UnmarshalBinary(data[:n]) == nil) != whole {
			t.Errorf("cut at %d of %d: error %v", n, len(data), got.UnmarshalBinary(data[:n]))
		}
	}
	text, err := want.Picture.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var id PictureID
	if err := id.UnmarshalText(text); err != nil || id != want.Picture {
		t.Errorf("name %v, %v", id, err)
	}
	for _, bad := range []string{"", "00", "zz00000000000000"} {
		if err := id.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("name %q was read", bad)
		}
	}
}
