package bundle

import (
	"errors"

	"perigee/bundle/internal/cbor"
)

const crebSection = "CCSDS 734.6-O-1 section 5.1"

// ReportingFlags say which reporting signals a bundle asks for. Unknown bits are
// carried.
type ReportingFlags uint64

// Reporting request flags.
const (
	ReportingReceived        ReportingFlags = 1 << StatusReceived
	ReportingForwarded       ReportingFlags = 1 << StatusForwarded
	ReportingDelivered       ReportingFlags = 1 << StatusDelivered
	ReportingDeleted         ReportingFlags = 1 << StatusDeleted
	ReportingCustodyAccepted ReportingFlags = 1 << StatusCustodyAccepted
	ReportingCustodyRefused  ReportingFlags = 1 << StatusCustodyRefused
)

// ReportingRequests are all the flags that have a meaning.
const ReportingRequests = ReportingReceived | ReportingForwarded | ReportingDelivered | ReportingDeleted |
	ReportingCustodyAccepted | ReportingCustodyRefused

// Reporting is the content of a compressed reporting extension block (CCSDS
// 734.6-O-1 section 5.1): the number under which the source of the block wants to
// hear about the bundle, and about what.
type Reporting struct {
	SeqNum   uint64
	SeqID    uint64 // 0 stands for one sequence for each destination
	Requests ReportingFlags
	Source   EID // who issued the number; null for the bundle's source
	// ReportTo is where signals go; null for the bundle's report-to EID. It
	// needs Source.
	ReportTo EID
}

// ReportingBlock returns a compressed reporting extension block with block number
// n. Like the custody transfer block, it is replicated in fragments and survives
// nodes that do not know it.
func ReportingBlock(n uint64, r Reporting) Block {
	items := 3
	if !r.Source.IsNull() || !r.ReportTo.IsNull() {
		items++
	}
	if !r.ReportTo.IsNull() {
		items++
	}
	data := cbor.AppendArray(make([]byte, 0, 28+r.Source.cborLen()+r.ReportTo.cborLen()), items)
	data = cbor.AppendUint(cbor.AppendUint(cbor.AppendUint(data, r.SeqNum), r.SeqID), uint64(r.Requests))
	if items > 3 {
		data = r.Source.AppendCBOR(data)
	}
	if items > 4 {
		data = r.ReportTo.AppendCBOR(data)
	}
	return Block{Type: TypeReporting, Number: n, Flags: BlockReplicate, CRC: CRC32C, Data: data}
}

// Reporting reads the content of a compressed reporting extension block. All
// items but the first may be left out from the end, and then are zero.
func (blk *Block) Reporting() (Reporting, error) {
	r, err := parseReporting(blk.Data)
	if err = blk.Type.content(err, "4.4"); err != nil {
		var fault *ParseError
		if errors.As(err, &fault) {
			fault.Section = crebSection
		}
		return Reporting{}, err
	}
	return r, nil
}

func parseReporting(data []byte) (Reporting, error) {
	d := cbor.NewDecoder(data)
	f := openFields(&d, "4.4")
	r := Reporting{SeqNum: f.uint()}
	if f.more() {
		r.SeqID = f.value()
	}
	if f.more() {
		r.Requests = ReportingFlags(f.value())
	}
	if f.more() {
		r.Source = f.endpoint()
	}
	if f.more() {
		r.ReportTo = f.endpoint()
	}
	if err := f.end(); err != nil {
		return Reporting{}, err
	}
	return r, trailing(&d, "4.4")
}

// Reporting returns the compressed reports that b asks for; false when it asks for
// none. As with custody, a bundle with two such blocks asks for none.
func (b *Bundle) Reporting() (Reporting, bool) { return StandardCodePoints().ReportingOf(b) }

// ReportingOf returns the compressed reports that b, which came from a neighbour
// with these code points, asks for; false when it asks for none.
func (cp CodePoints) ReportingOf(b *Bundle) (Reporting, bool) {
	blk := b.only(cp.Reporting)
	if blk == nil {
		return Reporting{}, false
	}
	r, err := blk.Reporting()
	return r, err == nil
}
