package storetest

import (
	"cmp"
	"context"
	"math/rand"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/store"
)

// someLanes are lanes that differ in each of their parts. Some begin alike.
func someLanes() []store.Lane {
	return []store.Lane{
		{Duty: store.DutyForward, Destination: bundle.IPN(3, 11), Priority: bundle.PriorityBulk},
		{Duty: store.DutyForward, Destination: bundle.IPN(3, 11), Priority: bundle.PriorityExpedited},
		{Duty: store.DutyForward, Destination: bundle.IPN(3, 110), Priority: bundle.PriorityBulk},
		{Duty: store.DutyForward, Destination: bundle.DTN("sat", "a"), Priority: bundle.PriorityNormal},
		{Duty: store.DutyForward, Destination: bundle.DTN("sat", "a/b"), Priority: bundle.PriorityNormal},
		{Duty: store.DutyDeliver, Destination: bundle.IPN(3, 11)},
		{Duty: store.DutyAssemble, Destination: bundle.IPN(3, 11)},
		{Duty: store.DutyGroup, Destination: bundle.DTN("sat", "~all")},
	}
}

// laneRecord returns the record of the made-up bundle n in a lane.
func laneRecord(n uint64, l store.Lane, h store.Handle) store.Record {
	r := Record(n, 10)
	r.Handle, r.Duty, r.Destination, r.Priority = h, l.Duty, l.Destination, l.Priority
	if l.Duty != store.DutyForward {
		r.Priority = bundle.Priority(n % 3) // which is no matter of the lane
	}
	return r
}

func putRecord(s store.Store, n uint64, r store.Record) error {
	st, err := Stage(s, Bytes(n, r.Size))
	if err != nil {
		return err
	}
	return s.Commit(context.Background(), []store.Op{store.Put{Record: r, Staged: st}})
}

// checkLanes pages through all lanes of s and compares them with want.
func checkLanes(t *testing.T, s store.Store, want map[store.Lane][]store.Record) {
	t.Helper()
	var lanes []store.Lane
	for after := (store.Lane{}); ; after = lanes[len(lanes)-1] {
		page, err := s.Lanes(after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > 2 {
			t.Fatalf("%d lanes over a limit of 2", len(page))
		}
		if len(page) == 0 {
			break
		}
		lanes = append(lanes, page...)
	}
	if len(lanes) != len(want) {
		t.Fatalf("lanes are %v, want %d", lanes, len(want))
	}
	for _, l := range lanes {
		records := want[l]
		if len(records) == 0 {
			t.Fatalf("lane %s shows; it should not", l)
		}
		slices.SortFunc(records, func(a, b store.Record) int { return cmp.Compare(a.Handle, b.Handle) })
		var got []store.Record
		for after := store.Handle(0); ; after = got[len(got)-1].Handle {
			page, err := s.ScanLane(l, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > 3 {
				t.Fatalf("%d records over a limit of 3", len(page))
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, records) {
			t.Fatalf("lane %s holds %+v, want %+v", l, got, records)
		}
		delete(want, l)
	}
}

func testLanes(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	checkLanes(t, s, nil)
	lanes := someLanes()
	const each = 7
	stored := map[store.Lane][]store.Record{}
	n := uint64(0)
	handles := make([]store.Handle, each*len(lanes))
	for i := range handles {
		handles[i] = s.NextHandle()
	}
	for _, i := range rand.New(rand.NewSource(2)).Perm(len(handles)) { // committed out of order
		l := lanes[i%len(lanes)]
		r := laneRecord(n, l, handles[i])
		if err := putRecord(s, n, r); err != nil {
			t.Fatal(err)
		}
		stored[l] = append(stored[l], r)
		n++
	}
	clone := func() map[store.Lane][]store.Record {
		out := map[store.Lane][]store.Record{}
		for _, l := range lanes {
			if len(stored[l]) > 0 {
				out[l] = slices.Clone(stored[l])
			}
		}
		return out
	}
	checkLanes(t, s, clone())
	s = reopen()
	checkLanes(t, s, clone())

	// Bundles leave from the front, the middle and the end; one lane empties.
	emptied := lanes[3]
	for _, l := range lanes {
		leave := []int{0, 3, each - 1}
		if l == emptied {
			leave = []int{0, 1, 2, 3, 4, 5, 6}
		}
		slices.SortFunc(stored[l], func(a, b store.Record) int { return cmp.Compare(a.Handle, b.Handle) })
		for _, i := range slices.Backward(leave) {
			r := stored[l][i]
			mustCommit(t, s, store.Delete{Handle: r.Handle, Gone: gone(r, 900000000000)})
			stored[l] = slices.Delete(stored[l], i, i+1)
		}
	}
	for i := range stored[lanes[0]] { // an update shows
		r := &stored[lanes[0]][i]
		r.Attempts = 5
		mustCommit(t, s, store.Update{Record: *r})
	}
	for range 2 {
		checkLanes(t, s, clone())
		if page, err := s.ScanLane(emptied, 0, 5); err != nil || len(page) != 0 {
			t.Errorf("an empty lane holds %v, %v", page, err)
		}
		if page, err := s.ScanLane(lanes[0], 0, 0); err != nil || len(page) != 0 {
			t.Errorf("scan with no limit left: %v, %v", page, err)
		}
		if page, err := s.ScanLane(lanes[0], ^store.Handle(0), 5); err != nil || len(page) != 0 {
			t.Errorf("scan behind the last handle: %v, %v", page, err)
		}
		if page, err := s.Lanes(store.Lane{}, 0); err != nil || len(page) != 0 {
			t.Errorf("lanes with no limit left: %v, %v", page, err)
		}
		s = reopen()
	}
	// A put and its delete in one commit leave no lane behind.
	r := laneRecord(n, emptied, s.NextHandle())
	st, err := Stage(s, Bytes(n, r.Size))
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, store.Put{Record: r, Staged: st}, store.Delete{Handle: r.Handle})
	checkLanes(t, s, clone())
}

// testLanesConcurrent lets many put into and delete from the same lanes at once,
// while others read them.
func testLanesConcurrent(t *testing.T, open Open) {
	const workers, each = 8, 24
	s, reopen := open(t, Options{})
	lanes := someLanes()
	kept := make([][]store.Record, workers)
	var g errgroup.Group
	for w := range workers {
		g.Go(func() error {
			for i := range each {
				n := uint64(w*each + i)
				r := laneRecord(n, lanes[i%len(lanes)], s.NextHandle())
				if err := putRecord(s, n, r); err != nil {
					return err
				}
				page, err := s.ScanLane(r.Lane(), r.Handle-1, 1)
				if err != nil {
					return err
				}
				if len(page) != 1 || page[0] != r {
					t.Errorf("bundle %d does not show in its lane: %v", r.Handle, page)
				}
				if i%3 != 0 {
					kept[w] = append(kept[w], r)
					continue
				}
				if err := s.Commit(context.Background(), []store.Op{store.Delete{Handle: r.Handle}}); err != nil {
					return err
				}
				if page, err = s.ScanLane(r.Lane(), r.Handle-1, 1); err != nil {
					return err
				}
				if len(page) == 1 && page[0].Handle == r.Handle {
					t.Errorf("bundle %d left and still shows in its lane", r.Handle)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		want := map[store.Lane][]store.Record{}
		for _, records := range kept {
			for _, r := range records {
				want[r.Lane()] = append(want[r.Lane()], r)
			}
		}
		checkLanes(t, s, want)
		s = reopen()
	}
}
