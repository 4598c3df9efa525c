package badgerstore

import (
	"fmt"
	"hash/crc32"

	"perigee/bundle/store"
)

// planInto adds the records of r to the frame and their effect to c, or says why r
// cannot be done; then c is as it was.
func (s *Store) planInto(c *change, r *request) error {
	if len(r.ops) == 1 { // which changes nothing when it fails
		return s.planOp(c, r.ops[0])
	}
	part := newChange(c)
	if err := s.plan(part, r); err != nil {
		return err
	}
	c.merge(part)
	return nil
}

func (s *Store) plan(c *change, r *request) error {
	if len(r.moves) > 0 {
		all := s.allRemembered(r.moves[0].segment)
		for _, m := range r.moves {
			if err := s.planMove(c, m, all); err != nil {
				return err
			}
		}
	}
	for _, op := range r.ops {
		if err := s.planOp(c, op); err != nil {
			return err
		}
	}
	return nil
}

// allRemembered tells whether everything that segment num tells of bundles that left
// is in use, so that the index need not be asked about each.
func (s *Store) allRemembered(num uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.segments[num]
	return seg != nil && seg.gone == seg.told
}

func (s *Store) planOp(c *change, op store.Op) error {
	data := int64(0)
	if put, ok := op.(store.Put); ok {
		data = int64(len(put.Staged.(*staged).data))
	}
	if s.committer.bundles.frame.body()+data > maxFrame-2*maxMeta {
		return fmt.Errorf("the changes are too many for one commit; the limit is %d bytes", maxFrame)
	}
	switch op := op.(type) {
	case store.Put:
		return s.planPut(c, op)
	case store.Update:
		return s.planUpdate(c, op)
	case store.Delete:
		return s.planDelete(c, op)
	case store.SetCounter:
		return s.planCounter(c, userCounter(op.Name), op.Value)
	}
	return fmt.Errorf("unknown change %T", op)
}

// add appends a record to the log of bundles.
func (s *Store) add(k kind, meta, data []byte, dataCRC uint32) place {
	s.committer.scratch = meta // keep the grown buffer
	return s.committer.bundles.add(k, meta, data, dataCRC)
}

func (s *Store) planPut(c *change, op store.Put) error {
	r, st := op.Record, op.Staged.(*staged)
	if r.Handle == 0 || uint64(r.Handle) >= s.nextHandle.Load() {
		return fmt.Errorf("put bundle %s: handle %d was not reserved with NextHandle", r.ID, r.Handle)
	}
	if err := checkRecord(&r); err != nil {
		return fmt.Errorf("put bundle %s: %w", r.ID, err)
	}
	used, err := s.isUsed(c, r.Handle)
	if err != nil {
		return err
	}
	known, err := c.trace(idKey(r.ID))
	if err != nil {
		return err
	}
	if used || known.live != 0 {
		return fmt.Errorf("put bundle %s under handle %d: %w", r.ID, r.Handle, store.ErrExists)
	}
	if err := s.quota.AdmitPut(s.usage(c), &r); err != nil {
		return fmt.Errorf("put bundle %s: %w", r.ID, err)
	}
	fileCRC, dataCRC := st.crc, uint32(0)
	if st.num == 0 {
		fileCRC, dataCRC = 0, st.crc
	}
	meta := appendPut(s.committer.scratch[:0], st.num, fileCRC, &r)
	s.committer.topHandle = max(s.committer.topHandle, r.Handle)
	c.add(&entry{record: r, put: s.add(kindPut, meta, st.data, dataCRC), file: st.num}, &known)
	return nil
}

// isUsed tells whether a bundle is stored under h. Handles mostly come in their
// order, and of one that is above all others the index need not be asked.
func (s *Store) isUsed(c *change, h store.Handle) (bool, error) {
	if h > s.committer.topHandle {
		return false, nil
	}
	e, err := c.entry(h)
	return e != nil, err
}

// usage is the use of the quota once c is applied.
func (s *Store) usage(c *change) store.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals.usage.Plus(c.usage())
}

func (s *Store) planUpdate(c *change, op store.Update) error {
	r := op.Record
	if err := checkRecord(&r); err != nil {
		return fmt.Errorf("update bundle %d: %w", r.Handle, err)
	}
	old, err := c.entry(r.Handle)
	switch {
	case err != nil:
		return err
	case old == nil:
		return fmt.Errorf("update bundle %d: %w", r.Handle, store.ErrNotFound)
	case old.record.ID != r.ID:
		return fmt.Errorf("update bundle %d: its ID is %s, not %s", r.Handle, old.record.ID, r.ID)
	case old.record.Lane() != r.Lane():
		return fmt.Errorf("update bundle %d: its lane is %s, not %s", r.Handle, old.record.Lane(), r.Lane())
	}
	r.Size = old.record.Size
	if !old.record.Custodial {
		if err := s.quota.AdmitCustody(s.usage(c), &r); err != nil {
			return fmt.Errorf("update bundle %d: %w", r.Handle, err)
		}
	}
	meta := appendRecord(s.committer.scratch[:0], &r)
	return c.update(r, s.add(kindUpdate, meta, nil, 0))
}

func (s *Store) planDelete(c *change, op store.Delete) error {
	old, err := c.entry(op.Handle)
	if err != nil {
		return err
	}
	if old == nil {
		return fmt.Errorf("delete bundle %d: %w", op.Handle, store.ErrNotFound)
	}
	g := op.Gone
	if g.Until != 0 && g.ID != old.record.ID {
		return fmt.Errorf("delete bundle %d: its ID is %s, not %s", op.Handle, old.record.ID, g.ID)
	}
	g.ID = old.record.ID
	if err := checkEIDs(g.From.Custodian); err != nil {
		return fmt.Errorf("delete bundle %d: %w", op.Handle, err)
	}
	meta := appendDelete(s.committer.scratch[:0], op.Handle, &g)
	return c.remove(op.Handle, g, s.add(kindDelete, meta, nil, 0))
}

func (s *Store) planCounter(c *change, name string, value uint64) error {
	if len(name) > maxCounterName {
		return fmt.Errorf("counter name of %d bytes is too long; the limit is %d", len(name), maxCounterName-2)
	}
	meta := appendCounter(s.committer.scratch[:0], name, value)
	return c.setCounter(name, value, s.add(kindCounter, meta, nil, 0))
}

// move is a record to be written again at the end of the log, so that its old
// segment can go. data is what stood behind it.
type move struct {
	record
	data []byte
}

// planMove writes m again if the index still points to it. all tells that it does, if
// m is about a bundle that left.
func (s *Store) planMove(c *change, m move, all bool) error {
	d := decoder{b: m.meta}
	switch m.kind {
	case kindPut:
		file, crc := d.putFile()
		rec := d.record()
		e, err := c.entry(rec.Handle)
		if err != nil || e == nil || e.put != m.place {
			return err
		}
		meta := appendPut(s.committer.scratch[:0], file, crc, &e.record)
		return c.putEntry(&entry{record: e.record, put: s.add(kindPut, meta, m.data, crc32.Checksum(m.data, newCRC())), file: file})
	case kindUpdate:
		rec := d.record()
		e, err := c.entry(rec.Handle)
		if err != nil || e == nil || e.update != m.place {
			return err
		}
		return c.update(e.record, s.add(kindUpdate, appendRecord(s.committer.scratch[:0], &e.record), nil, 0))
	case kindDelete, kindGone:
		return s.planMoveGone(c, m, all)
	case kindCounter:
		name := d.text(maxCounterName)
		n, err := c.counter(name)
		if err != nil || n.at != m.place {
			return err
		}
		return s.planCounter(c, name, n.value)
	}
	return nil
}

// planMoveGone writes what m tells of a bundle that left to the log of gone bundles.
func (s *Store) planMoveGone(c *change, m move, all bool) error {
	d := decoder{b: m.meta}
	if m.kind == kindDelete {
		d.uint()
	}
	id := d.id()
	g := d.gone(id)
	if err := d.end(); err != nil || g.Until == 0 {
		return err
	}
	key := idKey(id)
	if !all {
		t, err := c.trace(key)
		if err != nil {
			return err
		}
		if !t.isGone() || t.at != m.place {
			c.tally.inUse[m.segment] = c.tally.inUse[m.segment].plus(inUse{told: -1})
			return nil
		}
	}
	at, err := s.remember(appendGone(appendID(s.committer.scratch[:0], id), &g))
	if err != nil {
		return err
	}
	c.moveGone(key, g, m.place, at)
	return nil
}
