package store

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"perigee/bundle"
)

// MaxSpread is the longest Spread in bytes.
const MaxSpread = 16 << 10

// Spread is what is left to be done with a bundle under DutyGroup: the local
// registrations that have not acknowledged it and the neighbours that it was not
// sent to yet. As text, it is the numbers of the registrations and then the node IDs
// of the neighbours, with spaces between them. The zero Spread is nothing.
type Spread string

// MakeSpread returns the Spread of some registrations and neighbours.
func MakeSpread(registrations []uint64, neighbours []bundle.EID) Spread {
	words := make([]string, 0, len(registrations)+len(neighbours))
	for _, r := range registrations {
		words = append(words, strconv.FormatUint(r, 10))
	}
	for _, n := range neighbours {
		words = append(words, n.String())
	}
	return Spread(strings.Join(words, " "))
}

// Parse takes a Spread apart.
func (s Spread) Parse() (registrations []uint64, neighbours []bundle.EID, err error) {
	words := strings.Fields(string(s))
	first := slices.IndexFunc(words, func(w string) bool { return strings.Contains(w, ":") })
	if first < 0 {
		first = len(words)
	}
	for _, w := range words[:first] {
		r, err := strconv.ParseUint(w, 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("registration %q of a spread: %w", w, err)
		}
		registrations = append(registrations, r)
	}
	for _, w := range words[first:] {
		n, err := bundle.ParseEID(w)
		if err != nil {
			return nil, nil, fmt.Errorf("neighbour of a spread: %w", err)
		}
		neighbours = append(neighbours, n)
	}
	return registrations, neighbours, nil
}
