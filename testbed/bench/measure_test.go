package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBar(t *testing.T) {
	both := bar{value: limit{4000, atLeast}, ratio: limit{50, atLeast}}
	tests := []struct {
		name string
		bar  bar
		f    figure
		want bool
	}{
		{"none", bar{}, figure{value: -1}, true},
		{"value at the bar", bar{value: limit{100, atMost}}, figure{value: 100}, true},
		{"value above", bar{value: limit{100, atMost}}, figure{value: 100.1}, false},
		{"both reached", both, figure{value: 5000, reference: 100}, true},
		{"ratio missed", both, figure{value: 5000, reference: 101}, false},
		{"value missed", both, figure{value: 3999, reference: 1}, false},
		{"no reference", both, figure{value: 5000}, false},
		{"no reference, small is good", bar{ratio: limit{1.3, atMost}}, figure{value: 1}, false},
	}
	for _, tt := range tests {
		if got := tt.bar.judge(tt.f); got != tt.want {
			t.Errorf("%s: %+v reaches %q: %v, want %v", tt.name, tt.f, tt.bar, got, tt.want)
		}
	}
	if got, want := both.String(), "ratio >= 50, value >= 4000"; got != want {
		t.Errorf("bar is %q, want %q", got, want)
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 100}, 3.5}} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestMeasuresHaveNamesAndBars(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range slices.Concat(measures(suiteNode), measures(suiteLearning)) {
		if seen[m.name] || m.what == "" || m.take == nil {
			t.Errorf("measure %q is there twice, or has no words or nothing to do", m.name)
		}
		seen[m.name] = true
		for name := range m.bars {
			if !strings.HasPrefix(name, m.name) {
				t.Errorf("bar %q does not belong to measure %q", name, m.name)
			}
		}
	}
	if got := len(choose(measures(suiteNode), "codec.")); got != 3 {
		t.Errorf("%d measures begin with codec., want 3", got)
	}
}

// TestTakeAll takes measures of which one fails and one cannot be taken: the others are
// still taken and written.
func TestTakeAll(t *testing.T) {
	broken := errors.New("broken")
	take := func(f ...figure) func(context.Context, *bench) ([]figure, error) {
		return func(context.Context, *bench) ([]figure, error) { return f, nil }
	}
	chosen := []measure{
		{name: "a", bars: map[string]bar{"a": {ratio: limit{2, atLeast}}}, take: take(figure{name: "a", value: 3, unit: "s", reference: 2, note: "of three"})},
		{name: "b", take: func(context.Context, *bench) ([]figure, error) { return nil, broken }},
		{name: "c", take: take(figure{name: "c.one", value: 1, unit: "MB"}, figure{name: "c.two", value: 2, unit: "MB"})},
		{name: "d", take: func(context.Context, *bench) ([]figure, error) { return nil, fmt.Errorf("%w: no root", errSkipped) }},
	}
	var messages strings.Builder
	b := &bench{progress: newProgress(&messages, false)}
	results, err := b.takeAll(t.Context(), chosen)
	if !errors.Is(err, broken) || errors.Is(err, errSkipped) || !strings.Contains(messages.String(), "d: skipped: no root") {
		t.Errorf("error is %v, messages\n%s", err, messages.String())
	}
	if err := missed(results); !errors.Is(err, errMissed) || !strings.HasSuffix(err.Error(), ": a") {
		t.Errorf("missed: %v", err)
	}
	two, ratio := 2.0, 1.5
	want := []result{
		{Name: "a", Value: 3, Unit: "s", Reference: &two, Ratio: &ratio, Bar: "ratio >= 2", Note: "of three"},
		{Name: "c.one", Value: 1, Unit: "MB", Pass: true},
		{Name: "c.two", Value: 2, Unit: "MB", Pass: true},
	}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}

	// A part that is measured again takes the place of its older results.
	file := filepath.Join(t.TempDir(), "out", "bench.json")
	again := result{Name: "c.one", Value: 7, Unit: "MB", Pass: true}
	if err := errors.Join(writeResults(file, results), writeResults(file, []result{again})); err != nil {
		t.Fatal(err)
	}
	got, err := readResults(file)
	want[1] = again
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("results in the file (-want +got), error %v:\n%s", err, diff)
	}
}

// TestIdleIsTakenBeside has an idle measure wait for the one behind it.
func TestIdleIsTakenBeside(t *testing.T) {
	begun := make(chan struct{})
	chosen := []measure{
		{name: "a", idle: true, take: func(ctx context.Context, _ *bench) ([]figure, error) {
			select {
			case <-begun:
				return []figure{{name: "a"}}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}},
		{name: "b", take: func(context.Context, *bench) ([]figure, error) {
			close(begun)
			return []figure{{name: "b"}}, nil
		}},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := &bench{progress: newProgress(io.Discard, false)}
	results, err := b.takeAll(ctx, chosen)
	if err != nil || len(results) != 2 {
		t.Errorf("results %+v, error %v", results, err)
	}
}

func TestStatusLine(t *testing.T) {
	text := []byte("Name:\tperigeed\nVmPeak:\t  2000 kB\nVmHWM:\t   150 kB\nVmRSS:\t   100 kB\nThreads:\t7\n")
	for _, tt := range []struct {
		name string
		want int64
		ok   bool
	}{{"VmHWM", 150 << 10, true}, {"VmRSS", 100 << 10, true}, {"Threads", 0, false}, {"VmSwap", 0, false}} {
		got, err := statusLine(text, tt.name)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s is %d, %v", tt.name, got, err)
		}
	}
}
