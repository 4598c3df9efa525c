package contact

import (
	"math"
	"testing"

	"perigee/bundle/dtntime"
)

func TestBitRate(t *testing.T) {
	for _, c := range []struct {
		rate  BitRate
		d     dtntime.Duration
		bytes int64
	}{
		{100 * KilobitPerSecond, dtntime.Second, 12500},
		{8, dtntime.Second, 1},
		{8, 999, 0},
		{0, dtntime.Day, 0},
		{math.MaxUint64, math.MaxUint64, math.MaxInt64},
		{math.MaxUint64, 8000, math.MaxInt64},
	} {
		if got := c.rate.Bytes(c.d); got != c.bytes {
			t.Errorf("%d bit/s in %v: %d bytes, want %d", c.rate, c.d, got, c.bytes)
		}
	}
	for _, c := range []struct {
		rate BitRate
		size int64
		d    dtntime.Duration
	}{
		{100 * KilobitPerSecond, 12500, dtntime.Second},
		{100 * KilobitPerSecond, 12501, 1001},
		{1, math.MaxInt64, math.MaxUint64},
		{8000, math.MaxInt64, math.MaxInt64},
		{0, 1, math.MaxUint64},
		{0, 0, 0},
		{5, -1, 0},
		{math.MaxUint64, 1, 1},
	} {
		if got := c.rate.Duration(c.size); got != c.d {
			t.Errorf("%d bytes at %d bit/s: %d ms, want %d", c.size, c.rate, uint64(got), uint64(c.d))
		}
	}
}

func TestContactVolume(t *testing.T) {
	c := Contact{Start: 10_000, End: 20_000, Rate: 8000} // 1 byte a millisecond
	for _, v := range []struct {
		now    dtntime.Time
		volume int64
	}{{0, 10_000}, {10_000, 10_000}, {15_000, 5000}, {19_999, 1}, {20_000, 0}, {30_000, 0}} {
		if got := c.VolumeAt(v.now); got != v.volume {
			t.Errorf("at %d: %d bytes, want %d", v.now, got, v.volume)
		}
		if v.volume > 0 && !c.Fits(v.volume, v.now) {
			t.Errorf("at %d: %d bytes do not fit", v.now, v.volume)
		}
		if c.Fits(v.volume+1, v.now) {
			t.Errorf("at %d: %d bytes fit", v.now, v.volume+1)
		}
	}
	for now, want := range map[dtntime.Time]bool{9_999: false, 10_000: true, 19_999: true, 20_000: false} {
		if got := c.ActiveAt(now); got != want {
			t.Errorf("active at %d: %v", now, got)
		}
	}
}
