package uplink

import (
	"errors"
	"math"
	"testing"

	"perigee/bundle/dtntime"
)

const start = dtntime.Time(1_000_000)

// passes are windows of so many seconds every 100 s.
func passes(n int, seconds uint64, rate uint64) []Window {
	list := make([]Window, n)
	for i := range list {
		at := start.Add(dtntime.Duration(i*100) * dtntime.Second)
		list[i] = Window{at, at.Add(dtntime.Duration(seconds) * dtntime.Second), rate}
	}
	return list
}

func TestForesee(t *testing.T) {
	second := func(n float64) dtntime.Time { return start.Add(dtntime.Duration(n * float64(dtntime.Second))) }
	for name, test := range map[string]struct {
		link  Link
		now   dtntime.Time
		steps []int64
		part  int
		pass  []int
		at    []dtntime.Time
	}{
		// 8192 bit/s are 1024 bytes a second: a part of 512 and its overhead.
		"one second each": {Link{Windows: passes(2, 10, 8192)}, start, []int64{512, 1024}, 512, []int{1, 1}, []dtntime.Time{second(1), second(3)}},
		"before the pass": {Link{Windows: passes(1, 10, 8192)}, start - 5000, []int64{512}, 512, []int{1}, []dtntime.Time{second(1)}},
		"in the middle":   {Link{Windows: passes(2, 10, 8192)}, second(9.5), []int64{512}, 512, []int{2}, []dtntime.Time{second(101)}},
		"passes gone by":  {Link{Windows: passes(3, 10, 8192)}, second(50), []int64{512}, 512, []int{1}, []dtntime.Time{second(101)}},
		"half is lost":    {Link{Windows: passes(1, 10, 8192), Loss: 0.5}, start, []int64{512}, 512, []int{1}, []dtntime.Time{second(2)}},
		"a queue":         {Link{Windows: passes(3, 10, 8192), Queued: 15 << 10}, start, []int64{512}, 512, []int{2}, []dtntime.Time{second(106)}},
		"over two passes": {Link{Windows: passes(3, 2, 8192)}, start, []int64{3 * 512}, 512, []int{2}, []dtntime.Time{second(101)}},
		"too much":        {Link{Windows: passes(1, 2, 8192)}, start, []int64{1024, 512}, 512, []int{1, 0}, []dtntime.Time{second(2), 0}},
		"too large":       {Link{Windows: passes(9, 2, 8192)}, start, []int64{9000}, 9000, []int{0}, []dtntime.Time{0}},
		"no passes":       {Link{}, start, []int64{1}, 512, []int{0}, []dtntime.Time{0}},
		"no rate":         {Link{Windows: passes(1, 10, 0)}, start, []int64{1}, 512, []int{0}, []dtntime.Time{0}},
	} {
		got, err := Foresee(test.link, test.now, test.steps, test.part)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, a := range got {
			if a.Pass != test.pass[i] || a.At != test.at[i] || a.Pass > 0 && a.Active != a.At.Add(Activation) {
				t.Errorf("%s: step %d arrives in pass %d at %d, want %d at %d", name, i, a.Pass, a.At-start, test.pass[i], test.at[i]-start)
			}
		}
	}
	for _, bad := range []Link{{Loss: 1}, {Loss: math.NaN()}, {Queued: -1}, {Windows: make([]Window, maxWindows+1)}} {
		if _, err := Foresee(bad, start, nil, 512); !errors.Is(err, ErrLink) {
			t.Errorf("error %v, want ErrLink", err)
		}
	}
	if _, err := Foresee(Link{}, start, nil, 0); !errors.Is(err, ErrLink) {
		t.Errorf("error %v, want ErrLink", err)
	}
}

func TestPartBytes(t *testing.T) {
	for _, test := range []struct {
		link Link
		want int
	}{
		{Link{}, 16384},
		{Link{Windows: passes(2, 600, 100_000)}, 16384},
		{Link{Windows: passes(2, 10, 8192)}, 10*1024/4 - PartOverhead},
		{Link{Windows: passes(2, 1, 8)}, smallestPart},
	} {
		if got := PartBytes(test.link, start, 16384); got != test.want {
			t.Errorf("%+v: parts of %d bytes, want %d", test.link, got, test.want)
		}
	}
}

func TestChoose(t *testing.T) {
	link := Link{Windows: passes(100, 10, 8192)} // 10 KiB a pass
	coarse := Way{"coarse", 0.8, []int64{900}}
	steps := Way{"steps", 0.98, []int64{2000, 3000, 4000}}
	joint := Way{"joint", 0.97, []int64{6000}}
	dense := Way{"dense", 1, []int64{200_000}}
	for name, test := range map[string]struct {
		link Link
		ways []Way
		want string
	}{
		"smallest of one pass": {link, []Way{coarse, joint, dense}, "joint"},
		"none is good enough":  {link, []Way{coarse}, "coarse"},
		"only the large one":   {link, []Way{coarse, dense}, "dense"},
		// In passes of 8 KiB the joint one is whole one pass before the steps.
		"whole earlier":   {Link{Windows: passes(9, 9, 8192)}, []Way{steps, joint}, "joint"},
		"beyond the plan": {Link{Windows: passes(1, 1, 8192)}, []Way{dense, joint}, "joint"},
	} {
		plans, err := Choose(test.link, start, test.ways, 0.9, 1<<14)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, p := range plans {
			if p.Chosen != (p.Name == test.want) {
				t.Errorf("%s: %s is chosen: %v; %+v", name, p.Name, p.Chosen, p.Arrivals)
			}
		}
	}
	if _, err := Choose(link, start, []Way{{Name: "none"}}, 0, 512); !errors.Is(err, ErrLink) {
		t.Errorf("error %v, want ErrLink", err)
	}
}
