package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store"
)

// TestPager reads an index many times as large as what may be in memory of it.
func TestPager(t *testing.T) {
	const (
		records = 60_000
		limit   = 2 << 20
		slack   = 3 << 20 // tables that badger writes, and the program's own code
	)
	dir := t.TempDir()
	x, err := openIndex(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := store.Handle(0)
	for h < records {
		c := newChange(nothing{})
		for range 500 {
			h++
			r := store.Record{Handle: h, ID: bundle.ID{Source: bundle.DTN("a-node-with-a-long-name", "and-a-long-demux"), Created: bundle.Timestamp{Sequence: uint64(h)}}}
			r.Destination, r.ReportTo = r.ID.Source, r.ID.Source
			if err := c.putEntry(&entry{record: r, put: place{1, int64(h), 100}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.apply(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(x.flush(), x.close()); err != nil {
		t.Fatal(err)
	}
	if x, err = openIndex(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := x.close(); err != nil {
			t.Error(err)
		}
	}()
	if x.pager.statm == nil {
		t.Skip("this kernel does not take pages back when asked")
	}
	x.pager.mu.Lock()
	x.pager.limit = limit
	x.pager.mu.Unlock()
	size := 0
	for range 2 {
		n := 0
		err := x.each(context.Background(), prefixEntry, nil, func(key, value []byte) (bool, error) {
			n++
			size += len(key) + len(value)
			if !bytes.Equal(key, binary.BigEndian.AppendUint64(nil, uint64(n))) {
				return false, errors.New("keys are missing")
			}
			_, err := decodeEntry(value)
			return true, err
		})
		if err != nil || n != records {
			t.Fatalf("%d of %d entries were read: %v", n, records, err)
		}
		now, err := x.pager.mapped()
		if err != nil {
			t.Fatal(err)
		}
		if held := now - x.pager.base; held > limit+slack {
			t.Errorf("%d bytes of the index are in memory, the limit is %d", held, limit)
		}
	}
	if size < 4*(limit+slack) {
		t.Fatalf("%d bytes were read; the test proves nothing", size)
	}
}
