package ltp

// A reportSegment claims what was received of the part of a block between its
// bounds (RFC 5326 section 3.2.2). Its claims are held by offsets within the block,
// sorted and apart from each other; on the wire they count from the lower bound.
type reportSegment struct {
	header
	serial     uint64
	checkpoint uint64 // serial number of the checkpoint that it answers, or 0
	upper      uint64
	lower      uint64
	claims     []span
}

// parseReportSegment puts the claims into room, which it grows as needed: each
// takes two bytes of input at least.
func parseReportSegment(b []byte, room []span) (reportSegment, int, error) {
	r := reader{in: b}
	s := reportSegment{claims: room[:0]}
	s.header.parse(&r, typeReport, typeReport)
	s.serial, s.checkpoint = r.sdnv(), r.sdnv()
	s.upper, s.lower = r.sdnv(), r.sdnv()
	count := r.sdnv()
	if s.serial == 0 || s.upper > maxBlockLength || s.lower >= s.upper || count == 0 {
		r.fail()
	}
	if count > uint64(r.left())/2 && r.err == nil {
		r.err = errShort
	}
	for i := uint64(0); i < count && r.err == nil; i++ {
		offset, length := r.sdnv(), r.sdnv()
		if r.err != nil {
			break
		}
		if scope := s.upper - s.lower; offset > scope || length == 0 || length > scope-offset {
			r.fail()
			break
		}
		claim := span{s.lower + offset, s.lower + offset + length}
		if i > 0 && claim.lo <= s.claims[i-1].hi {
			r.fail()
			break
		}
		s.claims = append(s.claims, claim)
	}
	n, err := s.end(&r)
	if err != nil {
		return reportSegment{}, 0, err
	}
	return s, n, nil
}

func (s *reportSegment) append(b []byte) []byte {
	b = s.header.append(b)
	b = appendSDNV(b, s.serial)
	b = appendSDNV(b, s.checkpoint)
	b = appendSDNV(b, s.upper)
	b = appendSDNV(b, s.lower)
	b = appendSDNV(b, uint64(len(s.claims)))
	for _, c := range s.claims {
		b = appendSDNV(b, c.lo-s.lower)
		b = appendSDNV(b, c.hi-c.lo)
	}
	return b
}

// claimRoom is how many bytes a datagram of size bytes has for claims.
func (s *reportSegment) claimRoom(size int) int {
	return size - s.header.encodedLen() - sdnvLen(s.serial) - sdnvLen(s.checkpoint) -
		2*sdnvLen(s.upper) - sdnvLen(uint64(size))
}

// scope is the part of the block that the report is about.
func (s *reportSegment) scope() span { return span{s.lower, s.upper} }
