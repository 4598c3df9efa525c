package badgerstore

import (
	"context"
	"encoding/binary"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"perigee/bundle"
	"perigee/bundle/store"
)

// A key of the lane index is the lane and the handle of one bundle in it. No lane
// begins with another one, so the bundles of a lane stand together, by handle.

// appendLane appends l.
func appendLane(b []byte, l store.Lane) []byte {
	return append(appendEID(append(b, byte(l.Duty)), l.Destination), byte(l.Priority))
}

func (d *decoder) lane() store.Lane {
	l := store.Lane{Duty: store.Duty(d.byte())}
	l.Destination = d.eid()
	l.Priority = bundle.Priority(d.byte())
	return l
}

// laneKey is the key of bundle h in lane l, without the prefix.
func laneKey(l store.Lane, h store.Handle) string {
	return string(binary.BigEndian.AppendUint64(appendLane(nil, l), uint64(h)))
}

// parseLaneKey takes a key apart that laneKey made.
func parseLaneKey(key []byte) (store.Lane, store.Handle, error) {
	d := decoder{b: key}
	l := d.lane()
	if d.err == nil && len(d.b) != 8 {
		d.fail("handle cut short")
	}
	if d.err != nil {
		return store.Lane{}, 0, fmt.Errorf("read the index: lane: %w", d.err)
	}
	return l, store.Handle(binary.BigEndian.Uint64(d.b)), nil
}

// Lanes implements store.Store.
func (s *Store) Lanes(after store.Lane, limit int) ([]store.Lane, error) {
	done, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer done()
	lanes, err := s.index.lanes(after, limit)
	if err != nil {
		return nil, fmt.Errorf("list the lanes behind %s: %w", after, err)
	}
	return lanes, nil
}

// lanes jumps from lane to lane, whatever the number of bundles in them.
func (x *index) lanes(after store.Lane, limit int) ([]store.Lane, error) {
	txn, err := x.snapshot()
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte{prefixLane}
	it := txn.NewIterator(o)
	defer it.Close()
	end := func(l store.Lane) []byte { // no handle is as large as this
		return append([]byte{prefixLane}, laneKey(l, ^store.Handle(0))...)
	}
	var out []store.Lane
	from := o.Prefix
	if after != (store.Lane{}) {
		from = end(after)
	}
	for len(out) < limit {
		it.Seek(from)
		if !it.Valid() {
			break
		}
		l, _, err := parseLaneKey(it.Item().Key()[1:])
		if err != nil {
			return nil, err
		}
		out = append(out, l)
		from = end(l)
	}
	return out, nil
}

// ScanLane implements store.Store.
func (s *Store) ScanLane(lane store.Lane, after store.Handle, limit int) ([]store.Record, error) {
	done, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer done()
	if limit <= 0 || after+1 == 0 {
		return nil, nil
	}
	var out []store.Record
	err = s.index.lane(lane, after+1, limit, func(e *entry) { out = append(out, e.record) })
	if err != nil {
		return nil, fmt.Errorf("scan lane %s behind %d: %w", lane, after, err)
	}
	return out, nil
}

// lane calls fn with up to limit entries of a lane, from handle first on.
func (x *index) lane(lane store.Lane, first store.Handle, limit int, fn func(*entry)) error {
	txn, err := x.snapshot()
	if err != nil {
		return err
	}
	defer txn.Discard()
	prefix := appendLane([]byte{}, lane)
	return x.eachIn(context.Background(), txn, prefixLane, []byte(laneKey(lane, first)), func(key, _ []byte) (bool, error) {
		if limit == 0 || string(key[:min(len(prefix), len(key))]) != string(prefix) {
			return false, nil
		}
		_, h, err := parseLaneKey(key)
		if err != nil {
			return false, err
		}
		value, err := readFrom(txn, entryKey(h))
		if err != nil {
			return false, err
		}
		if value == nil {
			return false, fmt.Errorf("read the index: bundle %d is in a lane but not there: %w", h, store.ErrCorrupt)
		}
		e, err := decodeEntry(value)
		if err != nil {
			return false, err
		}
		fn(e)
		limit--
		return limit > 0, nil
	})
}
