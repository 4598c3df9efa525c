package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// TestLTPContacts lets two daemons exchange bundles over LTP in two short contacts. The
// session stays between them, at the rate and the distance of each.
func TestLTPContacts(t *testing.T) {
	now := clock{}.Now()
	var list []contact.Contact
	for _, begin := range []dtntime.Duration{0, 6 * dtntime.Second} {
		for _, way := range [][2]uint64{{1, 2}, {2, 1}} {
			list = append(list, contact.Contact{
				From: bundle.IPN(way[0], 0), To: bundle.IPN(way[1], 0), Start: now.Add(begin), End: now.Add(begin + 5*dtntime.Second),
				Rate: 50 * contact.MegabitPerSecond, Light: 3 * dtntime.Millisecond,
			})
		}
	}
	plan, err := contact.New(list)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plan.jsonl")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.WriteTo(f); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	port, file := freePort(t), fmt.Sprintf(", contact_plan = %q", file)
	a := runDaemon(t, "ipn:1.0", fmt.Sprintf("link = [{ layer = \"ltp\", peer = \"ipn:2.0\", address = \"127.0.0.1:%d\" }]\n", port), file)
	// The other one does not know where its neighbour is.
	b := runDaemon(t, "ipn:2.0", fmt.Sprintf("listen = [{ layer = \"ltp\", address = \"127.0.0.1:%d\" }]\n"+
		"link = [{ layer = \"ltp\", peer = \"ipn:1.0\" }]\n", port), file)
	carry(t, a, b, bundle.IPN(2, 1), 300_000, true)
	carry(t, b, a, bundle.IPN(1, 1), 300_000, true)
	var since dtntime.Time
	eventually(t, "the link waits for its next contact", func() bool {
		s, err := a.Status(t.Context())
		if err != nil || s.Links[0].Physical != "suspended" {
			return false
		}
		since = s.Links[0].Since
		return true
	})
	carry(t, a, b, bundle.IPN(2, 1), 300_000, true)
	if s, err := a.Status(t.Context()); err != nil || s.Links[0].Since != since || s.Links[0].Physical != "up" {
		t.Errorf("in the second contact: %+v, %v; want the session of the first, which began at %v", s.Links, err, time.Duration(since))
	}
}
