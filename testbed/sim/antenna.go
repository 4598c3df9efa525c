package sim

import (
	"cmp"
	"slices"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/contact/predict"
	"perigee/bundle/dtntime"
)

// ShareAntennas gives the passes over each station to its antennas: each follows one
// satellite at a time, to its setting, and then takes up the one of those in view that
// stays longest. Contacts are cut to when an antenna is theirs, and those that are shorter
// than least are left out. Stations without a number here see everything at once.
func ShareAntennas(windows []predict.Window, antennas map[bundle.EID]int, least dtntime.Duration) []contact.Contact {
	var contacts []contact.Contact
	over := make(map[bundle.EID][]predict.Window)
	var stations []bundle.EID
	for _, w := range windows {
		if antennas[w.Peer] == 0 || len(w.Contacts) == 0 {
			contacts = append(contacts, w.Contacts...)
			continue
		}
		if over[w.Peer] == nil {
			stations = append(stations, w.Peer)
		}
		over[w.Peer] = append(over[w.Peer], w)
	}
	for _, s := range stations {
		for range antennas[s] {
			var taken []contact.Contact
			taken, over[s] = follow(over[s], least)
			contacts = append(contacts, taken...)
		}
	}
	return contacts
}

// follow has one antenna follow satellites. It returns the contacts and the windows
// that it leaves to others.
func follow(windows []predict.Window, least dtntime.Duration) (contacts []contact.Contact, left []predict.Window) {
	slices.SortStableFunc(windows, func(a, b predict.Window) int { return cmp.Compare(a.Start, b.Start) })
	free := dtntime.Time(0)
	pending := slices.Clone(windows)
	for len(pending) > 0 {
		best, from := -1, max(free, pending[0].Start)
		for i, w := range pending {
			if w.Start > from {
				break
			}
			if from.Add(least) <= w.End && (best < 0 || w.End > pending[best].End) {
				best = i
			}
		}
		if best < 0 { // the first one is over, or too short by now
			left = append(left, pending[0])
			pending = pending[1:]
			continue
		}
		w := pending[best]
		for _, c := range w.Contacts {
			if c.Start = max(c.Start, from); c.Start < c.End {
				contacts = append(contacts, c)
			}
		}
		free = w.End
		pending = slices.Delete(pending, best, best+1)
	}
	return contacts, left
}
