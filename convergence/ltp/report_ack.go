package ltp

// A reportAck acknowledges a report segment (RFC 5326 section 3.2.3).
type reportAck struct {
	header
	serial uint64
}

func parseReportAck(b []byte) (reportAck, int, error) {
	r := reader{in: b}
	var s reportAck
	s.header.parse(&r, typeReportAck, typeReportAck)
	s.serial = r.sdnv()
	n, err := s.end(&r)
	if err != nil {
		return reportAck{}, 0, err
	}
	return s, n, nil
}

func (s *reportAck) append(b []byte) []byte {
	return appendSDNV(s.header.append(b), s.serial)
}
