package bundle

import (
	"fmt"
	"strconv"
	"strings"

	"perigee/bundle/dtntime"
	"perigee/bundle/internal/cbor"
)

// Timestamp is a creation timestamp (RFC 9171 section 4.2.7): the DTN time of
// creation, 0 when the source had no clock, and a sequence number.
type Timestamp struct {
	Time     dtntime.Time
	Sequence uint64
}

func decodeTimestamp(d *cbor.Decoder) (Timestamp, error) {
	f := openFields(d, "4.2.7")
	t := Timestamp{Time: dtntime.Time(f.uint()), Sequence: f.uint()}
	return t, f.end()
}

// ID identifies a bundle, or a fragment of one (RFC 9171 section 4.2.7 and
// 5.8). It is comparable.
type ID struct {
	Source  EID
	Created Timestamp

	// Fragment tells that the bundle is a fragment, and Offset and Length
	// which part of the application data unit it carries, in bytes.
	Fragment       bool
	Offset, Length uint64
}

// Whole is the ID of the bundle that the fragment named by id is of, or id itself.
func (id ID) Whole() ID { return ID{Source: id.Source, Created: id.Created} }

// String prints the ID as people type it: SOURCE@TIME.SEQUENCE, with
// +OFFSET/LENGTH behind it for a fragment. ParseID reads it back.
func (id ID) String() string {
	s := fmt.Sprintf("%s@%d.%d", id.Source, uint64(id.Created.Time), id.Created.Sequence)
	if id.Fragment {
		s += fmt.Sprintf("+%d/%d", id.Offset, id.Length)
	}
	return s
}

// ParseID reads an ID in the form that String prints.
func ParseID(s string) (ID, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return ID{}, fmt.Errorf("bundle ID %q: no @; write SOURCE@TIME.SEQUENCE", s)
	}
	source, err := ParseEID(s[:at])
	if err != nil {
		return ID{}, fmt.Errorf("bundle ID %q: %w", s, err)
	}
	id := ID{Source: source}
	stamp, fragment, isFragment := strings.Cut(s[at+1:], "+")
	ms, seq, ok := strings.Cut(stamp, ".")
	numbers := []string{ms, seq}
	if isFragment {
		offset, length, cut := strings.Cut(fragment, "/")
		ok = ok && cut
		numbers = append(numbers, offset, length)
	}
	var values [4]uint64
	for i, text := range numbers {
		if values[i], err = strconv.ParseUint(text, 10, 64); err != nil {
			ok = false
		}
	}
	if !ok {
		return ID{}, fmt.Errorf("bundle ID %q: write SOURCE@TIME.SEQUENCE, with +OFFSET/LENGTH for a fragment", s)
	}
	id.Created = Timestamp{Time: dtntime.Time(values[0]), Sequence: values[1]}
	id.Fragment, id.Offset, id.Length = isFragment, values[2], values[3]
	return id, nil
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
