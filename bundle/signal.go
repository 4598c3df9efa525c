package bundle

import (
	"slices"

	"perigee/bundle/internal/cbor"
)

// signalEntry is what a compressed signal says under one key: a disposition or a
// status.
type signalEntry struct {
	key  int64
	list []Sequence
}

// appendSignals returns administrative records of the given type that together say
// what entries say, each within the limits of one record.
func (cp CodePoints) appendSignals(record uint64, entries []signalEntry) [][]byte {
	most := MaxSequences
	if cp.Unwrapped {
		most = 1
	}
	left := make([]signalEntry, 0, len(entries))
	for _, e := range entries {
		e.list = splitAll(e.list, cp.Extents)
		left = append(left, e)
	}
	var records [][]byte
	for {
		left = slices.DeleteFunc(left, func(e signalEntry) bool { return len(e.list) == 0 })
		if len(left) == 0 {
			return records
		}
		dst := cbor.AppendUint([]byte{0x82}, record)
		dst = cbor.AppendHead(dst, cbor.MajorMap, uint64(len(left)))
		for i := range left {
			e := &left[i]
			n := min(len(e.list), most)
			dst = cp.appendEntry(dst, e.key, e.list[:n])
			e.list = e.list[n:]
		}
		records = append(records, dst)
	}
}

// appendEntry appends one key and its sequences, which are in canonical form.
func (cp CodePoints) appendEntry(dst []byte, key int64, list []Sequence) []byte {
	dst = cbor.AppendInt(dst, key)
	if !cp.Unwrapped {
		dst = cbor.AppendArray(dst, len(list))
	}
	for i := range list {
		dst = list[i].append(dst)
	}
	return dst
}

// signalParser reads compressed signals of one kind.
type signalParser struct {
	name      string // for errors
	section   string
	record    uint64 // a tag with this number may stand in front
	unwrapped bool
	sources   bool // sequences may name the source of the blocks
	// take gets the sequences of a key, and tells whether it knows the key. With
	// nil it only tells.
	take func(key int64, list []Sequence) bool
}

// parse reads the content of the record and returns how many entries it did not
// know.
func (p *signalParser) parse(d *cbor.Decoder) (int, error) {
	ignored, err := p.scan(d)
	if err != nil {
		parse := asParseError(err, 0, "6.1")
		parse.Section = p.section
		return 0, parse
	}
	return ignored, nil
}

func (p *signalParser) scan(d *cbor.Decoder) (ignored int, err error) {
	at := d.Offset()
	if tag, ok, err := d.Tag(); err != nil {
		return 0, err
	} else if ok && tag != p.record {
		return 0, malformed(at, "", "%s has tag %d", p.name, tag)
	}
	pairs, err := d.Map()
	if err != nil {
		return 0, err
	}
	var seen [maxEntries]int64
	for n := 0; ; n++ {
		more, err := d.More(&pairs)
		if err != nil {
			return 0, err
		}
		if !more {
			if n == 0 {
				return 0, malformed(at, "", "%s is empty", p.name)
			}
			return ignored, nil
		}
		keyAt := d.Offset()
		if n == maxEntries {
			return 0, malformed(keyAt, "", "%s has more than %d entries", p.name, maxEntries)
		}
		key, err := d.Int()
		if err != nil {
			return 0, err
		}
		if slices.Contains(seen[:n], key) {
			return 0, malformed(keyAt, "", "entry %d of the %s comes twice", key, p.name)
		}
		seen[n] = key
		if !p.take(key, nil) {
			ignored++
			err = d.Skip()
		} else {
			err = p.entry(d, key)
		}
		if err != nil {
			return 0, err
		}
	}
}

// entry reads the sequences of one key.
func (p *signalParser) entry(d *cbor.Decoder, key int64) error {
	if p.unwrapped {
		seq, err := parseSequence(d, p.sources)
		if err == nil {
			p.take(key, []Sequence{seq})
		}
		return err
	}
	list, err := parseSequences(d, p.sources)
	if err == nil {
		p.take(key, list)
	}
	return err
}
