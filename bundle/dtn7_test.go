package bundle

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/dtn7/dtn7-go/pkg/bpv7"

	"perigee/bundle/dtntime"
)

// dtn7-go is asked only where it follows RFC 9171: whole bundles, services above 0,
// nothing expired (it takes the wall clock), one block of a type.

// dtn7Samples are bundles in that range, alive at now.
func dtn7Samples(now dtntime.Time) []sample {
	hello := []byte("Hello, DTN")
	var out []sample
	for _, crc := range []CRCType{CRC16, CRC32C} {
		for _, dtn := range []bool{false, true} {
			b := sampleBundle(crc, hello)
			b.Extensions = b.Extensions[:3]
			b.Extensions[0] = PreviousNodeBlock(2, IPN(7, 1))
			b.Primary.ReportTo = IPN(1, 1)
			b.Primary.Created.Time = now
			if dtn {
				b.Primary.Source, b.Primary.Destination, b.Primary.ReportTo = DTN("sat-17", "agent"), DTN("ground", "models"), EID{}
				b.Primary.Flags = 0
			}
			out = append(out, sample{fmt.Sprintf("%s dtn=%v", crc, dtn), b, hello})
		}
	}
	return out
}

func TestDTN7ReadsOurBundles(t *testing.T) {
	for _, s := range dtn7Samples(dtntime.FromTime(time.Now())) {
		t.Run(s.name, func(t *testing.T) {
			raw := s.encode()
			got, err := bpv7.ParseBundle(bytes.NewReader(raw))
			if err != nil {
				t.Fatalf("dtn7-go refuses %x: %v", raw, err)
			}
			p := got.PrimaryBlock
			if p.SourceNode.String() != s.bndl.Primary.Source.String() || p.Destination.String() != s.bndl.Primary.Destination.String() ||
				p.ReportTo.String() != s.bndl.Primary.ReportTo.String() || p.CreationTimestamp[0] != uint64(s.bndl.Primary.Created.Time) ||
				p.Lifetime != uint64(s.bndl.Primary.Lifetime) || uint64(p.BundleControlFlags) != uint64(s.bndl.Primary.Flags) {
				t.Errorf("dtn7-go reads %+v of %+v", p, s.bndl.Primary)
			}
			payload, err := got.PayloadBlock()
			if err != nil || !bytes.Equal(payload.Value.(*bpv7.PayloadBlock).Data(), s.payload) {
				t.Errorf("dtn7-go reads payload %v, %v", payload, err)
			}
			age, err := got.ExtensionBlock(bpv7.ExtBlockTypeBundleAgeBlock)
			if err != nil || age.Value.(*bpv7.BundleAgeBlock).Age() != 1234 {
				t.Errorf("dtn7-go reads age %v, %v", age, err)
			}
			hops, err := got.ExtensionBlock(bpv7.ExtBlockTypeHopCountBlock)
			if err != nil || *hops.Value.(*bpv7.HopCountBlock) != (bpv7.HopCountBlock{Limit: 30, Count: 2}) {
				t.Errorf("dtn7-go reads hops %v, %v", hops, err)
			}
			var again bytes.Buffer
			if err := got.MarshalCbor(&again); err != nil || !bytes.Equal(again.Bytes(), raw) {
				t.Errorf("dtn7-go encodes it as %x (%v), not %x", again.Bytes(), err, raw)
			}
		})
	}
}

func TestWeReadBundlesOfDTN7(t *testing.T) {
	for _, crc := range []bpv7.CRCType{bpv7.CRC16, bpv7.CRC32} {
		for _, eids := range [][2]string{{"ipn:1.11", "ipn:2.11"}, {"dtn://sat-17/agent", "dtn://ground/models"}} {
			b, err := bpv7.Builder().CRC(crc).Source(eids[0]).Destination(eids[1]).
				CreationTimestampNow().Lifetime("30m").HopCountBlock(64).BundleAgeBlock(5000).
				PreviousNodeBlock("dtn://gate/").PayloadBlock([]byte("Hello, DTN")).Build()
			if err != nil {
				t.Fatal(err)
			}
			var raw bytes.Buffer
			if err := b.MarshalCbor(&raw); err != nil {
				t.Fatal(err)
			}
			got, payload, err := Parse(raw.Bytes(), DefaultLimits())
			if err != nil {
				t.Fatalf("%x: %v", raw.Bytes(), err)
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
			hops, _ := got.HopCount()
			age, _ := got.Age()
			from, _ := got.PreviousNode()
			if got.Primary.Source.String() != eids[0] || got.Primary.Destination.String() != eids[1] || string(payload) != "Hello, DTN" ||
				got.Primary.Lifetime != 30*dtntime.Minute || hops.Limit != 64 || age != 5000 || from != DTN("gate", "") {
				t.Errorf("read as %+v, payload %q", got, payload)
			}
			if again := got.Append(nil, payload); !bytes.Equal(again, raw.Bytes()) {
				t.Errorf("encoded as %x, not %x", again, raw.Bytes())
			}
		}
	}
}
