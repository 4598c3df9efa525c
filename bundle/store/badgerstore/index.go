package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"perigee/bundle/store"
)

// The keys of the index. Everything in it can be made again from the log.
//
//	m NAME             format, checkpoint
//	h HANDLE           entry of a stored bundle
//	i ID               trace of a bundle ID
//	l LANE HANDLE      bundles of a lane
//	e UNTIL ID         order in which to forget
//	c NAME             counter
const (
	prefixEntry   = 'h'
	prefixTrace   = 'i'
	prefixLane    = 'l'
	prefixExpiry  = 'e'
	prefixCounter = 'c'

	keyFormat     = "mformat"
	keyCheckpoint = "mcheckpoint"

	indexFormat = 3
)

// index is the badger database and what is to be written to it. Reads may be
// concurrent.
type index struct {
	dir   string
	db    *badger.DB
	pager *pager

	writer sync.Mutex // held by whoever writes to db or changes pending
	// mu makes the keys of one group of commits change at once: pending changes
	// under it, and only what is pending is written to db.
	mu      sync.RWMutex
	pending pending

	absent absent
}

// openIndex opens or creates the database in dir. The settings keep its memory
// small: 4 MiB tables in memory, few of them, no caches, all values in the tree.
func openIndex(dir string, log *slog.Logger) (*index, error) {
	o := badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithSyncWrites(false).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithMemTableSize(4 << 20).
		WithNumMemtables(1).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithCompression(options.None).
		WithValueThreshold(64 << 10).
		WithValueLogFileSize(1 << 20).
		WithNumCompactors(2).
		WithNumLevelZeroTables(4).
		WithNumGoroutines(1).
		WithNumVersionsToKeep(1).
		WithChecksumVerificationMode(options.OnTableRead)
	p, err := newPager(dir, log)
	if err != nil {
		return nil, fmt.Errorf("open the index in %s: %w", dir, err)
	}
	x := &index{dir: dir, pager: p}
	if x.db, err = badger.Open(o); err != nil { // which reads every table
		return nil, errors.Join(fmt.Errorf("open the index in %s: %w", dir, err), p.close())
	}
	return x, nil
}

func (x *index) close() error {
	x.pager.busy() // badger merges tables
	if err := errors.Join(x.db.Close(), x.pager.close()); err != nil {
		return fmt.Errorf("close the index in %s: %w", x.dir, err)
	}
	return nil
}

// get returns the value of key, or nil. The value must not be changed.
func (x *index) get(key string) ([]byte, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.read(key)
}

// read is get for callers that hold x.mu.
func (x *index) read(key string) ([]byte, error) {
	if value, ok := x.pending.get(key); ok || x.absent.has(key) {
		return value, nil
	}
	x.pager.read()
	txn := x.db.NewTransaction(false)
	defer txn.Discard()
	value, err := readFrom(txn, key)
	if value == nil && err == nil && key[0] == prefixTrace {
		x.absent.add(key)
	}
	return value, err
}

// readFrom returns the value of key in badger, or nil.
func readFrom(txn *badger.Txn, key string) ([]byte, error) {
	item, err := txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	return value, nil
}

func entryKey(h store.Handle) string {
	var b [9]byte
	b[0] = prefixEntry
	binary.BigEndian.PutUint64(b[1:], uint64(h))
	return string(b[:])
}

func (x *index) entry(h store.Handle) (*entry, error) {
	value, err := x.get(entryKey(h))
	if err != nil || value == nil {
		return nil, err
	}
	return decodeEntry(value)
}

func (x *index) trace(key string) (trace, error) {
	value, err := x.get(string(prefixTrace) + key)
	if err != nil || value == nil {
		return trace{}, err
	}
	return decodeTrace(key, value)
}

func (x *index) counter(name string) (counter, error) {
	value, err := x.get(string(prefixCounter) + name)
	if err != nil || value == nil {
		return counter{}, err
	}
	return decodeCounter(value)
}

// find looks an ID up and, when it is live, its entry, both at one time.
func (x *index) find(key string) (trace, *entry, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	value, err := x.read(string(prefixTrace) + key)
	if err != nil || value == nil {
		return trace{}, nil, err
	}
	t, err := decodeTrace(key, value)
	if err != nil || t.live == 0 {
		return t, nil, err
	}
	value, err = x.read(entryKey(t.live))
	if err != nil {
		return trace{}, nil, err
	}
	if value == nil {
		return trace{}, nil, fmt.Errorf("read the index: bundle %d is named but not there: %w", t.live, store.ErrCorrupt)
	}
	e, err := decodeEntry(value)
	return t, e, err
}

// apply makes the changes of c, all at once for readers.
func (x *index) apply(c *change) error {
	x.writer.Lock()
	defer x.writer.Unlock()
	x.mu.Lock()
	for h, e := range c.entries {
		x.pending.put(entryKey(h), appendEntry(nil, e.entry), e.fresh)
		x.pending.put(string(prefixLane)+laneKey(e.lane, h), presence(e.entry != nil), e.fresh)
	}
	for key, t := range c.traces {
		key = string(prefixTrace) + key
		x.pending.put(key, appendTrace(nil, &t), false)
		x.absent.remove(key)
	}
	for key, there := range c.expiry {
		x.pending.put(string(prefixExpiry)+key, presence(there), false)
	}
	for name, n := range c.counters {
		x.pending.put(string(prefixCounter)+name, appendCounterValue(nil, n), false)
	}
	full := x.pending.isFull()
	x.mu.Unlock()
	if !full {
		return nil
	}
	if err := x.write(x.pending.old); err != nil {
		return err
	}
	x.mu.Lock()
	x.pending.age()
	x.mu.Unlock()
	return nil
}

// presence is the value of a key that says something by being there.
func presence(there bool) []byte {
	if there {
		return []byte{1}
	}
	return nil
}

// flush writes everything pending to badger.
func (x *index) flush() error {
	x.writer.Lock()
	defer x.writer.Unlock()
	return x.flushLocked()
}

// flushLocked is flush for callers that hold x.writer.
func (x *index) flushLocked() error {
	if x.pending.size() == 0 {
		return nil
	}
	for _, writes := range []map[string]write{x.pending.old, x.pending.young} {
		if err := x.write(writes); err != nil {
			return err
		}
	}
	x.mu.Lock()
	x.pending.clear()
	x.mu.Unlock()
	return nil
}

// write writes changes to badger. After a loss of power badger has those up to some
// point; they come in an order in which the log mends what is missing: a bundle that
// has an entry has its lane, and what is gone can be found by its expiry.
func (x *index) write(writes map[string]write) error {
	if len(writes) == 0 {
		return nil
	}
	x.pager.busy()
	wb := x.db.NewWriteBatch()
	defer wb.Cancel()
	each := func(prefix byte, sets, removals bool) error {
		for key, w := range writes {
			var err error
			switch {
			case key[0] != prefix:
			case w.value != nil && sets:
				err = wb.Set([]byte(key), w.value)
			case w.value == nil && removals && !w.fresh:
				err = wb.Delete([]byte(key))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	err := each(prefixExpiry, true, false)
	for _, prefix := range []byte{prefixLane, prefixEntry, prefixTrace, prefixCounter} {
		if err == nil {
			err = each(prefix, true, true)
		}
	}
	if err == nil {
		err = each(prefixExpiry, false, true)
	}
	if err == nil {
		err = wb.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}

// snapshot returns a transaction that sees the index as it is now. The caller
// discards it.
func (x *index) snapshot() (*badger.Txn, error) {
	x.writer.Lock()
	defer x.writer.Unlock()
	if err := x.flushLocked(); err != nil {
		return nil, err
	}
	return x.db.NewTransaction(false), nil
}

// each calls fn with every key and value below prefix, from the key start on,
// until it returns false. Both are valid only during the call. Changes meanwhile are
// not seen.
func (x *index) each(ctx context.Context, prefix byte, start []byte, fn func(key, value []byte) (bool, error)) error {
	txn, err := x.snapshot()
	if err != nil {
		return err
	}
	defer txn.Discard()
	return x.eachIn(ctx, txn, prefix, start, fn)
}

// eachIn is each in a snapshot.
func (x *index) eachIn(ctx context.Context, txn *badger.Txn, prefix byte, start []byte, fn func(key, value []byte) (bool, error)) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // values stand beside the keys
	o.Prefix = []byte{prefix}
	it := txn.NewIterator(o)
	defer it.Close()
	n := 0
	for it.Seek(append([]byte{prefix}, start...)); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n++; n%entriesPerLook == 0 {
			x.pager.look()
		}
		item := it.Item()
		more := false
		err := item.Value(func(value []byte) error {
			var err error
			more, err = fn(item.Key()[1:], value)
			return err
		})
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
	return nil
}

// sync writes everything that was applied to badger and makes it durable. Badger syncs the table in memory
// that it is filling; the full ones that it has not yet written out are synced
// here, and so is the folder.
func (x *index) sync() error {
	if err := x.flush(); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(x.dir, "*.mem"))
	if err != nil {
		return fmt.Errorf("sync the index: %w", err)
	}
	for _, name := range names {
		if err := syncFile(name); err != nil {
			return fmt.Errorf("sync the index: %w", err)
		}
	}
	if err := x.db.Sync(); err != nil {
		return fmt.Errorf("sync the index: %w", err)
	}
	if err := syncFile(x.dir); err != nil {
		return fmt.Errorf("sync the index: %w", err)
	}
	return nil
}

// syncFile syncs a file or folder. A file that is gone was written out already.
func syncFile(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// checkpoint is how far the index reaches: it holds everything before these positions
// of the logs.
type checkpoint struct{ bundles, gone position }

func (x *index) loadCheckpoint() (checkpoint, bool, error) {
	format, err := x.get(keyFormat)
	if err != nil || len(format) != 1 || format[0] != indexFormat {
		return checkpoint{}, false, err
	}
	value, err := x.get(keyCheckpoint)
	if err != nil || value == nil {
		return checkpoint{}, false, err
	}
	d := decoder{b: value}
	cp := checkpoint{d.position(), d.position()}
	return cp, d.end() == nil, nil
}

// saveCheckpoint records that the index holds everything before cp. The caller has
// synced the index, so the mark is never durable before what it vouches for.
func (x *index) saveCheckpoint(cp checkpoint) error {
	b := appendPosition(appendPosition(nil, cp.bundles), cp.gone)
	err := x.db.Update(func(txn *badger.Txn) error {
		return errors.Join(txn.Set([]byte(keyFormat), []byte{indexFormat}), txn.Set([]byte(keyCheckpoint), b))
	})
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}

// appendSegment appends the number of a segment. The mark of its log comes last, so
// that the numbers of both logs are short.
func appendSegment(b []byte, num uint64) []byte {
	return binary.AppendUvarint(b, bits.RotateLeft64(num, 1))
}

func (d *decoder) segment() uint64 { return bits.RotateLeft64(d.uint(), -1) }

func appendPosition(b []byte, p position) []byte {
	b = appendSegment(b, p.segment)
	for _, n := range [...]uint64{uint64(p.offset), uint64(p.last), p.signature, p.seq} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (d *decoder) position() position {
	return position{segment: d.segment(), offset: d.size(), last: d.size(), signature: d.uint(), seq: d.uint()}
}

func appendPlace(b []byte, p place) []byte {
	b = appendSegment(b, p.segment)
	b = binary.AppendUvarint(b, uint64(p.offset))
	return binary.AppendUvarint(b, uint64(p.size))
}

func (d *decoder) place() place {
	return place{segment: d.segment(), offset: d.size(), size: d.size()}
}

// appendEntry encodes e, or returns nil for no entry.
func appendEntry(b []byte, e *entry) []byte {
	if e == nil {
		return nil
	}
	b = appendPlace(b, e.put)
	b = binary.AppendUvarint(b, e.file)
	b = appendPlace(b, e.update)
	return appendRecord(b, &e.record)
}

func decodeEntry(value []byte) (*entry, error) {
	d := decoder{b: value}
	e := &entry{put: d.place(), file: d.uint(), update: d.place()}
	e.record = d.record()
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("read the index: entry: %w", err)
	}
	return e, nil
}

// appendTrace encodes t, or returns nil for nothing.
func appendTrace(b []byte, t *trace) []byte {
	switch {
	case t.live != 0:
		return binary.AppendUvarint(append(b, 1), uint64(t.live))
	case t.isGone():
		return appendGone(appendPlace(append(b, 2), t.at), &t.gone)
	}
	return nil
}

func decodeTrace(key string, value []byte) (trace, error) {
	d := decoder{b: value}
	var t trace
	switch d.byte() {
	case 1:
		t.live = store.Handle(d.uint())
	case 2:
		t.at = d.place()
		kd := decoder{b: []byte(key)}
		id := kd.id()
		t.gone = d.gone(id)
		if err := kd.end(); err != nil {
			d.fail("key: " + err.Error())
		}
	default:
		d.fail("unknown trace")
	}
	if err := d.end(); err != nil {
		return trace{}, fmt.Errorf("read the index: trace: %w", err)
	}
	return t, nil
}

func appendCounterValue(b []byte, n counter) []byte {
	return binary.AppendUvarint(appendPlace(b, n.at), n.value)
}

func decodeCounter(value []byte) (counter, error) {
	d := decoder{b: value}
	n := counter{at: d.place(), value: d.uint()}
	if err := d.end(); err != nil {
		return counter{}, fmt.Errorf("read the index: counter: %w", err)
	}
	return n, nil
}

// badgerLog passes badger's messages on.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) message(format string, args []any) string {
	return "index: " + strings.TrimSpace(fmt.Sprintf(format, args...))
}

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error(l.message(f, a)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn(l.message(f, a)) }
func (l badgerLog) Infof(f string, a ...any)    { l.log.Debug(l.message(f, a)) }
func (l badgerLog) Debugf(string, ...any)       {}

// empty tells whether the index holds nothing at all.
func (x *index) empty() bool {
	txn := x.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	it := txn.NewIterator(o)
	defer it.Close()
	it.Rewind()
	return !it.Valid()
}
