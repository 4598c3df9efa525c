// Package storetest is the suite that every bundle store passes.
//
// It knows only the interface; what a store does on its disk is tested beside it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Options are the limits of a store under test. Zero values stand for what the store
// does without them.
type Options struct {
	Quota   int64 // bytes
	Shares  store.Shares
	MaxGone int64
}

// Open makes an empty store. Each call of reopen ends the store that was returned
// last, as a restart would, and returns it as found afterwards.
type Open func(t *testing.T, o Options) (s store.Store, reopen func() store.Store)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"PutGetFindOpen", testPut},
		{"Scan", testScan},
		{"Lanes", testLanes},
		{"LanesConcurrent", testLanesConcurrent},
		{"Update", testUpdate},
		{"Delete", testDelete},
		{"Return", testReturn},
		{"Forget", testForget},
		{"Counters", testCounters},
		{"Refusals", testRefusals},
		{"AllOrNothing", testAllOrNothing},
		{"OrderWithinCommit", testOrder},
		{"CommitEach", testCommitEach},
		{"Buffered", testBuffered},
		{"Discard", testDiscard},
		{"Large", testLarge},
		{"ContentOutlivesDelete", testContentOutlives},
		{"Concurrent", testConcurrent},
		{"RacingDuplicates", testRacingDuplicates},
		{"Reopen", testReopen},
		{"Handles", testHandles},
		{"Quota", testQuota},
		{"CustodyShare", testCustodyShare},
		{"PriorityShares", testPriorityShares},
		{"Usage", testUsage},
		{"MaxGone", testMaxGone},
		{"Cancel", testCancel},
		{"Verify", testVerify},
		{"Close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

// Record returns the record of a made-up bundle of size bytes. Equal n give equal
// bundle IDs. Every field is set.
func Record(n uint64, size int64) store.Record {
	r := store.Record{
		ID: bundle.ID{
			Source:  bundle.IPN(10+n%7, 1),
			Created: bundle.Timestamp{Time: dtntime.Time(800000000000 + n), Sequence: n},
		},
		Destination: bundle.IPN(3, 11),
		ReportTo:    bundle.DTN("ground-1", "reports"),
		Flags:       bundle.FlagMustNotFragment | bundle.FlagReportDelivered,
		Priority:    bundle.PriorityExpedited,
		Duty:        store.DutyForward,
		Received:    dtntime.Time(800000001000 + n),
		Expiry:      dtntime.Time(800086400000 + n),
		AgeReceived: 1500,
		HasAge:      n%2 == 0,
		HeaderLen:   min(size, 90),
		Size:        size,
		Previous:    bundle.IPN(2, 0),
		Custodial:   n%3 == 0,
		From:        store.Episode{Custodian: bundle.IPN(2, 0), SeqID: 4, SeqNum: n},
	}
	if n%4 == 1 {
		r.Reporting = store.MakeReporting(bundle.Reporting{SeqNum: n, SeqID: 9, Requests: bundle.ReportingDelivered})
	}
	r.PayloadLen = size - r.HeaderLen
	if n%5 == 4 {
		r.ID.Fragment, r.ID.Offset, r.ID.Length = true, 1000*n, 700
	}
	return r
}

// Bytes returns the bytes of the made-up bundle n.
func Bytes(n uint64, size int64) []byte {
	b := make([]byte, size)
	rand.New(rand.NewSource(int64(n))).Read(b)
	return b
}

// Stage stages b in pieces.
func Stage(s store.Store, b []byte) (store.Staged, error) {
	st, err := s.Stage(int64(len(b)))
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		n := min(len(b), 32<<10)
		if _, err := st.Write(b[:n]); err != nil {
			st.Discard()
			return nil, err
		}
		b = b[n:]
	}
	return st, nil
}

// Put stores the made-up bundle n and returns its record.
func Put(s store.Store, n uint64, size int64) (store.Record, error) {
	r := Record(n, size)
	st, err := Stage(s, Bytes(n, size))
	if err != nil {
		return r, err
	}
	r.Handle = s.NextHandle()
	return r, s.Commit(context.Background(), []store.Op{store.Put{Record: r, Staged: st}})
}

// Check tells whether s holds r with the bytes of the made-up bundle n.
func Check(s store.Store, n uint64, r store.Record) error {
	got, err := s.Get(r.Handle)
	if err != nil {
		return err
	}
	if got != r {
		return fmt.Errorf("bundle %d: record differs (-want +got):\n%s", r.Handle, diff(r, got))
	}
	trace, err := s.Find(r.ID)
	if err != nil {
		return err
	}
	if trace.Live == nil || *trace.Live != r || trace.Gone != nil {
		return fmt.Errorf("find bundle %s: got %+v", r.ID, trace)
	}
	b, err := ReadAll(s, r.Handle)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, Bytes(n, r.Size)) {
		return fmt.Errorf("bundle %d: its %d bytes differ from what was put", r.Handle, len(b))
	}
	return nil
}

// CheckLanes tells whether every bundle of s stands in its lane and nothing else
// does.
func CheckLanes(s store.Store) error {
	want := map[store.Handle]store.Record{}
	for after := store.Handle(0); ; {
		page, err := s.Scan(after, 100)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			want[r.Handle], after = r, r.Handle
		}
	}
	lanes, err := s.Lanes(store.Lane{}, len(want)+1)
	if err != nil {
		return err
	}
	for _, l := range lanes {
		records, err := s.ScanLane(l, 0, len(want)+1)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return fmt.Errorf("lane %s shows and is empty", l)
		}
		for _, r := range records {
			if want[r.Handle] != r || r.Lane() != l {
				return fmt.Errorf("lane %s holds %+v, the store %+v", l, r, want[r.Handle])
			}
			delete(want, r.Handle)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("%d bundles stand in no lane", len(want))
	}
	return nil
}

// ReadAll returns the bytes of a bundle.
func ReadAll(s store.Store, h store.Handle) ([]byte, error) {
	c, err := s.Open(h)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	return b, errors.Join(err, c.Close())
}

func diff(want, got store.Record) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b bundle.EID) bool { return a == b }))
}

func mustPut(t *testing.T, s store.Store, n uint64, size int64) store.Record {
	t.Helper()
	r, err := Put(s, n, size)
	if err != nil {
		t.Fatalf("put bundle %d: %v", n, err)
	}
	return r
}

func mustCheck(t *testing.T, s store.Store, n uint64, r store.Record) {
	t.Helper()
	if err := Check(s, n, r); err != nil {
		t.Fatal(err)
	}
}

func mustCommit(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Commit(context.Background(), ops); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// gone returns what a test leaves behind of r.
func gone(r store.Record, until dtntime.Time) store.Gone {
	return store.Gone{ID: r.ID, From: r.From, Reason: store.GoneReleased, At: 800000002000, Until: until}
}

func wantGone(t *testing.T, s store.Store, g store.Gone) {
	t.Helper()
	trace, err := s.Find(g.ID)
	if err != nil {
		t.Fatal(err)
	}
	if trace.Live != nil || trace.Gone == nil || *trace.Gone != g {
		t.Fatalf("find %s: got %+v, want it gone as %+v", g.ID, trace, g)
	}
}

func wantUnknown(t *testing.T, s store.Store, id bundle.ID) {
	t.Helper()
	trace, err := s.Find(id)
	if err != nil || trace != (store.Trace{}) {
		t.Fatalf("find %s: got %+v, %v; want nothing known", id, trace, err)
	}
}
