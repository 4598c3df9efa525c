package badgerstore

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// frame is a frame read back from the log.
type frame struct {
	frameHeader
	num     uint64 // of the segment
	offset  int64
	end     int64
	records []record // those that are whole
	damage  []damage // those that are not
}

// record is a record read back from the log, without its data.
type record struct {
	kind kind
	meta []byte
	place
	data int64 // length of the data
}

// dataOffset is where the data stands in the segment.
func (r *record) dataOffset() int64 { return r.offset + r.size - r.data }

// damage is a range of a segment that does not make sense.
type damage struct {
	offset, end int64
	why         string
}

func (d damage) String() string {
	return fmt.Sprintf("bytes %d to %d: %s", d.offset, d.end, d.why)
}

// walker reads the frames of one segment in order. Only one frame's metas are in
// memory at a time.
type walker struct {
	file File
	num  uint64
	key  uint64 // of its frames
	from int64  // a frame boundary
	size int64  // bytes to look at
	// frame is called with every frame found, gap with every range between
	// frames that holds none. The last gap may be a torn frame.
	frame func(*frame) error
	gap   func(damage) error
	// skip, unless it is nil, tells which records are not wanted. They are not
	// given to frame, and their data is neither read nor checked.
	skip func(*record) (bool, error)

	in *bufio.Reader // reused for every frame
}

// walk reads until the end of the segment, ctx ends or a callback fails.
func (w *walker) walk(ctx context.Context) error {
	head := make([]byte, frameHeaderSize)
	lastSeq := uint64(0)
	for off := w.from; off < w.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, ok, err := w.header(head, off)
		if err != nil {
			return err
		}
		if !ok || h.seq <= lastSeq || h.body > w.size-off-frameHeaderSize {
			next := w.size
			if !ok { // a good header whose body is missing is a torn frame
				if next, err = w.search(ctx, off+1, lastSeq); err != nil {
					return err
				}
			}
			if err := w.gap(damage{off, next, "no frame"}); err != nil {
				return err
			}
			off = next
			continue
		}
		lastSeq = h.seq
		fr, err := w.read(h, off)
		if err != nil {
			return err
		}
		if err := w.frame(fr); err != nil {
			return err
		}
		off = fr.end
	}
	return nil
}

func (w *walker) header(buf []byte, off int64) (frameHeader, bool, error) {
	if w.size-off < frameHeaderSize {
		return frameHeader{}, false, nil
	}
	if _, err := w.file.ReadAt(buf, off); err != nil {
		return frameHeader{}, false, fmt.Errorf("read %s at %d: %w", segmentName(w.num), off, err)
	}
	h, ok := parseFrameHeader(buf, w.key)
	return h, ok, nil
}

// search looks for the next frame header at or behind off, and returns the size
// of the segment when there is none.
func (w *walker) search(ctx context.Context, off int64, lastSeq uint64) (int64, error) {
	buf := make([]byte, 64<<10)
	for off+frameHeaderSize <= w.size {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n := int(min(int64(len(buf)), w.size-off))
		if _, err := w.file.ReadAt(buf[:n], off); err != nil {
			return 0, fmt.Errorf("read %s at %d: %w", segmentName(w.num), off, err)
		}
		last := n - frameHeaderSize
		for i := 0; i <= last; i++ {
			if binary.LittleEndian.Uint32(buf[i:]) != frameMagic {
				continue
			}
			h, ok := parseFrameHeader(buf[i:n], w.key)
			if ok && h.seq > lastSeq && h.body <= w.size-off-int64(i)-frameHeaderSize {
				return off + int64(i), nil
			}
		}
		off += int64(last) + 1
	}
	return w.size, nil
}

// read reads the records of the frame at off, which is known to fit.
func (w *walker) read(h frameHeader, off int64) (*frame, error) {
	fr := &frame{frameHeader: h, num: w.num, offset: off, end: off + frameHeaderSize + h.body}
	pos := off + frameHeaderSize
	if w.in == nil {
		w.in = bufio.NewReaderSize(nil, 128<<10)
	}
	in := w.in
	in.Reset(io.NewSectionReader(w.file, pos, h.body))
	table := newCRC()
	var crcs [4]byte
	sum, skipped := uint32(0), uint32(0)
	var head [recordHeaderSize]byte
	for pos < fr.end {
		if fr.end-pos < recordHeaderSize {
			fr.damage = append(fr.damage, damage{pos, fr.end, "record cut short"})
			return fr, nil
		}
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", segmentName(w.num), pos, err)
		}
		rh, err := parseRecordHeader(head[:], fr.end-pos)
		if err != nil {
			fr.damage = append(fr.damage, damage{pos, fr.end, err.Error()})
			return fr, nil
		}
		meta := make([]byte, rh.meta)
		if _, err := io.ReadFull(in, meta); err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", segmentName(w.num), pos, err)
		}
		rec := record{rh.kind, meta, place{w.num, pos, rh.size()}, rh.data}
		if w.skip != nil {
			skip, err := w.skip(&rec)
			if err != nil {
				return nil, err
			}
			if skip {
				binary.LittleEndian.PutUint32(crcs[:], rh.crc)
				sum = crc32.Update(sum, table, crcs[:])
				skipped++
				pos += rh.size()
				w.seek(in, pos, fr.end, rh.data)
				continue
			}
		}
		crc := uint32(0)
		if rh.version == 1 {
			crc = crc32.Update(crc32.Checksum(head[:12], table), table, meta)
		}
		if crc, err = crcOf(in, rh.data, crc, table); err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", segmentName(w.num), pos, err)
		}
		if rh.version > 1 {
			crc = recordCRC(head[:12], meta, crc)
		}
		binary.LittleEndian.PutUint32(crcs[:], rh.crc)
		sum = crc32.Update(sum, table, crcs[:])
		if crc != rh.crc {
			fr.damage = append(fr.damage, damage{pos, pos + rh.size(), "record does not match its checksum"})
		} else {
			fr.records = append(fr.records, rec)
		}
		pos += rh.size()
	}
	if len(fr.damage) == 0 && (sum != h.sum || uint32(len(fr.records))+skipped != h.records) {
		fr.damage = append(fr.damage, damage{off, fr.end, "records do not match the frame's checksum"})
	}
	return fr, nil
}

// seek moves in over n bytes to pos. end is the end of what in may read.
func (w *walker) seek(in *bufio.Reader, pos, end, n int64) {
	if n <= int64(in.Buffered()) {
		_, _ = in.Discard(int(n)) // cannot fail: the bytes are there
		return
	}
	in.Reset(io.NewSectionReader(w.file, pos, end-pos))
}

// crcOf adds the next n bytes of in to crc.
func crcOf(in *bufio.Reader, n int64, crc uint32, table *crc32.Table) (uint32, error) {
	for n > 0 {
		chunk, err := in.Peek(int(min(n, int64(in.Size()))))
		if len(chunk) == 0 {
			return 0, err
		}
		crc = crc32.Update(crc, table, chunk)
		_, _ = in.Discard(len(chunk)) // cannot fail: the bytes were peeked
		n -= int64(len(chunk))
	}
	return crc, nil
}
