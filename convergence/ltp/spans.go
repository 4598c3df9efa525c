package ltp

import "sort"

// A span is a part of a block, from lo up to and without hi.
type span struct{ lo, hi uint64 }

func (s span) length() uint64 { return s.hi - s.lo }

// within says whether all of s lies in t.
func (s span) within(t span) bool { return s.lo >= t.lo && s.hi <= t.hi }

// spans are parts of a block: sorted, none empty, and apart from each other.
type spans []span

// search is the index of the first span that ends at or behind at.
func (s spans) search(at uint64) int {
	if n := len(s); n > 0 && s[n-1].hi < at { // most data come in order
		return n
	}
	return sort.Search(len(s), func(i int) bool { return s[i].hi >= at })
}

// add adds a part, and joins what it touches.
func (s *spans) add(p span) {
	if p.lo >= p.hi {
		return
	}
	i := s.search(p.lo)
	j := i
	for j < len(*s) && (*s)[j].lo <= p.hi {
		p.lo, p.hi = min(p.lo, (*s)[j].lo), max(p.hi, (*s)[j].hi)
		j++
	}
	if i == j {
		*s = append(*s, span{})
		copy((*s)[i+1:], (*s)[i:])
		(*s)[i] = p
		return
	}
	(*s)[i] = p
	*s = append((*s)[:i+1], (*s)[j:]...)
}

// covers says whether all of p is there.
func (s spans) covers(p span) bool {
	if p.lo >= p.hi {
		return true
	}
	i := s.search(p.lo + 1)
	return i < len(s) && p.within(s[i])
}

// missing appends the parts of p that are not there.
func (s spans) missing(p span, to []span) []span {
	for i := s.search(p.lo + 1); i < len(s) && p.lo < p.hi && s[i].lo < p.hi; i++ {
		if p.lo < s[i].lo {
			to = append(to, span{p.lo, s[i].lo})
		}
		p.lo = s[i].hi
	}
	if p.lo < p.hi {
		to = append(to, p)
	}
	return to
}

// overlap appends the parts of p that are there.
func (s spans) overlap(p span, to []span) []span {
	for i := s.search(p.lo + 1); i < len(s) && s[i].lo < p.hi; i++ {
		to = append(to, span{max(p.lo, s[i].lo), min(p.hi, s[i].hi)})
	}
	return to
}

// prefix is how far the data reach from the start without a gap.
func (s spans) prefix() uint64 {
	if len(s) == 0 || s[0].lo > 0 {
		return 0
	}
	return s[0].hi
}
