package orbit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// message is an orbit mean-elements message (CCSDS 502.0-B-3 section 4) as its
// keywords with their values, whatever form it came in.
type message map[string]string

// elements takes the elements out of a message. What the message may leave to
// agreement, as lists of elements do, is taken to be what SGP4 needs.
func (m message) elements() (Elements, error) {
	e, err := m.read()
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return Elements{}, fmt.Errorf("%w: orbit mean-elements message of %s: %w", ErrElements, e, err)
	}
	return e, nil
}

func (m message) read() (Elements, error) {
	e := Elements{Name: m["OBJECT_NAME"], ID: m["OBJECT_ID"]}
	for _, c := range []struct{ key, want, also string }{
		{"CENTER_NAME", "EARTH", ""},
		{"REF_FRAME", "TEME", "TEMEOFDATE"},
		{"TIME_SYSTEM", "UTC", ""},
		{"MEAN_ELEMENT_THEORY", "SGP4", "SGP/SGP4"},
	} {
		if got := strings.ToUpper(m[c.key]); got != "" && got != c.want && got != c.also {
			return e, fmt.Errorf("%s is %q; only %s can be propagated", c.key, m[c.key], c.want)
		}
	}
	if m["EPHEMERIS_TYPE"] == ephemerisXP {
		return e, errors.New("EPHEMERIS_TYPE is 4, which is for SGP4-XP; take elements for SGP4")
	}
	if text := m["NORAD_CAT_ID"]; text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return e, fmt.Errorf("NORAD_CAT_ID is %q, which is not a number", text)
		}
		e.Catalog = uint32(n)
	}
	var err error
	if e.Epoch, err = parseCCSDSTime(m["EPOCH"]); err != nil {
		return e, fmt.Errorf("EPOCH: %w", err)
	}
	for _, f := range []struct {
		key string
		to  *float64
	}{
		{"MEAN_MOTION", &e.MeanMotion},
		{"ECCENTRICITY", &e.Eccentricity},
		{"INCLINATION", &e.Inclination},
		{"RA_OF_ASC_NODE", &e.Node},
		{"ARG_OF_PERICENTER", &e.Perigee},
		{"MEAN_ANOMALY", &e.Anomaly},
		{"BSTAR", &e.Drag},
	} {
		text, ok := m[f.key]
		if !ok || text == "" {
			return e, fmt.Errorf("%s is missing", f.key)
		}
		if *f.to, err = strconv.ParseFloat(text, 64); err != nil {
			return e, fmt.Errorf("%s is %q, which is not a number", f.key, text)
		}
	}
	return e, nil
}

// parseCCSDSTime reads a time in one of the two forms of CCSDS 301.0-B, with the month
// and day or with the day of the year.
func parseCCSDSTime(text string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-002T15:04:05"} {
		if t, err := time.Parse(layout, strings.TrimSuffix(text, "Z")); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-11-24T12:00:00.000", text)
}
