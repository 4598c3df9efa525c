package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The log is a row of segment files. A segment is a header and then frames; a
// frame is what one sync made durable, whole or not at all: the changes of one or
// more commits. All numbers are little endian, all checksums CRC-32C.
//
//	segment header   magic "PERILOG2", number u64, salt u64, crc u32, zero u32
//	frame header     magic u32, version u8, 3 zero, sequence u64,
//	                 body length u32, records u32, crc of the records' crcs u32,
//	                 crc of key and header u32
//	record           kind u8, version u8, 2 zero, meta length u32,
//	                 data length u32, crc u32, meta, data
//
// A record's checksum is over its header before the checksum, its meta, and the
// checksum of its data, which is made while the data arrives. In version 1 it was
// over the data itself.
//
// Bundles come from strangers, and one could hold what looks like a frame. The
// salt keeps such a frame from being taken for one when the log is searched for
// the next good frame behind damage. The number of the segment, which is in the key
// too, does the same for frames of the segment that a file was before. In segments
// with the magic "PERILOG1", whose files were new, the key is the salt alone.
const (
	segmentMagic      = "PERILOG2"
	segmentMagic1     = "PERILOG1"
	segmentHeaderSize = 32
	frameMagic        = 0x4652_4750 // "PGRF"
	frameVersion      = 1
	frameHeaderSize   = 32
	recordVersion     = 2
	recordHeaderSize  = 16
	// maxFrame is the longest body of a frame, and so of what one commit may
	// write beside large bundles.
	maxFrame = 1 << 30
)

// kind says what a record is.
type kind uint8

const (
	kindPut     kind = 1 // a bundle: its record, and its bytes or the file they are in
	kindUpdate  kind = 2 // a new record of a bundle
	kindDelete  kind = 3 // a bundle that left
	kindCounter kind = 4
	kindGone    kind = 5 // what is remembered of a bundle that left before
)

func newCRC() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// appendSegmentHeader appends the header of segment num.
func appendSegmentHeader(b []byte, num, salt uint64) []byte {
	at := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, num)
	b = binary.LittleEndian.AppendUint64(b, salt)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], newCRC()))
	return append(b, 0, 0, 0, 0)
}

var errSegmentHeader = errors.New("segment header is damaged")

// parseSegmentHeader returns the salt of segment num and the key of its frames.
func parseSegmentHeader(b []byte, num uint64) (salt, key uint64, err error) {
	if len(b) < segmentHeaderSize || binary.LittleEndian.Uint64(b[8:]) != num ||
		crc32.Checksum(b[:24], newCRC()) != binary.LittleEndian.Uint32(b[24:]) {
		return 0, 0, errSegmentHeader
	}
	salt = binary.LittleEndian.Uint64(b[16:])
	switch string(b[:8]) {
	case segmentMagic:
		return salt, frameKey(salt, num), nil
	case segmentMagic1:
		return salt, salt, nil
	}
	return 0, 0, errSegmentHeader
}

// frameKey is the key of the frames of segment num.
func frameKey(salt, num uint64) uint64 { return salt ^ num }

// frameHeader is what stands before the records of a frame.
type frameHeader struct {
	seq     uint64
	body    int64 // bytes of all records
	records uint32
	sum     uint32 // checksum of the records' checksums
}

func (h frameHeader) append(b []byte, key uint64) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, frameMagic)
	b = append(b, frameVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, h.seq)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.body))
	b = binary.LittleEndian.AppendUint32(b, h.records)
	b = binary.LittleEndian.AppendUint32(b, h.sum)
	return binary.LittleEndian.AppendUint32(b, headerCRC(b[at:], key))
}

func headerCRC(b []byte, key uint64) uint32 {
	var front [8]byte
	binary.LittleEndian.PutUint64(front[:], key)
	table := newCRC()
	return crc32.Update(crc32.Checksum(front[:], table), table, b)
}

// parseFrameHeader reads the header at the front of b and tells whether it is one.
func parseFrameHeader(b []byte, key uint64) (frameHeader, bool) {
	if len(b) < frameHeaderSize || binary.LittleEndian.Uint32(b) != frameMagic || b[4] != frameVersion {
		return frameHeader{}, false
	}
	h := frameHeader{
		seq:     binary.LittleEndian.Uint64(b[8:]),
		body:    int64(binary.LittleEndian.Uint32(b[16:])),
		records: binary.LittleEndian.Uint32(b[20:]),
		sum:     binary.LittleEndian.Uint32(b[24:]),
	}
	ok := binary.LittleEndian.Uint32(b[28:]) == headerCRC(b[:28], key) && h.body <= maxFrame
	return h, ok
}

// recordHeader is what stands before the meta and data of a record.
type recordHeader struct {
	kind    kind
	version byte
	meta    int64
	data    int64
	crc     uint32
}

func (h recordHeader) size() int64 { return recordHeaderSize + h.meta + h.data }

var errRecordHeader = errors.New("record header is damaged")

func parseRecordHeader(b []byte, left int64) (recordHeader, error) {
	h := recordHeader{
		kind: kind(b[0]),
		meta: int64(binary.LittleEndian.Uint32(b[4:])),
		data: int64(binary.LittleEndian.Uint32(b[8:])),
		crc:  binary.LittleEndian.Uint32(b[12:]),
	}
	if h.meta > maxMeta || h.size() > left {
		return h, errRecordHeader
	}
	if h.version = b[1]; h.version < 1 || h.version > recordVersion {
		return h, fmt.Errorf("record version %d is unknown", b[1])
	}
	return h, nil
}

// recordCRC is the checksum of a record whose header up to the checksum is head.
func recordCRC(head, meta []byte, dataCRC uint32) uint32 {
	table := newCRC()
	crc := crc32.Update(crc32.Checksum(head, table), table, meta)
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], dataCRC)
	return crc32.Update(crc, table, b[:])
}

// copyLimit is the largest data of a record that is copied into a frame. Larger data
// is written from where it is.
const copyLimit = 16 << 10

// frameBuilder puts a frame together in memory. The frame will stand at offset
// base of its segment.
type frameBuilder struct {
	buf     []byte   // room for the frame header, then records
	inserts []insert // data that belongs between bytes of buf
	apart   int64    // bytes of inserts
	crcs    []byte
	base    int64
	count   uint32
}

// insert is data that follows the first at bytes of a frame's buf.
type insert struct {
	at   int
	data []byte
}

func (f *frameBuilder) reset(base int64) {
	if cap(f.buf) > 32<<20 {
		f.buf = nil // one huge commit must not hold its memory for ever
	}
	f.buf = append(f.buf[:0], make([]byte, frameHeaderSize)...)
	f.letGo()
	f.crcs = f.crcs[:0]
	f.base, f.count = base, 0
}

// letGo forgets the data that was not copied.
func (f *frameBuilder) letGo() {
	clear(f.inserts)
	f.inserts, f.apart = f.inserts[:0], 0
}

// mark is a state of the builder to go back to.
type mark struct {
	buf, inserts, crcs int
	apart              int64
	count              uint32
}

func (f *frameBuilder) mark() mark {
	return mark{len(f.buf), len(f.inserts), len(f.crcs), f.apart, f.count}
}

func (f *frameBuilder) rewind(m mark) {
	clear(f.inserts[m.inserts:])
	f.buf, f.inserts, f.crcs = f.buf[:m.buf], f.inserts[:m.inserts], f.crcs[:m.crcs]
	f.apart, f.count = m.apart, m.count
}

// place is where a record stands in the log.
type place struct {
	segment uint64
	offset  int64 // of the record's header
	size    int64 // of the whole record
}

// add appends a record and returns where it will stand, without the segment. data,
// whose checksum is dataCRC, may not change before the frame is written.
func (f *frameBuilder) add(k kind, meta, data []byte, dataCRC uint32) place {
	at, offset := len(f.buf), f.size()
	f.buf = append(f.buf, byte(k), recordVersion, 0, 0)
	f.buf = binary.LittleEndian.AppendUint32(f.buf, uint32(len(meta)))
	f.buf = binary.LittleEndian.AppendUint32(f.buf, uint32(len(data)))
	crc := recordCRC(f.buf[at:], meta, dataCRC)
	f.buf = binary.LittleEndian.AppendUint32(f.buf, crc)
	f.crcs = binary.LittleEndian.AppendUint32(f.crcs, crc)
	f.buf = append(f.buf, meta...)
	if len(data) <= copyLimit {
		f.buf = append(f.buf, data...)
	} else {
		f.inserts = append(f.inserts, insert{len(f.buf), data})
		f.apart += int64(len(data))
	}
	f.count++
	return place{offset: f.base + offset, size: f.size() - offset}
}

// size is the number of bytes of the frame.
func (f *frameBuilder) size() int64 { return int64(len(f.buf)) + f.apart }

// body is the number of bytes of all records.
func (f *frameBuilder) body() int64 { return f.size() - frameHeaderSize }

// finish fills in the header and returns it.
func (f *frameBuilder) finish(seq, key uint64) []byte {
	h := frameHeader{seq: seq, body: f.body(), records: f.count, sum: crc32.Checksum(f.crcs, newCRC())}
	h.append(f.buf[:0], key)
	return f.buf[:frameHeaderSize]
}

// writeTo writes the frame to its place.
func (f *frameBuilder) writeTo(w io.WriterAt) error {
	off, from := f.base, 0
	write := func(b []byte) error {
		n, err := w.WriteAt(b, off)
		off += int64(n)
		return err
	}
	for _, in := range f.inserts {
		if err := write(f.buf[from:in.at]); err != nil {
			return err
		}
		if err := write(in.data); err != nil {
			return err
		}
		from = in.at
	}
	return write(f.buf[from:])
}
