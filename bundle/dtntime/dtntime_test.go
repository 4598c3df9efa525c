package dtntime

import (
	"encoding/json"
	"math"
	"strings"
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

func TestDurationText(t *testing.T) {
	for text, want := range map[string]Duration{
		"0s": 0, "0": 0, "1ms": 1, "500ms": 500, "5s": 5 * Second, "24h": Day, "1h30m": 90 * Minute, "1.9995s": 1999,
	} {
		var got Duration
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "is not a duration", "soon": "is not a duration", "5": "is not a duration", "24 h": "is not a duration",
		"-4s": "negative", "-1ns": "negative", "1ns": "shorter than a millisecond", "999us": "shorter than a millisecond",
		"9999999h": "is not a duration", strings.Repeat("h", 1<<20): "is not a duration",
	} {
		got := 7 * Second
		err := got.UnmarshalText([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "write it like") || len(err.Error()) > 200 {
			t.Errorf("%.40q: error %v, want one that says %q", text, err, want)
		}
		if got != 7*Second {
			t.Errorf("%.40q is refused but changes the duration to %v", text, got)
		}
	}
}

// TestDurationTextReturns holds that what is written is read again, up to the
// length that text can hold.
func TestDurationTextReturns(t *testing.T) {
	const longest = math.MaxInt64 / Duration(time.Millisecond)
	for in, want := range map[Duration]Duration{
		0: 0, 1: 1, 999: 999, 1001: 1001, 94*Minute + 36*Second: 94*Minute + 36*Second,
		longest: longest, longest + 1: longest, math.MaxUint64: longest,
	} {
		text, err := json.Marshal(map[string]Duration{"pause": in})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]Duration
		if err := json.Unmarshal(text, &got); err != nil || got["pause"] != want {
			t.Errorf("%d ms comes back from %s as %d ms, %v; want %d ms", uint64(in), text, uint64(got["pause"]), err, uint64(want))
		}
	}
}
