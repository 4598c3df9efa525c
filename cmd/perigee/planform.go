package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// planForm names a form of contact plans. It is the value of a flag.
type planForm string

// Forms of contact plans.
const (
	formPerigee planForm = "perigee"
	formION     planForm = "ion"
	formHDTN    planForm = "hdtn"
)

func (f *planForm) String() string { return string(*f) }
func (f *planForm) Type() string   { return "form" }

// Set implements pflag.Value.
func (f *planForm) Set(s string) error {
	switch planForm(s) {
	case formPerigee, formION, formHDTN:
		*f = planForm(s)
		return nil
	}
	return fmt.Errorf("%q is neither perigee, ion nor hdtn", s)
}

// write writes a plan. For HDTN, times are in Unix time.
func (f planForm) write(plan *contact.Plan, w io.Writer) error {
	switch f {
	case formION:
		return plan.WriteION(w)
	case formHDTN:
		return plan.WriteHDTN(w, contact.HDTNUnix)
	}
	_, err := plan.WriteTo(w)
	return err
}

// read reads a plan. Relative times count from reference.
func (f planForm) read(r io.Reader, reference dtntime.Time) (*contact.Plan, error) {
	switch f {
	case formION:
		return contact.ParseION(r, reference)
	case formHDTN:
		return contact.ParseHDTN(r, reference)
	}
	return contact.Parse(r)
}

// bitRate is the value of a flag or a key, such as "100 Mbit/s".
type bitRate contact.BitRate

func (r *bitRate) String() string {
	if *r == 0 {
		return ""
	}
	return rateText(uint64(*r))
}
func (r *bitRate) Type() string { return "rate" }

// Set implements pflag.Value.
func (r *bitRate) Set(s string) error { return r.UnmarshalText([]byte(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *bitRate) UnmarshalText(text []byte) error {
	value, unit, err := humanize.ParseSI(string(text))
	if err != nil || unit != "bit/s" || !(value >= 1 && value <= 1e18) {
		return fmt.Errorf("%q is not a rate of at least 1 bit/s; write it like \"256 kbit/s\" or \"100Mbit/s\"", text)
	}
	*r = bitRate(value)
	return nil
}

// moment is the value of a flag: a time in RFC 3339, or a duration from now on.
type moment struct {
	at       dtntime.Time
	relative bool
	after    dtntime.Duration
}

func (m *moment) String() string { return "" }
func (m *moment) Type() string   { return "time" }

// Set implements pflag.Value.
func (m *moment) Set(s string) error {
	if s == "now" {
		s = "+0s"
	}
	if s != "" && s[0] == '+' {
		m.relative = true
		return m.after.UnmarshalText([]byte(s[1:]))
	}
	at, err := time.Parse(time.RFC3339, s)
	if m.at = dtntime.FromTime(at); err != nil || m.at == 0 {
		return fmt.Errorf("%q is neither a time such as 2026-12-01T06:12:00Z, after the year 2000, nor now or +90s from now", s)
	}
	return nil
}

// given tells whether the flag was set.
func (m *moment) given() bool { return m.relative || m.at != 0 }

// time returns the moment when it is now.
func (m *moment) time(now dtntime.Time) dtntime.Time {
	if m.relative {
		return now.Add(m.after)
	}
	return m.at
}
