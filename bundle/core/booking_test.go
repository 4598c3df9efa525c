package core_test

import (
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/store"
)

// twoWays is a plan with two ways from node 1 to node 4: over node 2 soon, and over node
// 3 later. Each first contact holds 9.8 kB.
func twoWays(t *testing.T) *contact.Plan {
	var list []contact.Contact
	for _, c := range []struct{ from, to, start, end int }{{1, 2, 10, 20}, {2, 4, 30, 60}, {1, 3, 40, 50}, {3, 4, 60, 90}} {
		list = append(list, contact.Contact{
			From: eid(c.from), To: eid(c.to), Start: moment(c.start), End: moment(c.end), Rate: 8 * contact.KilobitPerSecond,
		})
	}
	plan, err := contact.New(list)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// queued returns how many bundles wait for nodes 2 and 3.
func (b *bench) queued() (two, three int64) {
	for _, l := range b.core.Status(1).Links {
		switch l.Peer {
		case eid(2):
			two = l.Queued
		case eid(3):
			three = l.Queued
		}
	}
	return two, three
}

// firstOf returns a stored bundle of a priority.
func firstOf(b *bench, p bundle.Priority) store.Record {
	for _, rec := range b.kept {
		if rec.Priority == p {
			return rec
		}
	}
	b.t.Fatalf("no bundle of priority %s is stored", p)
	return store.Record{}
}

func toNode4(p bundle.Priority) []bundletest.Option {
	return []bundletest.Option{bundletest.To(eid(4).WithService(1)), bundletest.Priority(p)}
}

// Bundles take the next way when the contacts of the first are spoken for, more urgent
// ones push others there, and where there is no other way they stand by.
func TestContactsAreBooked(t *testing.T) {
	b := newBench(t, twoWays(t), false, func(cfg *core.Config) {
		cfg.Neighbours = append(cfg.Neighbours, core.Neighbour{Peer: eid(3)})
	})
	want := func(when string, two, three int64) {
		t.Helper()
		if a, b := b.queued(); a != two || b != three {
			t.Errorf("%s, %d bundles wait for node 2 and %d for node 3, want %d and %d", when, a, b, two, three)
		}
	}
	for range 3 {
		b.arrive(0, true, 2900, toNode4(bundle.PriorityBulk)...)
	}
	want("with room in the first contact", 3, 0)
	b.arrive(0, true, 2900, toNode4(bundle.PriorityBulk)...)
	want("with the first contact full", 3, 1)
	b.arrive(0, true, 6000, toNode4(bundle.PriorityExpedited)...)
	want("after an expedited bundle", 2, 3)
	b.arrive(0, true, 2900, toNode4(bundle.PriorityBulk)...)
	want("with both contacts full", 3, 3)
	b.step(core.Remove{Token: 1000, Record: firstOf(b, bundle.PriorityExpedited)})
	b.arrive(0, true, 5800, toNode4(bundle.PriorityNormal)...)
	want("after the expedited bundle was removed", 3, 3)
}

// What is booked of contacts that a new plan has as well stays booked.
func TestBookingsOutliveThePlan(t *testing.T) {
	b := newBench(t, twoWays(t), false, func(cfg *core.Config) {
		cfg.Neighbours = append(cfg.Neighbours, core.Neighbour{Peer: eid(3)})
	})
	for range 4 {
		b.arrive(0, true, 2900, toNode4(bundle.PriorityBulk)...)
	}
	longer, err := twoWays(t).With(contact.Contact{
		From: eid(1), To: eid(2), Start: moment(100), End: moment(110), Rate: 8 * contact.KilobitPerSecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.step(core.PlanChanged{Plan: longer})
	b.arrive(0, true, 2900, toNode4(bundle.PriorityBulk)...)
	if two, three := b.queued(); two != 3 || three != 2 {
		t.Errorf("%d bundles wait for node 2 and %d for node 3, want 3 and 2", two, three)
	}
	// Without the way over node 2, all go over node 3 as far as there is room.
	short, _ := longer.Without(func(c contact.Contact) bool { return c.To == eid(2) })
	b.step(core.PlanChanged{Plan: short})
	if two, three := b.queued(); two != 0 || three != 5 {
		t.Errorf("%d bundles wait for node 2 and %d for node 3, want none and 5", two, three)
	}
}
