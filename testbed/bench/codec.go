package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"runtime"
	"time"

	"github.com/dtn7/dtn7-go/pkg/bpv7"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Rounds of a comparison: ours and the reference take turns, each for roundTime.
const (
	codecRounds = 21
	roundTime   = 50 * time.Millisecond
)

func codecMeasures() []measure {
	return []measure{
		{
			name: "codec.decode_1k", what: "decode and check a 1 kB bundle of five blocks with CRC-32C; reference: dtn7-go",
			bars: map[string]bar{
				"codec.decode_1k":        {ratio: limit{30, atLeast}},
				"codec.decode_1k_allocs": {value: limit{6, atMost}},
			},
			take: decode1k,
		},
		{
			name: "codec.encode_1k", what: "encode the same bundle; reference: dtn7-go",
			bars: map[string]bar{
				"codec.encode_1k":        {ratio: limit{30, atLeast}},
				"codec.encode_1k_allocs": {value: limit{1, atMost}},
			},
			take: encode1k,
		},
		{
			name: "codec.parse_10m", what: "parse a 10 MB bundle from memory; reference: the CRC-32C of its bytes",
			bars: map[string]bar{"codec.parse_10m": {ratio: limit{1.3, atMost}}},
			take: parse10m,
		},
	}
}

// fiveBlocks returns a bundle of five blocks, all with a CRC-32C, as dtn7-go
// understands it: it judges lifetimes by the wall clock.
func fiveBlocks(payload []byte) bundle.Bundle {
	b := bundle.Bundle{
		Primary: bundle.Primary{
			CRC: bundle.CRC32C, Destination: bundle.IPN(2, 11), Source: bundle.IPN(1, 11), ReportTo: bundle.IPN(1, 1),
			Created: bundle.Timestamp{Time: dtntime.FromTime(time.Now())}, Lifetime: dtntime.Day,
		},
		Extensions: []bundle.Block{
			bundle.PreviousNodeBlock(2, bundle.IPN(7, 1)),
			bundle.BundleAgeBlock(3, 1234),
			bundle.HopCountBlock(4, bundle.HopCount{Limit: 30, Count: 2}),
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(payload))},
	}
	for i := range b.Extensions {
		b.Extensions[i].CRC = bundle.CRC32C
	}
	return b
}

func decode1k(ctx context.Context, b *bench) ([]figure, error) {
	payload := bytes.Repeat([]byte("0123456789"), 100)
	sample := fiveBlocks(payload)
	raw := sample.Append(nil, payload)
	var got bundle.Bundle // taken again, as by whoever reads one bundle after the other
	ours := func() error {
		if _, err := got.Decode(raw, bundle.DefaultLimits()); err != nil {
			return err
		}
		return got.Check()
	}
	stock := func() error {
		got, err := bpv7.ParseBundle(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		return got.CheckValid()
	}
	return b.compareCodec(ctx, "codec.decode_1k", ours, stock)
}

func encode1k(ctx context.Context, b *bench) ([]figure, error) {
	payload := bytes.Repeat([]byte("0123456789"), 100)
	sample := fiveBlocks(payload)
	raw := sample.Append(nil, payload)
	parsed, err := bpv7.ParseBundle(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("making the bundle of dtn7-go: %w", err)
	}
	var decoded bundle.Bundle
	if _, err := decoded.Decode(raw, bundle.DefaultLimits()); err != nil {
		return nil, err
	}
	var buf []byte // taken again, as by whoever sends one bundle after the other
	ours := func() error {
		if buf = decoded.Append(buf[:0], payload); len(buf) != len(raw) {
			return fmt.Errorf("encoded %d bytes instead of %d", len(buf), len(raw))
		}
		return nil
	}
	stock := func() error {
		var buf bytes.Buffer
		if err := parsed.MarshalCbor(&buf); err != nil {
			return err
		}
		if !bytes.Equal(buf.Bytes(), raw) {
			return fmt.Errorf("dtn7-go encodes another bundle")
		}
		return nil
	}
	return b.compareCodec(ctx, "codec.encode_1k", ours, stock)
}

// compareCodec measures both in bundles a second, and what ours allocates.
func (b *bench) compareCodec(ctx context.Context, name string, ours, reference func() error) ([]figure, error) {
	value, ref, err := b.inTurns(ctx, ours, reference)
	if err != nil {
		return nil, err
	}
	allocs, err := allocations(ours)
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: name, value: 1 / value, unit: "bundles/s", reference: 1 / ref},
		{name: name + "_allocs", value: allocs, unit: "allocations"},
	}, nil
}

func parse10m(ctx context.Context, b *bench) ([]figure, error) {
	payload := bytes.Repeat([]byte("0123456789"), 1e6)
	sample := fiveBlocks(payload)
	raw := sample.Append(nil, payload)
	table := crc32.MakeTable(crc32.Castagnoli)
	want := crc32.Checksum(raw, table)
	value, ref, err := b.inTurns(ctx,
		func() error {
			_, _, err := bundle.Parse(raw, bundle.DefaultLimits())
			return err
		},
		func() error {
			if crc32.Checksum(raw, table) != want {
				return fmt.Errorf("the bytes have changed")
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	return []figure{{name: "codec.parse_10m", value: value * 1e3, unit: "ms", reference: ref * 1e3}}, nil
}

// inTurns runs ours and reference in turns, each for roundTime, and returns the
// medians of the seconds that one call takes.
func (b *bench) inTurns(ctx context.Context, ours, reference func() error) (value, ref float64, err error) {
	var values, refs []float64
	for i := range codecRounds + 1 {
		b.progress.note(fmt.Sprintf("round %d of %d", i, codecRounds))
		v, err := oneRound(ctx, ours)
		if err != nil {
			return 0, 0, err
		}
		r, err := oneRound(ctx, reference)
		if err != nil {
			return 0, 0, fmt.Errorf("the reference: %w", err)
		}
		if i > 0 { // the first warms up
			values, refs = append(values, v), append(refs, r)
		}
	}
	return median(values), median(refs), nil
}

// oneRound calls f for roundTime and returns the seconds that one call takes.
func oneRound(ctx context.Context, f func() error) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	runtime.GC() // nobody pays for the garbage of the one before
	calls, batch := 0, 1
	begin := time.Now()
	for {
		for range batch {
			if err := f(); err != nil {
				return 0, err
			}
		}
		calls += batch
		took := time.Since(begin)
		if took >= roundTime {
			return took.Seconds() / float64(calls), nil
		}
		if took < roundTime/16 {
			batch *= 2 // so that the clock does not count
		}
	}
}

// allocations counts what one call of f allocates, on average and rounded down, as
// package testing does.
func allocations(f func() error) (float64, error) {
	const calls = 1000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // nobody else allocates
	if err := f(); err != nil {
		return 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		if err := f(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / calls), nil
}
