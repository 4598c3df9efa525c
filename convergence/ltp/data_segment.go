package ltp

// A dataSegment carries a part of a block (RFC 5326 section 3.2.1). Red ones of
// another type than typeRed are checkpoints and have serial numbers.
type dataSegment struct {
	header
	service    uint64 // client service ID
	offset     uint64
	checkpoint uint64 // serial number, not 0 in a checkpoint
	report     uint64 // serial number of the report that it answers, or 0
	data       []byte // a part of the parsed input
}

func parseDataSegment(b []byte) (dataSegment, int, error) {
	r := reader{in: b}
	var s dataSegment
	s.header.parse(&r, typeRed, typeGreenBlockEnd)
	s.service, s.offset = r.sdnv(), r.sdnv()
	length := r.sdnv()
	if s.isCheckpoint() {
		s.checkpoint, s.report = r.sdnv(), r.sdnv()
	}
	s.data = r.bytes(length)
	switch {
	case s.kind == typeGreen+1 || s.kind == typeGreen+2, // undefined
		s.offset > maxBlockLength || length > maxBlockLength,
		s.isCheckpoint() && s.checkpoint == 0:
		r.fail()
	}
	n, err := s.end(&r)
	if err != nil {
		return dataSegment{}, 0, err
	}
	return s, n, nil
}

func (s *dataSegment) append(b []byte) []byte {
	return append(s.appendFront(b, len(s.data)), s.data...)
}

// appendFront appends all but the data, which are length bytes.
func (s *dataSegment) appendFront(b []byte, length int) []byte {
	b = s.header.append(b)
	b = appendSDNV(b, s.service)
	b = appendSDNV(b, s.offset)
	b = appendSDNV(b, uint64(length))
	if s.isCheckpoint() {
		b = appendSDNV(b, s.checkpoint)
		b = appendSDNV(b, s.report)
	}
	return b
}

// room is how many bytes of data fit into a datagram of size bytes.
func (s *dataSegment) room(size int) int {
	front := s.header.encodedLen() + sdnvLen(s.service) + sdnvLen(s.offset) + sdnvLen(uint64(size))
	if s.isCheckpoint() {
		front += sdnvLen(s.checkpoint) + sdnvLen(s.report)
	}
	return size - front
}

func (s *dataSegment) isRed() bool        { return s.kind <= typeRedBlockEnd }
func (s *dataSegment) isCheckpoint() bool { return s.kind > typeRed && s.kind <= typeRedBlockEnd }

// endsRed says whether the red part ends with this segment, endsBlock whether the
// block does.
func (s *dataSegment) endsRed() bool { return s.kind == typeRedEnd || s.kind == typeRedBlockEnd }

func (s *dataSegment) endsBlock() bool {
	return s.kind == typeRedBlockEnd || s.kind == typeGreenBlockEnd
}

// scope is the part of the block that the data are.
func (s *dataSegment) scope() span { return span{s.offset, s.offset + uint64(len(s.data))} }
