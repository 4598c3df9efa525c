package delta

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"perigee/models"
)

// smallNetwork returns a network of a few thousand parameters with two head
// convolutions before its YOLO layer.
func smallNetwork(t testing.TB, seed uint64) *models.Network {
	t.Helper()
	g := models.Graph{
		Input: models.Shape{C: 3, H: 16, W: 16},
		Head:  2,
		Layers: []models.Layer{
			{Kind: models.Convolution, Filters: 8, Size: 3, Stride: 1, Pad: 1, Activation: models.Leaky},
			{Kind: models.MaxPool, Size: 2, Stride: 2, Pad: 1},
			{Kind: models.Convolution, Filters: 16, Size: 3, Stride: 1, Pad: 1, Activation: models.Leaky},
			{Kind: models.Convolution, Filters: 14, Size: 1, Stride: 1},
			{Kind: models.YOLO, Classes: 2, Anchors: []models.Anchor{{W: 4, H: 4}, {W: 8, H: 8}}},
		},
	}
	convs, err := g.Convolutions()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, c := range convs {
		count += c.Out.C * (1 + c.Columns)
	}
	return mustNetwork(t, g, noise(count, 0.3, seed))
}

func mustNetwork(t testing.TB, g models.Graph, params []float32) *models.Network {
	t.Helper()
	n, err := models.NewNetwork(g, params)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func noise(count int, sigma float64, seed uint64) []float32 {
	source := rand.New(rand.NewPCG(seed, 1))
	values := make([]float32, count)
	for i := range values {
		values[i] = float32(sigma * source.NormFloat64())
	}
	return values
}

// perturbed returns base with noise of sigma on its head.
func perturbed(t testing.TB, base *models.Network, sigma float64, seed uint64) *models.Network {
	t.Helper()
	head := base.HeadParams()
	for i, v := range noise(len(head), sigma, seed) {
		head[i] += v
	}
	return withHead(t, base, head)
}

func withHead(t testing.TB, base *models.Network, head []float32) *models.Network {
	t.Helper()
	n, err := base.WithHead(head)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// distance returns the squared distance of two heads.
func distance(a, b *models.Network) float64 {
	x, y := a.HeadParams(), b.HeadParams()
	sum := 0.0
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		sum += d * d
	}
	return sum
}

func encodings() []Encoding {
	list := []Encoding{{Bits: Lossless}, {Bits: Half}, {Bits: Half, Rank: 2}, {Bits: 8, Rank: 1}, {Bits: 8, Rank: 4}, {Bits: 3, Rank: 64}}
	for bits := MinBits; bits <= MaxBits; bits++ {
		list = append(list, Int(bits))
	}
	return list
}

func build(t testing.TB, base, target *models.Network, e Encoding) (*Delta, *models.Network) {
	t.Helper()
	d, result, err := Build(base, target, e)
	if err != nil {
		t.Fatal(err)
	}
	return d, result
}

// encode returns d as an unsigned file.
func encode(t testing.TB, d *Delta) []byte {
	t.Helper()
	file, err := d.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// apply reads a file and applies it.
func apply(base *models.Network, file []byte) (*models.Network, error) {
	d, err := Decode(file)
	if err != nil {
		return nil, err
	}
	return d.Apply(base)
}

func TestApplyGivesWhatBuildAnnounced(t *testing.T) {
	base := smallNetwork(t, 1)
	target := perturbed(t, base, 0.01, 2)
	for _, e := range encodings() {
		t.Run(e.String(), func(t *testing.T) {
			d, want := build(t, base, target, e)
			if want.Hash() != d.Result || want.Hash() == base.Hash() {
				t.Fatalf("result %v, announced %v, base %v", want.Hash(), d.Result, base.Hash())
			}
			got, err := apply(base, encode(t, d))
			if err != nil {
				t.Fatal(err)
			}
			if got.Hash() != want.Hash() || got.BackboneHash() != base.BackboneHash() {
				t.Fatalf("applied to %v, want %v", got.Hash(), want.Hash())
			}
			if e.Bits == Lossless && got.Hash() != target.Hash() {
				t.Fatalf("lossless gives %v, want the target %v", got.Hash(), target.Hash())
			}
			again, _ := build(t, base, target, e)
			if !bytes.Equal(encode(t, again), encode(t, d)) {
				t.Fatal("built twice, two different files")
			}
			read, err := Decode(encode(t, d))
			if err != nil || fmt.Sprint(read.Info) != fmt.Sprint(d.Info) {
				t.Fatalf("decoded %+v, %v; want %+v", read.Info, err, d.Info)
			}
		})
	}
}

func TestMoreBitsComeNearer(t *testing.T) {
	base := smallNetwork(t, 1)
	target := perturbed(t, base, 0.01, 2)
	far := distance(base, target)
	for bits := MinBits; bits <= MaxBits; bits++ {
		_, result := build(t, base, target, Int(bits))
		d := distance(result, target)
		t.Logf("int%d leaves %.4f %% of the squared difference", bits, 100*d/distance(base, target))
		if d > far/2 {
			t.Fatalf("int%d leaves %g, want less than half of the %g that fewer bits leave", bits, d, far)
		}
		far = d
	}
}

func TestRankCarriesLowRankDifferences(t *testing.T) {
	base := smallNetwork(t, 1)
	head := base.HeadParams()
	at := 0
	for _, c := range base.HeadConvs() {
		at += len(c.Bias)
		for k := range 2 {
			left, right := noise(c.Out.C, 0.1, uint64(10+k)), noise(c.Columns, 0.1, uint64(20+k))
			for i := range left {
				for j := range right {
					head[at+i*c.Columns+j] += left[i] * right[j]
				}
			}
		}
		at += len(c.Weights)
	}
	target := withHead(t, base, head)
	before := distance(base, target)
	_, one := build(t, base, target, Encoding{Bits: 8, Rank: 1})
	ranked, two := build(t, base, target, Encoding{Bits: 8, Rank: 2})
	if d := distance(two, target); d > before/1000 {
		t.Errorf("rank 2 leaves %g of %g", d, before)
	}
	if d := distance(one, target); d < before/100 {
		t.Errorf("rank 1 leaves only %g of %g of a difference of rank 2", d, before)
	}
	if dense, _ := build(t, base, target, Int(8)); ranked.Size() > dense.Size()*2/3 {
		t.Errorf("rank 2 takes %d bytes, dense %d", ranked.Size(), dense.Size())
	}
}

func TestUnchangedLayersTakeNoRoom(t *testing.T) {
	base := smallNetwork(t, 1)
	head := base.HeadParams()
	last := base.HeadConvs()[1]
	from := len(head) - len(last.Weights) - len(last.Bias)
	for i := range head[from:] {
		head[from+i] += 0.25
	}
	d, result := build(t, base, withHead(t, base, head), Int(8))
	if len(d.Layers) != 1 || d.Layers[0] != 3 {
		t.Fatalf("delta changes layers %v, want only 3", d.Layers)
	}
	first, want := result.HeadConvs()[0], base.HeadConvs()[0]
	if fmt.Sprint(first.Weights) != fmt.Sprint(want.Weights) {
		t.Fatal("layer 2 changed")
	}
	none, same := build(t, base, base, Int(4))
	if len(none.Layers) != 0 || same.Hash() != base.Hash() {
		t.Fatalf("delta to itself changes layers %v", none.Layers)
	}
	if got, err := apply(base, encode(t, none)); err != nil || got.Hash() != base.Hash() {
		t.Fatalf("apply empty delta: %v", err)
	}
}

func TestApplyRefusesAnotherBase(t *testing.T) {
	base := smallNetwork(t, 1)
	d, result := build(t, base, perturbed(t, base, 0.01, 2), Int(8))
	for _, other := range []*models.Network{result, smallNetwork(t, 9), perturbed(t, base, 0.01, 3)} {
		if _, err := d.Apply(other); !errors.Is(err, ErrWrongBase) {
			t.Errorf("error %v, want ErrWrongBase", err)
		}
	}
	if _, _, err := Build(base, smallNetwork(t, 9), Int(8)); !errors.Is(err, ErrBackbone) {
		t.Errorf("error %v, want ErrBackbone", err)
	}
	if _, _, err := Build(base, base, Int(9)); !errors.Is(err, ErrEncoding) {
		t.Errorf("error %v, want ErrEncoding", err)
	}
}

func TestApplyChecksTheResult(t *testing.T) {
	base := smallNetwork(t, 1)
	d, _ := build(t, base, perturbed(t, base, 0.01, 2), Int(8))
	d.Result = models.HashBytes(nil)
	if _, err := apply(base, encode(t, d)); !errors.Is(err, ErrResultMismatch) {
		t.Fatalf("error %v, want ErrResultMismatch", err)
	}
}

// TestApplyRefusesDamage cuts a delta everywhere and flips every byte of it.
func TestApplyRefusesDamage(t *testing.T) {
	base := smallNetwork(t, 1)
	d, want := build(t, base, perturbed(t, base, 0.01, 2), Encoding{Bits: 2, Rank: 1})
	file := encode(t, d)
	for n := range file {
		if _, err := apply(base, file[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d of %d: error %v, want ErrCorrupt", n, len(file), err)
		}
		bad := bytes.Clone(file)
		bad[n] ^= 0x40
		got, err := apply(base, bad)
		if err == nil && got.Hash() != want.Hash() {
			t.Fatalf("byte %d damaged: another network without an error", n)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrWrongBase) && !errors.Is(err, ErrResultMismatch) {
			t.Fatalf("byte %d damaged: error %v is none of the sentinels", n, err)
		}
	}
	for _, extra := range [][]byte{{0}, bytes.Repeat([]byte{0}, 100), file} {
		if _, err := apply(base, append(bytes.Clone(file), extra...)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes after the end: error %v, want ErrCorrupt", len(extra), err)
		}
	}
}

// TestApplyBoundsDecompression gives a body that decompresses to far more than
// its layers need.
func TestApplyBoundsDecompression(t *testing.T) {
	base := smallNetwork(t, 1)
	d, _ := build(t, base, perturbed(t, base, 0.01, 2), Int(8))
	bomb := *d
	var err error
	if bomb.packed, err = compress(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	large, layers := *d, *d
	large.BodySize = 1 << 40
	layers.Layers = []int{2, 2}
	for _, bad := range []*Delta{&bomb, &large, &layers} {
		if _, err := apply(base, encode(t, bad)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("error %v, want ErrCorrupt", err)
		}
	}
}

func TestStepsComeNearer(t *testing.T) {
	base := smallNetwork(t, 1)
	target := perturbed(t, base, 0.01, 2)
	encodings, err := ParseSteps([]string{"int3-rank2", "int4-rank4", "int4", "int8"})
	if err != nil {
		t.Fatal(err)
	}
	steps, err := BuildSteps(base, target, encodings)
	if err != nil {
		t.Fatal(err)
	}
	far, on := distance(base, target), base
	for i, s := range steps {
		if on, err = apply(on, encode(t, s.Delta)); err != nil {
			t.Fatal(err)
		}
		left := distance(on, target)
		if on.Hash() != s.Network.Hash() || left >= far {
			t.Fatalf("step %d, %v, leaves %g of %g", i, s.Encoding, left, far)
		}
		far = left
	}
	if far > 1e-6*distance(base, target) {
		t.Errorf("the last step leaves %g", far)
	}
	// No step goes without those before it.
	if _, err := apply(base, encode(t, steps[1].Delta)); !errors.Is(err, ErrWrongBase) {
		t.Errorf("second step on the base: %v", err)
	}
}

// TestAdvisedSteps sends changes of known ranks and expects little to be left.
func TestAdvisedSteps(t *testing.T) {
	base := smallNetwork(t, 1)
	for rank := range 4 {
		target := perturbed(t, base, 0.01, 2)
		if rank > 0 {
			_, target = build(t, base, target, Encoding{Bits: Half, Rank: rank})
		}
		steps, err := BuildSteps(base, target, AdvisedSteps(rank))
		if err != nil {
			t.Fatal(err)
		}
		carried := 0.0
		for i, s := range steps {
			now := Carried(base, target, s.Network)
			t.Logf("rank %d, step %d, %v: %.1f %% with %d bytes", rank, i, s.Encoding, 100*now, s.Size())
			if now <= carried {
				t.Errorf("rank %d, step %d carries %g, the one before %g", rank, i, now, carried)
			}
			carried = now
		}
		if carried < 0.95 {
			t.Errorf("rank %d: all steps carry %g", rank, carried)
		}
	}
	if Carried(base, base, base) != 1 {
		t.Error("no difference at all is not carried")
	}
}

func TestEncodingNames(t *testing.T) {
	for _, e := range encodings() {
		if got, err := ParseEncoding(e.String()); err != nil || got != e {
			t.Errorf("%v parsed as %v, %v", e, got, err)
		}
	}
	for _, bad := range []string{"", "int", "int1", "int9", "int32", "8", "int08", "int8-rank0", "int8-rank65", "int8-rank", "lossless-rank2", "int+4", "int16", "float16-rank", "int4-gain", "lossless-rank", "float32", "half"} {
		if got, err := ParseEncoding(bad); !errors.Is(err, ErrEncoding) {
			t.Errorf("%q parsed as %v, %v; want ErrEncoding", bad, got, err)
		}
	}
}

func TestRowsRoundTripAtEveryWidth(t *testing.T) {
	for bits := MinBits; bits <= MaxBits; bits++ {
		e := Int(bits)
		for n := range 9 {
			row := noise(n, 1e-4, uint64(n))
			data := e.appendRow(nil, row)
			if len(data) != e.rowSize(n) {
				t.Fatalf("int%d: row of %d takes %d bytes, want %d", bits, n, len(data), e.rowSize(n))
			}
			got := make([]float32, n)
			rest, ok := e.readRow(got, data)
			if !ok || len(rest) != 0 {
				t.Fatalf("int%d: row of %d: ok %v, %d bytes left", bits, n, ok, len(rest))
			}
			for i := range row {
				if bits == 8 && (got[i]-row[i] > 2e-6 || row[i]-got[i] > 2e-6) {
					t.Fatalf("int8: %g became %g", row[i], got[i])
				}
			}
		}
	}
}

func FuzzApply(f *testing.F) {
	base := smallNetwork(f, 1)
	target := perturbed(f, base, 0.01, 2)
	key := testKey(1)
	for i, e := range encodings() {
		d, _ := build(f, base, target, e)
		d.Use = Use{Version: uint64(i), Draft: i%2 == 0, Threshold: float32(i) / 100}
		file, err := d.Encode([]ed25519.PrivateKey{nil, key}[i%2])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Decode(data)
		if err != nil {
			return
		}
		if d.signature == nil {
			if again := encode(t, d); !bytes.Equal(again, data) {
				t.Fatalf("decoded and encoded: %d bytes became %d", len(data), len(again))
			}
		}
		if n, err := d.Apply(base); err == nil && n.Hash() != d.Result {
			t.Fatalf("applied to %v, announced %v", n.Hash(), d.Result)
		}
	})
}
