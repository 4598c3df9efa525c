package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store"
)

func testPut(t *testing.T, open Open) {
	s, _ := open(t, Options{})
	var bytes, custodial int64
	for n, size := range []int64{0, 1, 100, 1000, 70_000, 300_000, 1_500_000} {
		r := mustPut(t, s, uint64(n), size)
		mustCheck(t, s, uint64(n), r)
		bytes += size
		if r.Custodial {
			custodial++
		}
	}
	st := s.Stats()
	if st.Bundles != 7 || st.Bytes != bytes || st.Custodial != custodial || st.Gone != 0 {
		t.Errorf("stats are %+v; want 7 bundles of %d bytes, %d custodial", st, bytes, custodial)
	}
	_, err := s.Get(999)
	wantError(t, err, store.ErrNotFound)
	_, err = s.Open(999)
	wantError(t, err, store.ErrNotFound)
	wantUnknown(t, s, Record(50, 0).ID)
}

func testScan(t *testing.T, open Open) {
	s, _ := open(t, Options{})
	handles := make([]store.Handle, 20)
	for i := range handles {
		handles[i] = s.NextHandle()
	}
	for _, i := range rand.New(rand.NewSource(1)).Perm(len(handles)) { // committed out of order
		r := Record(uint64(i), 10)
		r.Handle = handles[i]
		st, err := Stage(s, Bytes(uint64(i), 10))
		if err != nil {
			t.Fatal(err)
		}
		mustCommit(t, s, store.Put{Record: r, Staged: st})
	}
	mustCommit(t, s, store.Delete{Handle: handles[7]})
	var got []store.Handle
	for after := store.Handle(0); ; {
		page, err := s.Scan(after, 6)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		if len(page) > 6 {
			t.Fatalf("scan returned %d records over a limit of 6", len(page))
		}
		for _, r := range page {
			got = append(got, r.Handle)
		}
		after = page[len(page)-1].Handle
	}
	want := append(append([]store.Handle{}, handles[:7]...), handles[8:]...)
	if len(got) != len(want) {
		t.Fatalf("scan found %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("scan found %v, want %v", got, want)
		}
	}
	if page, err := s.Scan(handles[19], 5); err != nil || len(page) != 0 {
		t.Errorf("scan behind the last handle: %v, %v", page, err)
	}
	if page, err := s.Scan(0, 0); err != nil || len(page) != 0 {
		t.Errorf("scan with no limit left: %v, %v", page, err)
	}
}

func testUpdate(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	r := mustPut(t, s, 6, 500)
	r.Attempts, r.Custodial = 3, false
	r.Own = store.Episode{Custodian: bundle.DTN("sat-1", ""), SeqID: 9, SeqNum: 1 << 40}
	mustCommit(t, s, store.Update{Record: r})
	mustCheck(t, s, 6, r)
	if n := s.Stats().Custodial; n != 0 {
		t.Errorf("%d custodial bundles, want 0", n)
	}
	r.Attempts++
	r.Spread = store.MakeSpread([]uint64{7}, []bundle.EID{bundle.IPN(2, 0)})
	mustCommit(t, s, store.Update{Record: r})
	s = reopen()
	mustCheck(t, s, 6, r)
	stranger := r
	stranger.ID = Record(7, 0).ID
	if err := s.Commit(context.Background(), []store.Op{store.Update{Record: stranger}}); err == nil {
		t.Error("an update that changes the bundle ID was taken")
	}
	mustCheck(t, s, 6, r)
	for what, move := range map[string]func(*store.Record){
		"duty":        func(r *store.Record) { r.Duty = store.DutyDeliver },
		"destination": func(r *store.Record) { r.Destination = bundle.IPN(4, 11) },
		"priority":    func(r *store.Record) { r.Priority = bundle.PriorityBulk },
	} {
		moved := r
		move(&moved)
		if err := s.Commit(context.Background(), []store.Op{store.Update{Record: moved}}); err == nil {
			t.Errorf("an update that changes the %s, and so the lane, was taken", what)
		}
	}
	mustCheck(t, s, 6, r)
}

func testDelete(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	a, b := mustPut(t, s, 1, 200), mustPut(t, s, 2, 400_000)
	keep := mustPut(t, s, 3, 100)
	mustCommit(t, s, store.Delete{Handle: a.Handle, Gone: gone(a, 800000900000)}, store.Delete{Handle: b.Handle})
	for range 2 {
		for _, h := range []store.Handle{a.Handle, b.Handle} {
			_, err := s.Get(h)
			wantError(t, err, store.ErrNotFound)
			_, err = s.Open(h)
			wantError(t, err, store.ErrNotFound)
		}
		wantGone(t, s, gone(a, 800000900000))
		wantUnknown(t, s, b.ID)
		mustCheck(t, s, 3, keep)
		if st := s.Stats(); st.Bundles != 1 || st.Bytes != 100 || st.Gone != 1 {
			t.Errorf("stats are %+v; want 1 bundle of 100 bytes and 1 gone", st)
		}
		s = reopen()
	}
}

// testReturn lets a bundle come back after it left.
func testReturn(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	r := mustPut(t, s, 1, 200)
	mustCommit(t, s, store.Delete{Handle: r.Handle, Gone: gone(r, 800000900000)})
	again := mustPut(t, s, 1, 200)
	if again.Handle <= r.Handle {
		t.Errorf("handle %d after %d", again.Handle, r.Handle)
	}
	for range 2 {
		mustCheck(t, s, 1, again)
		if st := s.Stats(); st.Bundles != 1 || st.Gone != 0 {
			t.Errorf("stats are %+v; want 1 bundle and none gone", st)
		}
		s = reopen()
	}
	if err := s.Forget(context.Background(), 800000900001); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, s, 1, again)
	mustCommit(t, s, store.Delete{Handle: again.Handle, Gone: gone(again, 800000900500)})
	wantGone(t, s, gone(again, 800000900500))
}

func testForget(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	var records []store.Record
	for n := range uint64(30) {
		r := mustPut(t, s, n, 10)
		records = append(records, r)
		mustCommit(t, s, store.Delete{Handle: r.Handle, Gone: gone(r, 800000000000+100*(r.Received%30))})
	}
	now := gone(records[0], 800000000000+100*(records[15].Received%30)).Until
	if err := s.Forget(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	for _, r := range records {
		g := gone(r, 800000000000+100*(r.Received%30))
		if g.Until < now {
			wantUnknown(t, s, r.ID)
			continue
		}
		left++
		wantGone(t, s, g)
	}
	if left == 0 || left == 30 {
		t.Fatalf("%d of 30 are left; the test proves nothing", left)
	}
	if n := s.Stats().Gone; n != left {
		t.Errorf("%d are remembered, want %d", n, left)
	}
	s = reopen()
	if err := s.Forget(context.Background(), 900000000000); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Gone; n != 0 {
		t.Errorf("%d are remembered, want none", n)
	}
}

func testCounters(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	if n, err := s.Counter("custody"); n != 0 || err != nil {
		t.Errorf("unknown counter: %d, %v", n, err)
	}
	mustCommit(t, s, store.SetCounter{Name: "custody", Value: 1024}, store.SetCounter{Name: "sequence/3", Value: 1<<64 - 1})
	mustCommit(t, s, store.SetCounter{Name: "custody", Value: 2048})
	for range 2 {
		if n, err := s.Counter("custody"); n != 2048 || err != nil {
			t.Errorf("counter is %d, %v; want 2048", n, err)
		}
		if n, err := s.Counter("sequence/3"); n != 1<<64-1 || err != nil {
			t.Errorf("counter is %d, %v; want 2^64-1", n, err)
		}
		s = reopen()
	}
}

func testRefusals(t *testing.T, open Open) {
	s, _ := open(t, Options{})
	ctx := context.Background()
	r := mustPut(t, s, 1, 100)
	_, err := Put(s, 1, 100)
	wantError(t, err, store.ErrExists)
	_, err = Put(s, 1, 400_000)
	wantError(t, err, store.ErrExists)
	wantError(t, s.Commit(ctx, []store.Op{store.Update{Record: store.Record{Handle: 77}}}), store.ErrNotFound)
	wantError(t, s.Commit(ctx, []store.Op{store.Delete{Handle: 77}}), store.ErrNotFound)

	put := func(change func(*store.Record)) error {
		st, err := Stage(s, Bytes(2, 50))
		if err != nil {
			t.Fatal(err)
		}
		r := Record(2, 50)
		r.Handle = s.NextHandle()
		change(&r)
		return s.Commit(ctx, []store.Op{store.Put{Record: r, Staged: st}})
	}
	if put(func(r *store.Record) { r.Handle += 1000 }) == nil {
		t.Error("a handle that was not reserved was taken")
	}
	if put(func(r *store.Record) { r.Handle = 0 }) == nil {
		t.Error("handle 0 was taken")
	}
	if put(func(r *store.Record) { r.Size++ }) == nil {
		t.Error("a size that is not the staged one was taken")
	}
	wantError(t, put(func(other *store.Record) { other.Handle = r.Handle }), store.ErrExists)

	st, err := Stage(s, Bytes(3, 50))
	if err != nil {
		t.Fatal(err)
	}
	r3 := Record(3, 50)
	r3.Handle = s.NextHandle()
	mustCommit(t, s, store.Put{Record: r3, Staged: st})
	r3.ID, r3.Handle = Record(4, 50).ID, s.NextHandle()
	if s.Commit(ctx, []store.Op{store.Put{Record: r3, Staged: st}}) == nil {
		t.Error("staged bytes were put twice")
	}
	if _, err := st.Write([]byte("x")); err == nil {
		t.Error("staged bytes were written to after they were put")
	}
	st.Discard()
	mustCheck(t, s, 1, r)
	if n := s.Stats().Bundles; n != 2 {
		t.Errorf("%d bundles, want 2", n)
	}
}

func testAllOrNothing(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	r := mustPut(t, s, 1, 100)
	st, err := Stage(s, Bytes(2, 60))
	if err != nil {
		t.Fatal(err)
	}
	r2 := Record(2, 60)
	r2.Handle = s.NextHandle()
	changed := r
	changed.Attempts = 9
	wantError(t, s.Commit(context.Background(), []store.Op{
		store.Put{Record: r2, Staged: st},
		store.Update{Record: changed},
		store.SetCounter{Name: "n", Value: 5},
		store.Delete{Handle: 4711},
	}), store.ErrNotFound)
	for range 2 {
		mustCheck(t, s, 1, r)
		wantUnknown(t, s, r2.ID)
		if n, _ := s.Counter("n"); n != 0 {
			t.Errorf("counter is %d, want 0", n)
		}
		if st := s.Stats(); st.Bundles != 1 || st.Bytes != 100 {
			t.Errorf("stats are %+v; want 1 bundle of 100 bytes", st)
		}
		s = reopen()
	}
}

func testOrder(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	var ops []store.Op
	first, second := Record(1, 30), Record(1, 30)
	first.Handle, second.Handle = s.NextHandle(), s.NextHandle()
	for _, r := range []store.Record{first, second} {
		st, err := Stage(s, Bytes(1, 30))
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, store.Put{Record: r, Staged: st})
		if r.Handle == first.Handle {
			ops = append(ops, store.Delete{Handle: r.Handle, Gone: gone(r, 800000900000)})
		}
	}
	second.Attempts = 1
	ops = append(ops, store.Update{Record: second},
		store.SetCounter{Name: "n", Value: 1}, store.SetCounter{Name: "n", Value: 2})
	mustCommit(t, s, ops...)
	for range 2 {
		mustCheck(t, s, 1, second)
		_, err := s.Get(first.Handle)
		wantError(t, err, store.ErrNotFound)
		if n, _ := s.Counter("n"); n != 2 {
			t.Errorf("counter is %d, want 2", n)
		}
		s = reopen()
	}
}

func testDiscard(t *testing.T, open Open) {
	s, _ := open(t, Options{Quota: 2_000_000})
	for range 10 { // a leak would use up the quota
		for _, size := range []int64{1000, 1_500_000} {
			st, err := Stage(s, Bytes(1, size))
			if err != nil {
				t.Fatal(err)
			}
			if st.Size() != size {
				t.Fatalf("staged %d bytes, want %d", st.Size(), size)
			}
			st.Discard()
			st.Discard()
			if _, err := st.Write([]byte("x")); err == nil {
				t.Fatal("discarded bytes were written to")
			}
		}
	}
	r := mustPut(t, s, 1, 1_500_000)
	mustCheck(t, s, 1, r)
}

// pattern is an endless stream of made-up bytes that needs no memory: a block over
// and over, numbered at its front.
type pattern struct {
	block []byte
	at    int64
}

func newPattern() *pattern { return &pattern{block: Bytes(1, 64<<10)} }

func (p *pattern) Read(b []byte) (int, error) {
	off := p.at % int64(len(p.block))
	if off == 0 {
		binary.BigEndian.PutUint64(p.block, uint64(p.at))
	}
	n := copy(b, p.block[off:])
	p.at += int64(n)
	return n, nil
}

func testLarge(t *testing.T, open Open) {
	const size = 64 << 20
	s, reopen := open(t, Options{})
	st, err := s.Stage(-1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyBuffer(st, io.LimitReader(newPattern(), size), make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	r := Record(1, size)
	r.Handle = s.NextHandle()
	mustCommit(t, s, store.Put{Record: r, Staged: st})
	s = reopen()
	c, err := s.Open(r.Handle)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Size() != size {
		t.Fatalf("content is %d bytes, want %d", c.Size(), int64(size))
	}
	got, want := make([]byte, 1<<20), make([]byte, 1<<20)
	source := newPattern()
	for off := int64(0); off < size; off += int64(len(got)) {
		if _, err := c.ReadAt(got, off); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(source, want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("content differs behind byte %d", off)
		}
	}
	if _, err := c.ReadAt(got, size-10); err != io.EOF {
		t.Errorf("read over the end: %v, want EOF", err)
	}
}
