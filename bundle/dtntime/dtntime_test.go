package dtntime

import (
	"math"
	"testing"
	"time"
)

func TestEpoch(t *testing.T) {
	epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := FromTime(epoch.Add(1500 * time.Millisecond)); got != 1500 {
		t.Errorf("1.5 s behind the epoch is %d", uint64(got))
	}
	if got := FromTime(epoch.Add(-time.Hour)); got != 0 {
		t.Errorf("before the epoch is %d, want unknown", uint64(got))
	}
	now := time.Date(2026, 8, 1, 0, 0, 0, 123e6, time.UTC)
	if got := FromTime(now).Time(); !got.Equal(now) {
		t.Errorf("%v comes back as %v", now, got)
	}
}

func TestTimeStrings(t *testing.T) {
	for in, want := range map[Time]string{
		0:                "unknown",
		Forever:          "never",
		838857600123:     "2026-08-01T00:00:00.123Z",
		math.MaxInt64:    "9999-12-31T23:59:59.000Z",
		Forever - 1:      "9999-12-31T23:59:59.000Z",
		252455615999_000: "9999-12-31T23:59:59.000Z",
	} {
		if got := in.String(); got != want {
			t.Errorf("%d prints as %s, want %s", uint64(in), got, want)
		}
	}
}

func TestSaturation(t *testing.T) {
	if got := Time(5).Add(math.MaxUint64); got != Forever {
		t.Errorf("sum wraps to %d", uint64(got))
	}
	if got := Time(5).Add(10); got != 15 {
		t.Errorf("5+10 is %d", uint64(got))
	}
	if got := Time(5).Sub(10); got != 0 {
		t.Errorf("5-10 is %d", uint64(got))
	}
	if got := Time(10).Sub(4); got != 6 {
		t.Errorf("10-4 is %d", uint64(got))
	}
	if got := Duration(5).Add(math.MaxUint64 - 4); got != math.MaxUint64 {
		t.Errorf("sum wraps to %d", uint64(got))
	}
	if got := Duration(math.MaxUint64).Std(); got != math.MaxInt64 {
		t.Errorf("2^64-1 ms is %v", got)
	}
	if got := (90 * Second).Std(); got != 90*time.Second {
		t.Errorf("90 s is %v", got)
	}
	if got := Of(-time.Second); got != 0 {
		t.Errorf("-1 s is %d", uint64(got))
	}
	if got := Of(1999 * time.Microsecond); got != 1 {
		t.Errorf("1.999 ms is %d ms", uint64(got))
	}
	if Day.String() != "24h0m0s" {
		t.Errorf("a day prints as %s", Day)
	}
}
