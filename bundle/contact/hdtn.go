package contact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// maxHDTN is the longest HDTN plan in bytes.
const maxHDTN = 64 << 20

// HDTNUnix is the start of an HDTN plan whose times are in Unix time.
const HDTNUnix dtntime.Time = 0

// ParseHDTN reads an HDTN contact plan: a JSON object with a list "contacts" of
// objects with "source", "dest", "startTime", "endTime" and "owlt" in seconds and
// "rateBitsPerSec", where a rate of 0 means 1 Gbit/s. Times count from start, as HDTN's
// do from the start of its router, or are in Unix time for HDTNUnix. Errors wrap
// ErrPlan and name the contact.
func ParseHDTN(r io.Reader, start dtntime.Time) (*Plan, error) {
	var plan struct {
		Contacts []struct {
			Source, Dest       uint64
			StartTime, EndTime uint64
			RateBitsPerSec     *BitRate
			OWLT               float64
		}
	}
	limited := &io.LimitedReader{R: r, N: maxHDTN + 1}
	if err := json.NewDecoder(limited).Decode(&plan); err != nil {
		if limited.N <= 0 {
			return nil, fmt.Errorf("%w: HDTN contact plan is longer than %d bytes", ErrPlan, maxHDTN)
		}
		return nil, fmt.Errorf("%w: HDTN contact plan: %w", ErrPlan, err)
	}
	if len(plan.Contacts) > MaxContacts {
		return nil, fmt.Errorf("%w: %d contacts, more than the limit of %d", ErrPlan, len(plan.Contacts), MaxContacts)
	}
	contacts := make([]Contact, 0, len(plan.Contacts))
	for i, c := range plan.Contacts {
		rate, err := hdtnRate(c.RateBitsPerSec)
		if err != nil {
			return nil, fmt.Errorf("%w: contact %d: %w", ErrPlan, i+1, err)
		}
		const most = math.MaxUint32 // seconds, 136 years
		if c.StartTime > most || c.EndTime > most || !(c.OWLT >= 0 && c.OWLT <= most) {
			return nil, fmt.Errorf("%w: contact %d: a time is negative or more than %d seconds", ErrPlan, i+1, uint64(most))
		}
		if start == HDTNUnix && c.StartTime < unixTo2000 {
			return nil, fmt.Errorf("%w: contact %d: starts at %d, before the DTN epoch in Unix time, %d; are its times from the start of the router?",
				ErrPlan, i+1, c.StartTime, unixTo2000)
		}
		contacts = append(contacts, Contact{
			From: bundle.IPN(c.Source, 0), To: bundle.IPN(c.Dest, 0),
			Start: hdtnTime(c.StartTime, start), End: hdtnTime(c.EndTime, start),
			Rate: rate, Light: dtntime.Duration(math.Round(c.OWLT * 1000)),
		})
	}
	return New(contacts)
}

func hdtnTime(seconds uint64, start dtntime.Time) dtntime.Time {
	if start == HDTNUnix {
		return fromUnix(max(seconds, unixTo2000))
	}
	return start.Add(dtntime.Duration(seconds) * dtntime.Second)
}

func hdtnRate(rate *BitRate) (BitRate, error) {
	switch {
	case rate == nil:
		return 0, errors.New(`no "rateBitsPerSec"; plans with "rate" in Mbit/s must be brought to it`)
	case *rate == 0:
		return GigabitPerSecond, nil
	}
	return *rate, nil
}
