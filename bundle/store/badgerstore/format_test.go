package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store"
)

// records are values at the limits of their encoding.
func records() []store.Record {
	full := store.Record{
		Handle: math.MaxUint64,
		ID: bundle.ID{
			Source:   bundle.DTN("sat-17", "a/b"),
			Created:  bundle.Timestamp{Time: math.MaxUint64, Sequence: math.MaxUint64},
			Fragment: true, Offset: math.MaxUint64, Length: math.MaxUint64,
		},
		Destination: bundle.IPN(977000<<32|3, math.MaxUint32),
		ReportTo:    bundle.IPN(bundle.LocalNode, 7),
		Previous:    bundle.IPN(0, 0),
		Flags:       math.MaxUint64, Priority: 255, Duty: store.DutyDeliver,
		Received: math.MaxUint64, Expiry: math.MaxUint64, AgeReceived: math.MaxUint64, HasAge: true, Forwarded: math.MaxInt64,
		HeaderLen: math.MaxInt64, PayloadLen: math.MaxInt64, Size: math.MaxInt64,
		Custodial: true, Pared: true, Astray: true, Attempts: math.MaxUint32,
		From: store.Episode{Custodian: bundle.DTN("x", ""), SeqID: math.MaxUint64, SeqNum: 1},
		Own:  store.Episode{Custodian: bundle.IPN(5, 0), SeqID: 2, SeqNum: math.MaxUint64},

		Value:     math.MaxUint64,
		Spread:    store.Spread(strings.Repeat("9", store.MaxSpread)),
		Reporting: store.Reporting(strings.Repeat("8", store.MaxReporting)),
	}
	return []store.Record{{}, full}
}

func TestRecordEncoding(t *testing.T) {
	for _, want := range records() {
		b := appendRecord(nil, &want)
		d := decoder{b: b}
		if got := d.record(); d.end() != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, d.err, want)
		}
		for n := range len(b) {
			d := decoder{b: b[:n]}
			d.record()
			if err := d.end(); !errors.Is(err, errEncoding) {
				t.Errorf("cut at %d of %d: %v", n, len(b), err)
			}
		}
	}
}

func TestEntryAndTraceEncoding(t *testing.T) {
	for _, r := range records() {
		e := &entry{record: r, put: place{1, math.MaxInt64, 3}, file: 4, update: place{5, 6, 7}}
		b := appendEntry(nil, e)
		if got, err := decodeEntry(b); err != nil || *got != *e {
			t.Errorf("got %+v, %v; want %+v", got, err, e)
		}
		g := store.Gone{ID: r.ID, From: r.From, Reason: store.GoneExpired, At: r.Received, Until: r.Expiry}
		for _, want := range []trace{{live: 9}, {gone: g, at: place{1, 2, 3}}} {
			b := appendTrace(nil, &want)
			if got, err := decodeTrace(idKey(r.ID), b); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
			for n := range len(b) {
				if _, err := decodeTrace(idKey(r.ID), b[:n]); err == nil {
					t.Errorf("a trace cut at %d of %d was taken", n, len(b))
				}
			}
		}
	}
}

func TestLaneKeys(t *testing.T) {
	for _, r := range records() {
		l := r.Lane()
		key := laneKey(l, r.Handle)
		if got, h, err := parseLaneKey([]byte(key)); err != nil || got != l || h != r.Handle {
			t.Errorf("got %+v %d, %v; want %+v %d", got, h, err, l, r.Handle)
		}
		for n := range len(key) {
			if _, _, err := parseLaneKey([]byte(key[:n])); !errors.Is(err, errEncoding) {
				t.Errorf("cut at %d of %d: %v", n, len(key), err)
			}
		}
	}
}

func FuzzParseLaneKey(f *testing.F) {
	for _, r := range records() {
		f.Add([]byte(laneKey(r.Lane(), r.Handle)))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		l, h, err := parseLaneKey(key)
		if err != nil {
			return
		}
		again, h2, err := parseLaneKey([]byte(laneKey(l, h)))
		if err != nil || again != l || h2 != h {
			t.Errorf("parsed %+v %d, encoded and parsed again %+v %d, %v", l, h, again, h2, err)
		}
	})
}

func TestUnstorableEIDIsRefused(t *testing.T) {
	r := store.Record{Destination: bundle.DTN("bad name", "x")}
	if err := checkRecord(&r); !errors.Is(err, bundle.ErrEID) {
		t.Errorf("got %v, want ErrEID", err)
	}
}

// memFile is a file for the walker.
type memFile struct {
	*bytes.Reader
	File
}

func (m memFile) ReadAt(b []byte, off int64) (int, error) { return m.Reader.ReadAt(b, off) }
func (m memFile) Size() (int64, error)                    { return m.Reader.Size(), nil }

const testSalt = 0x1234567890abcdef

// testFrame returns a frame with one counter for each name.
func testFrame(seq, salt uint64, data []byte, names ...string) []byte {
	var f frameBuilder
	f.reset(0)
	for _, name := range names {
		f.add(kindCounter, appendCounter(nil, name, seq), data, crc32.Checksum(data, newCRC()))
	}
	return frameBytes(&f, seq, salt)
}

// frameBytes returns a frame as it is written.
func frameBytes(f *frameBuilder, seq, salt uint64) []byte {
	f.finish(seq, salt)
	var b sliceWriter
	if err := f.writeTo(&b); err != nil {
		panic(err) // a slice takes everything
	}
	return b
}

// sliceWriter is written to like a file.
type sliceWriter []byte

func (w *sliceWriter) WriteAt(b []byte, off int64) (int, error) {
	if missing := off + int64(len(b)) - int64(len(*w)); missing > 0 {
		*w = append(*w, make([]byte, missing)...)
	}
	return copy((*w)[off:], b), nil
}

// TestFrameOfLargeData mixes data that is copied into a frame with data that is
// written from where it is, and takes some of it back.
func TestFrameOfLargeData(t *testing.T) {
	var f frameBuilder
	f.reset(0)
	var want [][]byte
	var places []place
	for i, size := range []int{10, copyLimit + 1, copyLimit, 0, 3 * copyLimit, 5} {
		data := bytes.Repeat([]byte{byte(i + 1)}, size)
		m := f.mark()
		f.add(kindCounter, []byte("rejected"), data, 0)
		f.add(kindCounter, []byte("rejected"), bytes.Repeat(data, 2), 0)
		f.rewind(m)
		places = append(places, f.add(kindCounter, []byte("kept"), data, crc32.Checksum(data, newCRC())))
		want = append(want, data)
	}
	log := frameBytes(&f, 1, testSalt)
	if int64(len(log)) != f.size() {
		t.Errorf("%d bytes were written, the frame says %d", len(log), f.size())
	}
	if got := walkBytes(t, log); got.records != len(want) || got.damage+len(got.gaps) > 0 {
		t.Fatalf("found %+v, want %d records", got, len(want))
	}
	for i, p := range places {
		if got := log[p.offset : p.offset+p.size]; !bytes.HasSuffix(got, want[i]) || string(got[recordHeaderSize:recordHeaderSize+4]) != "kept" {
			t.Errorf("record %d is not where it should be", i)
		}
	}
}

// TestFirstRecordVersion reads a record whose checksum is over the data itself.
func TestFirstRecordVersion(t *testing.T) {
	log := testFrame(1, testSalt, []byte("some data"), "a")
	rec := log[frameHeaderSize:]
	rec[1] = 1
	crc := crc32.Update(crc32.Checksum(rec[:12], newCRC()), newCRC(), rec[recordHeaderSize:])
	binary.LittleEndian.PutUint32(rec[12:], crc)
	h := frameHeader{seq: 1, body: int64(len(rec)), records: 1, sum: crc32.Checksum(rec[12:16], newCRC())}
	log = append(h.append(nil, testSalt), rec...)
	if got := walkBytes(t, log); got.records != 1 || got.damage != 0 {
		t.Errorf("found %+v, want one good record", got)
	}
	log[len(log)-1] ^= 1
	if got := walkBytes(t, log); got.records != 0 || got.damage != 1 {
		t.Errorf("found %+v, want one damaged record", got)
	}
}

// walked is what a walker finds.
type walked struct {
	seqs    []uint64
	records int
	damage  int
	gaps    []damage
}

func walkBytes(t testing.TB, log []byte) walked {
	t.Helper()
	var found walked
	w := walker{file: memFile{Reader: bytes.NewReader(log)}, num: 1, key: testSalt, size: int64(len(log))}
	at := int64(0)
	w.frame = func(fr *frame) error {
		if fr.offset != at || fr.end <= fr.offset || fr.end > w.size {
			t.Errorf("frame from %d to %d of %d, want it at %d", fr.offset, fr.end, w.size, at)
		}
		at = fr.end
		found.seqs = append(found.seqs, fr.seq)
		found.records += len(fr.records)
		found.damage += len(fr.damage)
		return nil
	}
	w.gap = func(d damage) error {
		if d.offset != at || d.end <= d.offset || d.end > w.size {
			t.Errorf("gap from %d to %d of %d, want it at %d", d.offset, d.end, w.size, at)
		}
		at = d.end
		found.gaps = append(found.gaps, d)
		return nil
	}
	if err := w.walk(context.Background()); err != nil {
		t.Fatal(err)
	}
	if at != w.size {
		t.Errorf("the walk ended at %d of %d", at, w.size)
	}
	return found
}

// TestWalkTruncated cuts a log at every byte: what is whole is found, the rest is
// one gap.
func TestWalkTruncated(t *testing.T) {
	first := testFrame(1, testSalt, []byte("some data"), "a", "b")
	log := append(bytes.Clone(first), testFrame(2, testSalt, nil, "c")...)
	for n := range len(log) + 1 {
		got := walkBytes(t, log[:n])
		frames, gaps := 0, 0
		if n > 0 {
			gaps = 1
		}
		if n >= len(first) {
			frames, gaps = 1, 1
		}
		if n == len(first) || n == len(log) {
			gaps = 0
		}
		if n == len(log) {
			frames = 2
		}
		if len(got.seqs) != frames || len(got.gaps) != gaps || got.damage != 0 {
			t.Errorf("cut at %d of %d: %+v, want %d frames and %d gaps", n, len(log), got, frames, gaps)
		}
	}
}

// TestWalkFlipped inverts every byte in turn of the middle one of three frames. The
// other two are found, and the damage is noticed.
func TestWalkFlipped(t *testing.T) {
	a, b, c := testFrame(1, testSalt, nil, "a"), testFrame(2, testSalt, []byte("data"), "b", "bb"), testFrame(3, testSalt, nil, "c")
	for i := range b {
		log := append(append(bytes.Clone(a), b...), c...)
		log[len(a)+i] ^= 0xff
		got := walkBytes(t, log)
		if len(got.seqs) < 2 || got.seqs[0] != 1 || got.seqs[len(got.seqs)-1] != 3 {
			t.Errorf("byte %d: found frames %v", i, got.seqs)
		}
		if got.damage+len(got.gaps) == 0 {
			t.Errorf("byte %d: no damage was noticed", i)
		}
	}
}

// TestFrameInsideBundle damages the header of a frame with a bundle that holds what
// looks like a frame. It must not be taken for one.
func TestFrameInsideBundle(t *testing.T) {
	forged := testFrame(5, testSalt+1, nil, "forged") // the sender does not know the salt
	real := testFrame(1, testSalt, forged, "real")
	real[9] ^= 1
	log := append(real, testFrame(2, testSalt, nil, "next")...)
	got := walkBytes(t, log)
	if len(got.seqs) != 1 || got.seqs[0] != 2 || len(got.gaps) != 1 {
		t.Errorf("found %+v, want frame 2 alone", got)
	}
}

func FuzzWalk(f *testing.F) {
	whole := append(testFrame(1, testSalt, []byte("data"), "a", "b"), testFrame(2, testSalt, nil, "c")...)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(whole[10:])
	f.Fuzz(func(t *testing.T, log []byte) { walkBytes(t, log) })
}

func FuzzDecodeEntry(f *testing.F) {
	for _, r := range records() {
		f.Add(appendEntry(nil, &entry{record: r, put: place{1, 2, 3}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		again, err := decodeEntry(appendEntry(nil, e))
		if err != nil || *again != *e {
			t.Errorf("decoded %+v, encoded and decoded again %+v, %v", e, again, err)
		}
	})
}

func FuzzReplay(f *testing.F) {
	for _, r := range records() {
		f.Add(byte(kindPut), appendPut(nil, 3, 4, &r))
		f.Add(byte(kindUpdate), appendRecord(nil, &r))
		g := store.Gone{ID: r.ID, Until: 5}
		f.Add(byte(kindDelete), appendDelete(nil, 1, &g))
		f.Add(byte(kindGone), appendGone(appendID(nil, r.ID), &g))
	}
	f.Add(byte(kindCounter), appendCounter(nil, "name", 5))
	f.Fuzz(func(t *testing.T, k byte, meta []byte) {
		c := newChange(nothing{})
		err := c.replay(&record{kind: kind(k), meta: meta, place: place{1, 2, recordHeaderSize + int64(len(meta))}})
		if err != nil && !errors.Is(err, errEncoding) {
			t.Errorf("got %v, which is no errEncoding", err)
		}
	})
}

// nothing is an empty index.
type nothing struct{}

func (nothing) entry(store.Handle) (*entry, error) { return nil, nil }
func (nothing) trace(string) (trace, error)        { return trace{}, nil }
func (nothing) counter(string) (counter, error)    { return counter{}, nil }
