package badgerstore

import (
	"encoding/binary"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/store"
)

// entry is what the index keeps of a stored bundle.
type entry struct {
	record store.Record
	put    place // the record in the log that brought the bundle
	file   uint64
	// update is the latest update in the log; its size is 0 when there is none
	// behind put.
	update place
}

// dataOffset is where the bytes of a bundle stand that is not in its own file.
func (e *entry) dataOffset() int64 { return e.put.offset + e.put.size - e.record.Size }

// trace is what the index keeps of a bundle ID. The zero trace is nothing.
type trace struct {
	live store.Handle
	gone store.Gone // when live is 0 and at.size is not
	at   place      // of the record in the log that tells gone
}

func (t *trace) isGone() bool { return t.live == 0 && t.at.size > 0 }

// counter is a named number and the record in the log that tells it.
type counter struct {
	value uint64
	at    place
}

// view is a state of the index that can be looked up.
type view interface {
	entry(store.Handle) (*entry, error) // nil when there is none
	trace(key string) (trace, error)
	counter(name string) (counter, error)
}

// tally is how a change moves the totals.
type tally struct {
	bundles, custodial, gone int64
	usage                    store.Usage
	large                    int64 // bytes in files of their own
	inUse                    map[uint64]inUse
}

// inUse is what the index points to in one segment.
type inUse struct {
	bytes int64 // of records
	puts  int64 // stored bundles
	gone  int64 // bundles that left and are remembered
	// told is how many records there are about bundles that left, in use or not.
	// It is below zero in segments that were there when the store was opened.
	told int64
}

func (u inUse) plus(o inUse) inUse {
	return inUse{u.bytes + o.bytes, u.puts + o.puts, u.gone + o.gone, u.told + o.told}
}

func newTally() tally { return tally{inUse: map[uint64]inUse{}} }

func (t *tally) use(p place, sign int64) {
	if p.size > 0 {
		t.inUse[p.segment] = t.inUse[p.segment].plus(inUse{bytes: sign * p.size})
	}
}

// count counts the entry of a stored bundle.
func (t *tally) count(e *entry, sign int64) {
	t.bundles += sign
	t.usage.Add(&e.record, sign)
	if e.record.Custodial {
		t.custodial += sign
	}
	if e.file != 0 {
		t.large += sign * e.record.Size
	}
	t.inUse[e.put.segment] = t.inUse[e.put.segment].plus(inUse{bytes: sign * e.put.size, puts: sign})
	t.use(e.update, sign)
}

// remember counts a bundle that left, told at p, and forget takes it out.
func (t *tally) remember(p place) {
	t.gone++
	t.inUse[p.segment] = t.inUse[p.segment].plus(inUse{bytes: p.size, gone: 1, told: 1})
}

func (t *tally) forget(p place) {
	t.gone--
	t.inUse[p.segment] = t.inUse[p.segment].plus(inUse{bytes: -p.size, gone: -1})
}

func (t *tally) add(o *tally) {
	t.bundles += o.bundles
	t.usage = t.usage.Plus(o.usage)
	t.custodial += o.custodial
	t.gone += o.gone
	t.large += o.large
	for seg, u := range o.inUse {
		t.inUse[seg] = t.inUse[seg].plus(u)
	}
}

// change is a set of pending changes on top of another view. Its methods follow
// the log: what it says happens, whether or not the view below expects it, so that
// replaying a part of the log twice ends in the same state.
type change struct {
	below    view
	entries  map[store.Handle]entryChange
	traces   map[string]trace // zero: removed
	expiry   map[string]bool  // keys of the expiry index: set or removed
	counters map[string]counter
	freed    []uint64 // files of large bundles that left
	tally    tally
}

// entryChange is what becomes of the entry of a bundle.
type entryChange struct {
	entry *entry     // nil: removed
	lane  store.Lane // that the bundle is in, or was
	fresh bool       // the view below had no entry when the bundle was put
}

func newChange(below view) *change {
	return &change{
		below:    below,
		entries:  map[store.Handle]entryChange{},
		traces:   map[string]trace{},
		expiry:   map[string]bool{},
		counters: map[string]counter{},
		tally:    newTally(),
	}
}

// size is the number of pending keys.
func (c *change) size() int {
	return 2*len(c.entries) + len(c.traces) + len(c.expiry) + len(c.counters)
}

func (c *change) entry(h store.Handle) (*entry, error) {
	if e, ok := c.entries[h]; ok {
		return e.entry, nil
	}
	return c.below.entry(h)
}

func (c *change) trace(key string) (trace, error) {
	if t, ok := c.traces[key]; ok {
		return t, nil
	}
	return c.below.trace(key)
}

func (c *change) counter(name string) (counter, error) {
	if n, ok := c.counters[name]; ok {
		return n, nil
	}
	return c.below.counter(name)
}

// usage tells how the change, and those below it, move the use of the quota.
func (c *change) usage() store.Usage {
	u := c.tally.usage
	if below, ok := c.below.(*change); ok {
		return u.Plus(below.usage())
	}
	return u
}

// merge takes over the changes of a change made on top of c.
func (c *change) merge(o *change) {
	for h, e := range o.entries {
		if was, ok := c.entries[h]; ok {
			e.fresh = was.fresh
		}
		c.entries[h] = e
	}
	for k, t := range o.traces {
		c.traces[k] = t
	}
	for k, set := range o.expiry {
		c.expiry[k] = set
	}
	for name, n := range o.counters {
		c.counters[name] = n
	}
	c.freed = append(c.freed, o.freed...)
	c.tally.add(&o.tally)
}

// expiryKey orders what is gone by the time when it may be forgotten.
func expiryKey(t *trace, idKey string) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(t.gone.Until))
	return string(b[:]) + idKey
}

// setTrace replaces what is known of an ID.
func (c *change) setTrace(key string, t trace) error {
	old, err := c.trace(key)
	if err != nil {
		return err
	}
	c.replaceTrace(key, &old, t)
	return nil
}

// replaceTrace replaces old, which is what is known of an ID.
func (c *change) replaceTrace(key string, old *trace, t trace) {
	if old.isGone() {
		c.expiry[expiryKey(old, key)] = false
		c.tally.forget(old.at)
	}
	if t.isGone() {
		c.expiry[expiryKey(&t, key)] = true
		c.tally.remember(t.at)
	}
	c.traces[key] = t
}

// add stores a bundle whose handle was never used and whose ID is not live; known is
// what is known of the ID.
func (c *change) add(e *entry, known *trace) {
	h := e.record.Handle
	c.tally.count(e, 1)
	c.entries[h] = entryChange{e, e.record.Lane(), true}
	c.replaceTrace(idKey(e.record.ID), known, trace{live: h})
}

// putEntry stores a bundle or moves a stored one.
func (c *change) putEntry(e *entry) error {
	h := e.record.Handle
	old, err := c.entry(h)
	if err != nil {
		return err
	}
	c.setEntry(h, old, e)
	return c.setTrace(idKey(e.record.ID), trace{live: h})
}

// update replaces the record of a bundle. An unknown bundle is left alone.
func (c *change) update(r store.Record, at place) error {
	old, err := c.entry(r.Handle)
	if err != nil || old == nil {
		return err
	}
	e := *old
	e.record, e.update = r, at
	c.setEntry(r.Handle, old, &e)
	return nil
}

// setEntry replaces the entry old of a handle by e. Either may be nil.
func (c *change) setEntry(h store.Handle, old, e *entry) {
	next := entryChange{entry: e, fresh: c.entries[h].fresh}
	if old != nil {
		c.tally.count(old, -1)
		next.lane = old.record.Lane()
	}
	if e != nil {
		c.tally.count(e, 1)
		next.lane = e.record.Lane()
	}
	if old != nil || e != nil {
		c.entries[h] = next
	}
}

// remove lets a bundle leave. g.ID must be its ID.
func (c *change) remove(h store.Handle, g store.Gone, at place) error {
	old, err := c.entry(h)
	if err != nil {
		return err
	}
	if old != nil {
		if old.file != 0 {
			c.freed = append(c.freed, old.file)
		}
		c.setEntry(h, old, nil)
	}
	key := idKey(g.ID)
	if g.Until != 0 {
		return c.setTrace(key, trace{gone: g, at: at})
	}
	known, err := c.trace(key)
	if err != nil || known.live != h {
		return err
	}
	return c.setTrace(key, trace{})
}

// remember sets what is known of an ID that left, unless it came back.
func (c *change) remember(g store.Gone, at place) error {
	key := idKey(g.ID)
	known, err := c.trace(key)
	if err != nil || known.live != 0 {
		return err
	}
	return c.setTrace(key, trace{gone: g, at: at})
}

// moveGone notes that what is told of an ID at one place is now told at another. g is
// what is known of the ID.
func (c *change) moveGone(key string, g store.Gone, from, to place) {
	c.tally.forget(from)
	c.tally.inUse[from.segment] = c.tally.inUse[from.segment].plus(inUse{told: -1})
	c.tally.remember(to)
	c.traces[key] = trace{gone: g, at: to}
}

func (c *change) setCounter(name string, value uint64, at place) error {
	old, err := c.counter(name)
	if err != nil {
		return err
	}
	c.tally.use(old.at, -1)
	c.tally.use(at, 1)
	c.counters[name] = counter{value, at}
	return nil
}

func idKey(id bundle.ID) string { return string(appendID(nil, id)) }

// replay applies a record of the log.
func (c *change) replay(r *record) error {
	d := decoder{b: r.meta}
	switch r.kind {
	case kindPut:
		file, _ := d.putFile()
		e := &entry{record: d.record(), put: r.place, file: file}
		if err := d.end(); err != nil {
			return err
		}
		if file == 0 && e.record.Size != r.data {
			return fmt.Errorf("%w: %d bytes of a bundle of %d", errEncoding, r.data, e.record.Size)
		}
		return c.putEntry(e)
	case kindUpdate:
		rec := d.record()
		if err := d.end(); err != nil {
			return err
		}
		return c.update(rec, r.place)
	case kindDelete:
		h, g := d.deletion()
		if err := d.end(); err != nil {
			return err
		}
		return c.remove(h, g, r.place)
	case kindGone:
		g := d.gone(d.id())
		if err := d.end(); err != nil {
			return err
		}
		return c.remember(g, r.place)
	case kindCounter:
		name, value := d.text(maxCounterName), d.uint()
		if err := d.end(); err != nil {
			return err
		}
		return c.setCounter(name, value, r.place)
	}
	return fmt.Errorf("%w: record kind %d is unknown", errEncoding, r.kind)
}

// appendPut appends the meta of a put: the file that holds the bundle and the
// checksum of that file, both 0 when the bytes follow in the log, and the record.
func appendPut(b []byte, file uint64, crc uint32, r *store.Record) []byte {
	b = binary.AppendUvarint(b, file)
	b = binary.LittleEndian.AppendUint32(b, crc)
	return appendRecord(b, r)
}

func (d *decoder) putFile() (file uint64, crc uint32) {
	file = d.uint()
	if len(d.b) < 4 {
		d.fail("cut short")
		return 0, 0
	}
	crc = binary.LittleEndian.Uint32(d.b)
	d.b = d.b[4:]
	return file, crc
}

// appendDelete appends the meta of a delete.
func appendDelete(b []byte, h store.Handle, g *store.Gone) []byte {
	b = binary.AppendUvarint(b, uint64(h))
	b = appendID(b, g.ID)
	return appendGone(b, g)
}

func (d *decoder) deletion() (store.Handle, store.Gone) {
	h := store.Handle(d.uint())
	return h, d.gone(d.id())
}

// appendCounter appends the meta of a counter.
func appendCounter(b []byte, name string, value uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	return binary.AppendUvarint(b, value)
}
