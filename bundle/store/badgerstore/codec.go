package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Limits on what is encoded.
const (
	// maxMeta is the longest encoding of what a record says beside the bytes of
	// the bundle: eight EIDs, each up to bundle.MaxEIDText, a spread and numbers.
	maxMeta = 32 << 10
	// maxCounterName is the longest name of a counter in bytes.
	maxCounterName = 256
)

// errEncoding is wrapped by every error about bytes that do not decode.
var errEncoding = errors.New("malformed encoding")

// appendEID appends e: its scheme, then two numbers (ipn) or its text (dtn).
func appendEID(b []byte, e bundle.EID) []byte {
	b = append(b, byte(e.Scheme()))
	if e.Scheme() == bundle.SchemeIPN {
		b = binary.AppendUvarint(b, e.NodeNumber())
		return binary.AppendUvarint(b, e.Service())
	}
	text := ""
	if !e.IsNull() {
		text = e.String()
	}
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// appendID appends id. Equal IDs have equal encodings and no encoding begins with
// another one, so it serves as a key.
func appendID(b []byte, id bundle.ID) []byte {
	b = appendEID(b, id.Source)
	b = binary.AppendUvarint(b, uint64(id.Created.Time))
	b = binary.AppendUvarint(b, id.Created.Sequence)
	if !id.Fragment {
		return append(b, 0)
	}
	b = append(b, 1)
	b = binary.AppendUvarint(b, id.Offset)
	return binary.AppendUvarint(b, id.Length)
}

func appendEpisode(b []byte, e store.Episode) []byte {
	b = appendEID(b, e.Custodian)
	b = binary.AppendUvarint(b, e.SeqID)
	return binary.AppendUvarint(b, e.SeqNum)
}

// Marks of a record: what it is, and which fields stand at its end.
const (
	markAge = 1 << iota
	markCustodial
	markForwarded
	markSpread
	markReporting
	markPared
	markValue
	markAstray
)

func recordMarks(r *store.Record) byte {
	return boolByte(r.HasAge)*markAge | boolByte(r.Custodial)*markCustodial | boolByte(r.Forwarded > 0)*markForwarded |
		boolByte(r.Pared)*markPared | boolByte(r.Value > 0)*markValue | boolByte(r.Spread != "")*markSpread | boolByte(r.Reporting != "")*markReporting |
		boolByte(r.Astray)*markAstray
}

// appendRecord appends r.
func appendRecord(b []byte, r *store.Record) []byte {
	b = binary.AppendUvarint(b, uint64(r.Handle))
	b = appendID(b, r.ID)
	b = appendEID(b, r.Destination)
	b = appendEID(b, r.ReportTo)
	b = appendEID(b, r.Previous)
	b = append(b, byte(r.Priority), byte(r.Duty), recordMarks(r))
	for _, n := range [...]uint64{
		uint64(r.Flags), uint64(r.Received), uint64(r.Expiry), uint64(r.AgeReceived),
		uint64(r.HeaderLen), uint64(r.PayloadLen), uint64(r.Size), uint64(r.Attempts),
	} {
		b = binary.AppendUvarint(b, n)
	}
	b = appendEpisode(b, r.From)
	b = appendEpisode(b, r.Own)
	if r.ID.Fragment {
		b = binary.AppendUvarint(b, r.Total)
	}
	if r.Forwarded > 0 {
		b = binary.AppendUvarint(b, uint64(r.Forwarded))
	}
	if r.Value > 0 {
		b = binary.AppendUvarint(b, r.Value)
	}
	if r.Spread != "" {
		b = binary.AppendUvarint(b, uint64(len(r.Spread)))
		b = append(b, r.Spread...)
	}
	if r.Reporting != "" {
		b = binary.AppendUvarint(b, uint64(len(r.Reporting)))
		b = append(b, r.Reporting...)
	}
	return b
}

// appendGone appends what g says beside the ID.
func appendGone(b []byte, g *store.Gone) []byte {
	b = append(b, byte(g.Reason))
	b = binary.AppendUvarint(b, uint64(g.At))
	b = binary.AppendUvarint(b, uint64(g.Until))
	return appendEpisode(b, g.From)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// decoder takes values off the front of b. After the first failure it returns
// zeros and keeps the error.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errEncoding, what)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// size reads a number of bytes.
func (d *decoder) size() int64 {
	v := int64(d.uint())
	if v < 0 {
		d.fail("negative size")
		return 0
	}
	return v
}

func (d *decoder) text(limit uint64) string {
	n := d.uint()
	if n > limit || n > uint64(len(d.b)) {
		d.fail("text too long")
		return ""
	}
	v := string(d.b[:n])
	d.b = d.b[n:]
	return v
}

func (d *decoder) eid() bundle.EID {
	switch scheme := bundle.Scheme(d.byte()); scheme {
	case bundle.SchemeIPN:
		node := d.uint()
		return bundle.IPN(node, d.uint())
	case bundle.SchemeDTN:
		text := d.text(bundle.MaxEIDText + 4)
		if text == "" {
			return bundle.EID{}
		}
		e, err := bundle.ParseEID(text)
		if err != nil {
			d.fail(err.Error())
		}
		return e
	default:
		d.fail("unknown EID scheme")
		return bundle.EID{}
	}
}

func (d *decoder) id() bundle.ID {
	id := bundle.ID{Source: d.eid()}
	id.Created.Time = dtntime.Time(d.uint())
	id.Created.Sequence = d.uint()
	switch d.byte() {
	case 0:
	case 1:
		id.Fragment = true
		id.Offset = d.uint()
		id.Length = d.uint()
	default:
		d.fail("bad fragment mark")
	}
	return id
}

func (d *decoder) episode() store.Episode {
	e := store.Episode{Custodian: d.eid()}
	e.SeqID = d.uint()
	e.SeqNum = d.uint()
	return e
}

func (d *decoder) record() store.Record {
	var r store.Record
	r.Handle = store.Handle(d.uint())
	r.ID = d.id()
	r.Destination = d.eid()
	r.ReportTo = d.eid()
	r.Previous = d.eid()
	r.Priority = bundle.Priority(d.byte())
	r.Duty = store.Duty(d.byte())
	marks := d.byte()
	r.HasAge, r.Custodial, r.Pared = marks&markAge != 0, marks&markCustodial != 0, marks&markPared != 0
	r.Astray = marks&markAstray != 0
	r.Flags = bundle.Flags(d.uint())
	r.Received = dtntime.Time(d.uint())
	r.Expiry = dtntime.Time(d.uint())
	r.AgeReceived = dtntime.Duration(d.uint())
	r.HeaderLen = d.size()
	r.PayloadLen = d.size()
	r.Size = d.size()
	r.Attempts = uint32(d.uint())
	r.From = d.episode()
	r.Own = d.episode()
	if r.ID.Fragment {
		r.Total = d.uint()
	}
	if marks&markForwarded != 0 {
		r.Forwarded = d.size()
	}
	if marks&markValue != 0 {
		r.Value = d.uint()
	}
	if marks&markSpread != 0 {
		r.Spread = store.Spread(d.text(store.MaxSpread))
	}
	if marks&markReporting != 0 {
		r.Reporting = store.Reporting(d.text(store.MaxReporting))
	}
	return r
}

func (d *decoder) gone(id bundle.ID) store.Gone {
	g := store.Gone{ID: id}
	g.Reason = store.GoneReason(d.byte())
	g.At = dtntime.Time(d.uint())
	g.Until = dtntime.Time(d.uint())
	g.From = d.episode()
	return g
}

// end returns the error of the decoding. Bytes left over are an error too.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes left over")
	}
	return d.err
}

// checkRecord tells whether r comes back from its encoding as it went in. It
// fails for dtn EIDs that no parser would accept, for negative sizes and for text
// that is too long.
func checkRecord(r *store.Record) error {
	if r.HeaderLen < 0 || r.PayloadLen < 0 || r.Size < 0 {
		return fmt.Errorf("record of bundle %s has a negative length", r.ID)
	}
	if len(r.Spread) > store.MaxSpread || len(r.Reporting) > store.MaxReporting {
		return fmt.Errorf("record of bundle %s has a spread of %d bytes and reporting of %d; the limits are %d and %d",
			r.ID, len(r.Spread), len(r.Reporting), store.MaxSpread, store.MaxReporting)
	}
	return checkEIDs(r.ID.Source, r.Destination, r.ReportTo, r.Previous, r.From.Custodian, r.Own.Custodian)
}

func checkEIDs(eids ...bundle.EID) error {
	for _, e := range eids {
		if e.Scheme() == bundle.SchemeIPN || e.IsNull() {
			continue
		}
		if back, err := bundle.ParseEID(e.String()); err != nil || back != e {
			return fmt.Errorf("EID %q cannot be stored: %w", e, bundle.ErrEID)
		}
	}
	return nil
}
