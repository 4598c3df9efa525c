package bundle

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
)

// contentSamples are blocks with content that is read.
func contentSamples() []Block {
	return []Block{
		PreviousNodeBlock(2, IPN(7, 0)), PreviousNodeBlock(2, DTN("sat-17", "")), PreviousNodeBlock(2, EID{}),
		BundleAgeBlock(2, 0), BundleAgeBlock(2, math.MaxUint64),
		HopCountBlock(2, HopCount{Limit: 255, Count: 24}),
		PriorityBlock(2, PriorityExpedited),
		CustodyBlock(2, Custody{SeqNum: 7, SeqID: 300, Custodian: DTN("a", "b")}),
		ReportingBlock(2, Reporting{SeqNum: 7, Source: IPN(1<<40, 1), ReportTo: DTN("a", "b")}),
	}
}

// reread reads the content of a block of a type that is known and returns a block
// with that content.
func reread(blk *Block) (Block, error) {
	switch blk.Type {
	case TypePreviousNode:
		e, err := blk.PreviousNode()
		return PreviousNodeBlock(blk.Number, e), err
	case TypeBundleAge:
		age, err := blk.BundleAge()
		return BundleAgeBlock(blk.Number, age), err
	case TypeHopCount:
		h, err := blk.HopCount()
		return HopCountBlock(blk.Number, h), err
	case TypePriority:
		c, err := blk.Class()
		return ClassBlock(blk.Number, c), err
	case TypeCustody:
		c, err := blk.Custody()
		return CustodyBlock(blk.Number, c), err
	case TypeReporting:
		r, err := blk.Reporting()
		return ReportingBlock(blk.Number, r), err
	}
	return Block{}, errors.New("type without content")
}

func TestContentsCutEverywhere(t *testing.T) {
	for _, blk := range contentSamples() {
		again, err := reread(&blk)
		if err != nil || !bytes.Equal(again.Data, blk.Data) {
			t.Fatalf("%s: %x comes back as %x, %v", blk.Type, blk.Data, again.Data, err)
		}
		for i := range blk.Data {
			cut := blk
			cut.Data = blk.Data[:i]
			_, err := reread(&cut)
			wantParseError(t, err, len(blk.Data))
			if errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s cut at %d: more input is asked for, of a block that is whole", blk.Type, i)
			}
		}
		long := blk
		long.Data = append(bytes.Clone(blk.Data), 0)
		if _, err := reread(&long); err == nil {
			t.Fatalf("%s: a byte behind the content is not noticed", blk.Type)
		}
	}
}

func TestEIDsCutEverywhere(t *testing.T) {
	for _, e := range []EID{{}, IPN(1, 7), IPN(977000<<32|3, math.MaxUint32), DTN("sat-17", "models")} {
		raw := e.AppendCBOR(nil)
		for i := range raw {
			_, _, err := DecodeEID(raw[:i])
			if wantParseError(t, err, len(raw)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s cut at %d: %v", e, i, err)
			}
		}
	}
}

// FuzzContents reads anything as the content of every block that is known.
func FuzzContents(f *testing.F) {
	for _, blk := range contentSamples() {
		f.Add(uint64(blk.Type), blk.Data)
	}
	f.Fuzz(func(t *testing.T, kind uint64, data []byte) {
		blk := Block{Type: BlockType(kind), Number: 2, Data: data}
		if !blk.Type.Known() || blk.Type == TypePayload || blk.Type == TypeBIB || blk.Type == TypeBCB {
			blk.targets(kind)
			return
		}
		first, err := reread(&blk)
		if err != nil {
			wantParseError(t, err, len(data))
			return
		}
		second, err := reread(&first)
		if err != nil || !bytes.Equal(first.Data, second.Data) {
			t.Fatalf("%s: %x gives %x gives %x, %v", blk.Type, data, first.Data, second.Data, err)
		}
		// What a parser checks without reading is what a reader takes.
		if blk.Type.single() && blk.Type.quickContent(data) {
			return
		}
		b := Bundle{Extensions: []Block{blk}}
		if _, err := b.checkContents(); err != nil {
			t.Fatalf("%s: %x is read but not let in: %v", blk.Type, data, err)
		}
	})
}

// FuzzDecodeEID reads anything as an EID on the wire.
func FuzzDecodeEID(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.bndl.Primary.Source.AppendCBOR(nil))
		f.Add(s.bndl.Primary.Destination.AppendCBOR(nil))
	}
	f.Add([]byte{0x82, 2, 0x83, 1, 2, 3})
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, n, err := DecodeEID(raw)
		if err != nil {
			wantParseError(t, err, len(raw))
			return
		}
		again := e.AppendCBOR(nil)
		if len(again) != e.cborLen() {
			t.Fatalf("%s takes %d bytes, cborLen says %d", e, len(again), e.cborLen())
		}
		if back, m, err := DecodeEID(again); err != nil || m != len(again) || back != e {
			t.Fatalf("%x is %s, which comes back from %x as %s, %v", raw[:n], e, again, back, err)
		}
		if back, err := ParseEID(e.String()); err != nil || back != e {
			t.Fatalf("%x is %s, which reads as %s, %v", raw[:n], e, back, err)
		}
	})
}

// FuzzPriorityText reads anything as a class of service.
func FuzzPriorityText(f *testing.F) {
	for p := PriorityBulk; p <= PriorityExpedited+1; p++ {
		f.Add(p.String())
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p Priority
		if p.UnmarshalText([]byte(text)) == nil && p.String() != text {
			t.Fatalf("%q is %s", text, p)
		}
	})
}
