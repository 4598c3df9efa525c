package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"perigee/models"
	"perigee/models/delta"
)

func deltaMeasures() []measure {
	return []measure{
		{
			name: "delta.bytes", what: "the smallest signed delta whose F1 is within 0.01 of the float32 retrained head, of any training and of the dense head; the size and F1 of every way",
			bars: map[string]bar{
				"delta.bytes":       {value: limit{20_000, atMost}},
				"delta.bytes_dense": {value: limit{300_000, atMost}},
			},
			take: deltaBytes,
		},
		{
			name: "delta.anytime", what: "share of the whole gain of F1 after the first quarter of the bytes; the least gain of any step over the old network",
			bars: map[string]bar{
				"delta.anytime":       {value: limit{70, atLeast}},
				"delta.anytime_least": {value: limit{0, atLeast}},
			},
			take: deltaAnytime,
		},
		{
			name: "delta.refused", what: "share of damaged, foreign and forged deltas, and of results that fail their golden test, that are refused with a reason",
			bars: map[string]bar{"delta.refused": {value: limit{100, atLeast}}},
			take: deltaRefused,
		},
		{
			name: "delta.peers", what: "what bsdiff, xdelta3 and zstd --patch-from make of the same pair of networks; reference: the lossless delta",
			take: deltaPeers,
		},
	}
}

// ways are the ways from the launched network to what a training made: encodings
// one behind the other.
func ways() map[string][][]string {
	return map[string][][]string{
		wholeHead: {{"lossless"}, {"float16"}, {"int8"}, {"int6"}, {"int4"}, {"int3"}, {"int2"}, anytimeWay(0)},
		lastOnly:  {{"int8"}, {"int4"}},
		rankTwo:   {{"int8-rank2"}, {"int4-rank2"}, {"int3-rank2"}, anytimeWay(2)},
		rankFour:  {{"int4-rank4"}, {"int3-rank4"}},
	}
}

// anytimeWay is what a ground sends by default after a training of this rank.
func anytimeWay(rank int) []string {
	var names []string
	for _, e := range delta.AdvisedSteps(rank) {
		names = append(names, e.String())
	}
	return names
}

// stage is a step of a way: the bytes up to and with it, and what they give.
type stage struct {
	bytes int
	net   *models.Network
}

// missionKey signs what is measured; a signature takes room, too.
func missionKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// pack makes the signed files of a way, and applies them.
func pack(from, to *models.Network, way []string) ([]stage, error) {
	encodings, err := delta.ParseSteps(way)
	if err != nil {
		return nil, err
	}
	steps, err := delta.BuildSteps(from, to, encodings)
	if err != nil {
		return nil, err
	}
	var stages []stage
	sum := 0
	for _, s := range steps {
		file, err := s.Encode(missionKey(1))
		if err != nil {
			return nil, err
		}
		d, err := delta.Decode(file)
		if err != nil {
			return nil, err
		}
		next, err := d.Apply(from)
		if err != nil {
			return nil, err
		}
		sum += len(file)
		stages = append(stages, stage{sum, next})
		from = next
	}
	return stages, nil
}

// wayName names a way in results.
func wayName(training string, way []string) string {
	if len(way) > 1 {
		return training + ".steps"
	}
	return training + "." + way[0]
}

// near is how close in F1 to the float32 retrained head a delta must come.
const near = 0.01

// deltaBytes measures every way for every seed.
func deltaBytes(ctx context.Context, b *bench) ([]figure, error) {
	collected := make(map[string][]float64)
	note := func(name string, value float64) { collected[name] = append(collected[name], value) }
	err := b.eachPupil(ctx, learningSeeds, func(s *school, p *pupil) error {
		old, err := s.f1(ctx, p.launched)
		if err != nil {
			return err
		}
		whole, err := s.f1(ctx, p.retrained[wholeHead])
		if err != nil {
			return err
		}
		note("delta.f1.launched", old)
		note("delta.f1."+wholeHead, whole)
		best, dense := math.Inf(1), math.Inf(1)
		for _, training := range []string{wholeHead, lastOnly, rankTwo, rankFour} {
			for _, way := range ways()[training] {
				name := wayName(training, way)
				stages, err := pack(p.launched, p.retrained[training], way)
				if err != nil {
					return err
				}
				last := stages[len(stages)-1]
				f1, err := s.f1(ctx, last.net)
				if err != nil {
					return err
				}
				size := float64(last.bytes)
				b.progress.say(fmt.Sprintf("seed %d, %s: %d bytes, F1 %.3f of %.3f", p.seed, name, last.bytes, f1, whole))
				note("delta.bytes."+name, size)
				note("delta.f1."+name, f1)
				if f1 < whole-near {
					continue
				}
				best = min(best, size)
				if training == wholeHead {
					dense = min(dense, size)
				}
			}
		}
		note("delta.bytes", best)
		note("delta.bytes_dense", dense)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return summarise(collected), nil
}

// summarise makes a figure of the median of every name, and of the spread between
// the seeds for those that are judged.
func summarise(collected map[string][]float64) []figure {
	var figures []figure
	for name, values := range collected {
		unit := "bytes"
		if len(name) > 8 && name[:9] == "delta.f1." {
			unit = "F1"
		}
		figures = append(figures, figure{name: name, value: median(values), unit: unit})
		if name == "delta.bytes" || name == "delta.bytes_dense" {
			figures = append(figures, figure{name: name + "_spread", value: slices.Max(values) - slices.Min(values), unit: unit})
		}
	}
	slices.SortFunc(figures, func(a, b figure) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return figures
}

// deltaAnytime looks at what each step of the default way gives.
func deltaAnytime(ctx context.Context, b *bench) ([]figure, error) {
	var shares, least, totals []float64
	err := b.eachPupil(ctx, learningSeeds, func(s *school, p *pupil) error {
		stages, err := pack(p.launched, p.retrained[rankTwo], anytimeWay(2))
		if err != nil {
			return err
		}
		old, err := s.f1(ctx, p.launched)
		if err != nil {
			return err
		}
		total := stages[len(stages)-1].bytes
		gains := make([]float64, len(stages))
		early := 0.0 // gain after the first quarter of the bytes
		for i, st := range stages {
			f1, err := s.f1(ctx, st.net)
			if err != nil {
				return err
			}
			gains[i] = f1 - old
			if 4*st.bytes <= total {
				early = gains[i]
			}
			b.progress.say(fmt.Sprintf("seed %d, step %d: %d of %d bytes, F1 %.3f", p.seed, i, st.bytes, total, f1))
		}
		shares = append(shares, 100*early/gains[len(gains)-1])
		least = append(least, slices.Min(gains))
		totals = append(totals, float64(total))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: "delta.anytime", value: median(shares), unit: "%"},
		{name: "delta.anytime_spread", value: slices.Max(shares) - slices.Min(shares), unit: "%"},
		{name: "delta.anytime_least", value: slices.Min(least), unit: "F1"},
		{name: "delta.anytime_bytes", value: median(totals), unit: "bytes"},
	}, nil
}

// deltaRefused damages a signed delta of yolov3-tiny in many ways, and does to it
// what a satellite does: read, verify, apply.
func deltaRefused(ctx context.Context, b *bench) ([]figure, error) {
	base, _, err := b.tiny(ctx)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	nudged := func(n *models.Network) (*models.Network, error) {
		head := n.HeadParams()
		for i := range head {
			head[i] += float32(rng.NormFloat64() * 1e-3)
		}
		return n.WithHead(head)
	}
	target, err := nudged(base)
	if err != nil {
		return nil, err
	}
	d, _, err := delta.Build(base, target, delta.Encoding{Bits: 4, Rank: 2})
	if err != nil {
		return nil, err
	}
	file, err := d.Encode(missionKey(1))
	if err != nil {
		return nil, err
	}
	trusted := []ed25519.PublicKey{missionKey(1).Public().(ed25519.PublicKey)}
	take := func(n *models.Network, file []byte) error {
		d, err := delta.Decode(file)
		if err == nil {
			err = d.Verify(trusted)
		}
		if err == nil {
			_, err = d.Apply(n)
		}
		return err
	}
	if err := take(base, file); err != nil {
		return nil, fmt.Errorf("the delta is refused before it is damaged: %w", err)
	}
	tries, refused := 0, 0
	count := func(err error) {
		if tries++; err != nil {
			refused++
		}
	}
	for range 1000 {
		flipped := bytes.Clone(file)
		flipped[rng.IntN(len(file))] ^= 1 << rng.IntN(8)
		count(take(base, flipped))
		count(take(base, file[:rng.IntN(len(file))]))
	}
	count(take(target, file)) // for another network
	for _, key := range []ed25519.PrivateKey{nil, missionKey(2)} {
		forged, err := d.Encode(key)
		if err != nil {
			return nil, err
		}
		count(take(base, forged))
	}
	d.Result = models.HashBytes(nil) // gives another network than it announces
	if file, err = d.Encode(missionKey(1)); err != nil {
		return nil, err
	}
	count(take(base, file))
	if err := goldenRefused(ctx, base, rng, count); err != nil {
		return nil, err
	}
	return []figure{
		{name: "delta.refused", value: 100 * float64(refused) / float64(tries), unit: "%"},
		{name: "delta.refused_tries", value: float64(tries), unit: "deltas"},
	}, nil
}

// peer is a program that makes differences of files.
type peer struct {
	name    string
	pack    string // Debian package
	command func(from, to, out string) []string
}

func peers() []peer {
	return []peer{
		{"bsdiff", "bsdiff", func(from, to, out string) []string { return []string{"bsdiff", from, to, out} }},
		{"xdelta3", "xdelta3", func(from, to, out string) []string {
			return []string{"xdelta3", "-e", "-9", "-S", "djw", "-B", "67108864", "-f", "-s", from, to, out}
		}},
		{"zstd", "zstd", func(from, to, out string) []string {
			return []string{"zstd", "-q", "-f", "-19", "--long=27", "--patch-from=" + from, to, "-o", out}
		}},
	}
}

// deltaPeers gives others the launched network and the one whose whole head was
// retrained, as model files.
func deltaPeers(ctx context.Context, b *bench) ([]figure, error) {
	var figures []figure
	err := b.eachPupil(ctx, 1, func(_ *school, p *pupil) error {
		stages, err := pack(p.launched, p.retrained[wholeHead], []string{"lossless"})
		if err != nil {
			return err
		}
		ours := float64(stages[0].bytes)
		dir, err := b.folder("delta.peers")
		if err != nil {
			return err
		}
		from, to := filepath.Join(dir, "launched"+models.FileExt), filepath.Join(dir, "retrained"+models.FileExt)
		if err := errors.Join(models.WriteFile(from, p.launched), models.WriteFile(to, p.retrained[wholeHead])); err != nil {
			return err
		}
		for _, q := range peers() {
			out := filepath.Join(dir, q.name)
			args := q.command(from, to, out)
			if _, err := exec.LookPath(args[0]); err != nil {
				b.progress.say(fmt.Sprintf("delta.peers_%s is left out: %s is not installed; apt-get install %s", q.name, args[0], q.pack))
				continue
			}
			b.progress.note("running " + args[0])
			if said, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("running %s: %w: %s", args[0], err, said)
			}
			info, err := os.Stat(out)
			if err != nil {
				return fmt.Errorf("looking at what %s made: %w", args[0], err)
			}
			figures = append(figures, figure{name: "delta.peers_" + q.name, value: float64(info.Size()), unit: "bytes", reference: ours})
		}
		return nil
	})
	return figures, err
}
