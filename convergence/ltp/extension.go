package ltp

import "perigee/convergence"

// Tags of private extensions (RFC 5326 section 3.1.4 leaves 0xc0 to 0xff to them).
const (
	tagLink    = 0xc7 // in cancellations of sessions that carry no block, and their acknowledgements
	tagRefusal = 0xc8 // in reports and in cancellations by the receiver
)

// extensions are the extensions in a header, encoded. At most 15 fit; those with
// unknown tags are passed over.
type extensions struct {
	count uint8
	list  []byte
}

// parseExtensions takes count extensions, checking that each is whole.
func parseExtensions(r *reader, count uint8) extensions {
	from := r.at
	for range count {
		r.octet()
		length := r.sdnv()
		if length > maxExtension {
			r.fail()
		}
		r.bytes(length)
	}
	if r.err != nil || count == 0 {
		return extensions{}
	}
	return extensions{count, r.in[from:r.at:r.at]}
}

// find returns the value of the first extension with a tag.
func (e extensions) find(tag byte) ([]byte, bool) {
	r := reader{in: e.list}
	for range e.count {
		t := r.octet()
		value := r.bytes(r.sdnv())
		if t == tag && r.err == nil {
			return value, true
		}
	}
	return nil, false
}

func (e *extensions) add(tag byte, value []byte) {
	e.count++
	e.list = append(appendSDNV(append(e.list, tag), uint64(len(value))), value...)
}

// Flags of a linkState.
const (
	flagEnding  = 0x01 // no block is begun any more
	flagDrained = 0x02 // no block is open any more, in either direction
	flagFailed  = 0x04 // the link is given up; what is open has failed
)

// A linkState tells the state of one end of a link: a time during which two engines
// serve each other. It is not a part of RFC 5326.
type linkState struct {
	flags byte
	link  uint64 // number of the link, drawn by its end
	peer  uint64 // the number at the other end, 0 while it is not known
}

func parseLinkState(b []byte) (linkState, int, error) {
	r := reader{in: b}
	s := linkState{flags: r.octet(), link: r.sdnv(), peer: r.sdnv()}
	if s.link == 0 {
		r.fail()
	}
	n, err := r.used()
	return s, n, err
}

func (s linkState) append(b []byte) []byte {
	return appendSDNV(appendSDNV(append(b, s.flags), s.link), s.peer)
}

// A refusal says that a bundle of a block was refused. In a cancellation by the
// receiver the only one stands for the whole block.
type refusal struct {
	unit   uint64
	reason convergence.RefuseReason
}

func parseRefusal(b []byte) (refusal, int, error) {
	r := reader{in: b}
	f := refusal{unit: r.sdnv(), reason: convergence.RefuseReason(r.octet())}
	n, err := r.used()
	return f, n, err
}

func (f refusal) append(b []byte) []byte {
	return append(appendSDNV(b, f.unit), byte(f.reason))
}

// refusals are those in an extension; what cannot be read ends them.
func (e extensions) refusals() []refusal {
	value, _ := e.find(tagRefusal)
	var all []refusal
	for len(value) > 0 {
		f, n, err := parseRefusal(value)
		if err != nil {
			break
		}
		all, value = append(all, f), value[n:]
	}
	return all
}

// addRefusals adds as many as an extension holds; it says whether all fit.
func (e *extensions) addRefusals(all []refusal) bool {
	var value []byte
	for _, f := range all {
		value = f.append(value)
	}
	if len(all) == 0 || len(value) > maxExtension {
		return len(all) == 0
	}
	e.add(tagRefusal, value)
	return true
}
