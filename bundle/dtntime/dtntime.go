// Package dtntime holds DTN time (RFC 9171 section 4.2.6) as a type of its own,
// so that a bare number never means a time.
//
// It refuses to know the wall clock: a Clock is passed in from above.
package dtntime

import (
	"fmt"
	"math"
	"time"
)

// Time is a DTN time: milliseconds since 2000-01-01T00:00:00 UTC, leap seconds
// not counted (RFC 9171 section 4.2.6). Zero means that the time is unknown.
type Time uint64

// Duration is a length of time in milliseconds, as bundle lifetimes and ages
// are (RFC 9171 sections 4.3.1 and 4.4.2). Every value up to 2^64-1 is legal, so
// arithmetic saturates.
//
// Files and JSON hold it as text such as "500ms"; a field that holds a number of
// milliseconds is of another type.
type Duration uint64

// Common durations.
const (
	Millisecond Duration = 1
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
	Day                  = 24 * Hour
)

// Forever is the largest Time: a deadline that never comes.
const Forever Time = math.MaxUint64

// unixEpochOffset is the DTN epoch in milliseconds of Unix time.
const unixEpochOffset = 946684800000

// A Clock tells the present time.
type Clock interface {
	Now() Time
}

// FromTime converts t. Times before the DTN epoch become 0, the unknown time.
func FromTime(t time.Time) Time {
	ms := t.UnixMilli() - unixEpochOffset
	if ms < 0 {
		return 0
	}
	return Time(ms)
}

// Time converts t to a time.Time in UTC. Times past the year 9999, which RFC 3339
// cannot print, are brought down to its last second.
func (t Time) Time() time.Time {
	const last = 253402300799000 - unixEpochOffset
	return time.UnixMilli(int64(min(t, last)) + unixEpochOffset).UTC()
}

// String prints t in RFC 3339 with milliseconds, or "unknown" for zero.
func (t Time) String() string {
	switch t {
	case 0:
		return "unknown"
	case Forever:
		return "never"
	}
	return t.Time().Format("2006-01-02T15:04:05.000Z")
}

// Add returns t+d, or Forever when the sum does not fit.
func (t Time) Add(d Duration) Time {
	if uint64(d) > math.MaxUint64-uint64(t) {
		return Forever
	}
	return t + Time(d)
}

// Sub returns t-u, or 0 when u is not before t.
func (t Time) Sub(u Time) Duration {
	if u >= t {
		return 0
	}
	return Duration(t - u)
}

// Add returns d+e, or the largest Duration when the sum does not fit.
func (d Duration) Add(e Duration) Duration {
	if uint64(e) > math.MaxUint64-uint64(d) {
		return math.MaxUint64
	}
	return d + e
}

// Of converts d. Negative durations become 0; parts of a millisecond are dropped.
func Of(d time.Duration) Duration {
	if d < 0 {
		return 0
	}
	return Duration(d / time.Millisecond)
}

// Std converts d to a time.Duration, saturating at about 292 years.
func (d Duration) Std() time.Duration {
	if d > math.MaxInt64/Duration(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(d) * time.Millisecond
}

// String prints d as time.Duration does.
func (d Duration) String() string { return d.Std().String() }

// MarshalText writes d as String prints it. It implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration does, but neither a negative
// duration nor one above zero that is less than a millisecond. Further parts of a
// millisecond are dropped. It implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	const hint = `write it like "500ms", "5s" or "24h"`
	v, err := time.ParseDuration(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("%.40q is not a duration; %s", text, hint)
	case v < 0:
		return fmt.Errorf("%.40q is not a duration, being negative; %s", text, hint)
	case v > 0 && v < time.Millisecond:
		return fmt.Errorf("%.40q is shorter than a millisecond; %s", text, hint)
	}
	*d = Of(v)
	return nil
}
