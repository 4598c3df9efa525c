package orbit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// tleLine is the length of a line of a two-line element set.
const tleLine = 69

// ephemerisXP is the type of element sets for SGP4-XP, another theory.
const ephemerisXP = "4"

// ParseTLE reads a two-line element set. Both lines must have 69 columns, the checksum
// in the last one. Catalogue numbers may be of five digits or of a letter and four
// digits (Alpha-5). Errors wrap ErrElements and name the line and the columns.
func ParseTLE(line1, line2 string) (Elements, error) {
	for i, line := range []string{line1, line2} {
		if err := checkTLELine(line, byte('1'+i)); err != nil {
			return Elements{}, fmt.Errorf("%w: line %d of a two-line element set: %w", ErrElements, i+1, err)
		}
	}
	if line1[2:7] != line2[2:7] {
		return Elements{}, fmt.Errorf("%w: line 1 is of satellite %s, line 2 of %s; two-line element sets are mixed up",
			ErrElements, line1[2:7], line2[2:7])
	}
	if line1[62:63] == ephemerisXP {
		return Elements{}, fmt.Errorf("%w: satellite %s: ephemeris type 4 is for SGP4-XP; take elements for SGP4", ErrElements, line1[2:7])
	}
	f := columns{}
	e := Elements{
		Catalog: f.catalog(line1[2:7]), ID: designator(line1[9:17]), Epoch: f.epoch(line1[18:32]), Drag: f.exponent(line1, 54, 61),
		Inclination: f.number(line2, 9, 16), Node: f.number(line2, 18, 25),
		Eccentricity: f.fraction(line2, 27, 33), Perigee: f.number(line2, 35, 42), Anomaly: f.number(line2, 44, 51),
		MeanMotion: f.number(line2, 53, 63),
	}
	if f.err == nil {
		f.err = e.check()
	}
	if f.err != nil {
		return Elements{}, fmt.Errorf("%w: satellite %s: %w", ErrElements, strings.TrimSpace(line1[2:7]), f.err)
	}
	return e, nil
}

// Checksum returns the checksum of a line of a two-line element set: the sum of its
// digits before column 69, a minus counting for 1, modulo 10.
func Checksum(line string) int {
	sum := 0
	for _, c := range []byte(line[:min(len(line), tleLine-1)]) {
		switch {
		case '0' <= c && c <= '9':
			sum += int(c - '0')
		case c == '-':
			sum++
		}
	}
	return sum % 10
}

func checkTLELine(line string, number byte) error {
	if len(line) != tleLine {
		return fmt.Errorf("it has %d columns instead of %d", len(line), tleLine)
	}
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return fmt.Errorf("column %d is no printable ASCII character", i+1)
		}
	}
	if line[0] != number || line[1] != ' ' {
		return fmt.Errorf("it begins with %q instead of \"%c \"", line[:2], number)
	}
	if want := Checksum(line); int(line[tleLine-1])-'0' != want {
		return fmt.Errorf("its checksum is %d, but column 69 says %q; the line was damaged or changed by hand", want, line[68:])
	}
	return nil
}

// designator brings an international designator such as 98067A to 1998-067A.
func designator(text string) string {
	text = strings.TrimSpace(text)
	if len(text) < 6 {
		return ""
	}
	year, err := strconv.ParseUint(text[:2], 10, 8)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d-%s", fullYear(int(year)), text[2:])
}

// fullYear completes the two digits of a year.
func fullYear(year int) int {
	if year < firstYear-1900 {
		return 2000 + year
	}
	return 1900 + year
}

// columns reads numbers out of columns and keeps the first error.
type columns struct{ err error }

func (f *columns) fail(what, text string) {
	if f.err == nil {
		f.err = fmt.Errorf("%q is not %s", text, what)
	}
}

// catalog reads a catalogue number. Its first digit may be a letter, from A for 10 to
// Z for 33, where I and O are left out.
func (f *columns) catalog(text string) uint32 {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
	digits := strings.TrimLeft(text, " ")
	tens := 0
	if digits != "" {
		if i := strings.IndexByte(letters, digits[0]); i >= 0 && len(digits) == 5 {
			tens, digits = 10+i, digits[1:]
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		f.fail("a catalogue number", text)
	}
	return uint32(tens)*10000 + uint32(n)
}

// epoch reads two digits of the year and a day with decimals.
func (f *columns) epoch(text string) time.Time {
	year, err := strconv.ParseUint(text[:2], 10, 8)
	whole, decimals, _ := strings.Cut(strings.TrimSpace(text[2:]), ".")
	day, err2 := strconv.ParseUint(strings.TrimSpace(whole), 10, 16)
	part, err3 := strconv.ParseFloat("0."+decimals+"0", 64)
	if err := errors.Join(err, err2, err3); err != nil || day < 1 || day > 366 {
		f.fail("an epoch: two digits of the year and a day of it", text)
		return time.Time{}
	}
	date := time.Date(fullYear(int(year)), 1, int(day), 0, 0, 0, 0, time.UTC)
	return date.Add(time.Duration(part * float64(24*time.Hour))).Round(time.Microsecond)
}

// number reads a decimal number from columns that count from 1.
func (f *columns) number(line string, first, last int) float64 {
	text := strings.TrimSpace(line[first-1 : last])
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		f.fail(fmt.Sprintf("a number, in columns %d to %d", first, last), text)
	}
	return n
}

// fraction reads digits that stand behind a decimal point.
func (f *columns) fraction(line string, first, last int) float64 {
	text := strings.ReplaceAll(line[first-1:last], " ", "0")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		f.fail(fmt.Sprintf("a fraction, in columns %d to %d", first, last), text)
	}
	return float64(n) / 1e7
}

// exponent reads a number such as -12345-3, which stands for -0.12345e-3.
func (f *columns) exponent(line string, first, last int) float64 {
	text := line[first-1 : last]
	all := text
	sign := 1.
	switch text[0] {
	case '-':
		sign = -1
		fallthrough
	case ' ', '+':
		text = text[1:]
	}
	if strings.TrimSpace(text) == "" {
		return 0
	}
	split := strings.LastIndexAny(text, "+-")
	if split < 1 {
		f.fail(fmt.Sprintf("a number with its power of ten, in columns %d to %d", first, last), all)
		return 0
	}
	n, err := strconv.ParseFloat("0."+strings.TrimSpace(text[:split])+"e"+text[split:], 64)
	if err != nil {
		f.fail(fmt.Sprintf("a number with its power of ten, in columns %d to %d", first, last), all)
	}
	return sign * n
}
