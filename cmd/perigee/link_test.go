package main

import (
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

func TestLinkText(t *testing.T) {
	const now = dtntime.Time(1_000_000)
	soon := now.Add(90 * dtntime.Second)
	for _, c := range []struct {
		link                                   app.Link
		scheduled, physical, operator, failure string
	}{
		{app.Link{Scheduled: app.LinkAlways, Physical: app.LinkUp}, "always", "up", "-", "-"},
		{app.Link{Scheduled: app.LinkInContact, Until: soon, Next: now.Add(dtntime.Hour), Physical: app.LinkClosing, Held: true}, "open for 1m30s", "closing", "held down", "-"},
		{app.Link{Scheduled: app.LinkWaiting, Next: soon, Physical: app.LinkSuspended}, "in 1m30s", "suspended", "-", "-"},
		{
			app.Link{Scheduled: app.LinkUnscheduled, Physical: app.LinkBackingOff, RetryAt: now.Add(4 * dtntime.Second), LastError: "refused", LastErrorAt: now - 3000},
			"none", "backing off for 4s", "-", "3s ago: refused",
		},
	} {
		l := &c.link
		got := []string{scheduledText(l, now), physicalText(l, now), operatorText(l), errorText(l, now)}
		want := []string{c.scheduled, c.physical, c.operator, c.failure}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%+v is shown as %q, want %q", c.link, got, want)
		}
	}
	if got := carriedText(3, 2_000_000, 1_500_000) + ", " + carriedText(0, 0, 0); got != "3 (2.0 MB) at 1.5 Mbit/s, 0 (0 B)" {
		t.Errorf("carried: %q", got)
	}
}

func TestLinkCommands(t *testing.T) {
	n := startMemory(t)
	n.AddLink(bundle.IPN(3, 0))
	n.AddLink(bundle.IPN(4, 0))
	n.want(0, `ipn:3\.0 +memory +always +connecting +- +1 Mbit/s(.|\n)*ipn:4\.0 `, "", "link", "ls")
	n.want(0, `^peer +ipn:4\.0\nlayer +memory\n`, "", "link", "ls", "ipn:4.7")
	n.want(0, `operator +held down`, "", "link", "down", "ipn:3.0")
	n.want(0, `"held": true,\n +"held_since": \d+`, "", "link", "down", "ipn:3.0", "-o", "json")
	n.want(0, `"physical": "connecting"(.|\n)*"held": false`, "", "link", "up", "ipn:3.0", "-o", "json")
	n.want(1, `link up: .*ipn:9\.0.*perigee link ls lists`, "", "link", "up", "ipn:9.0")
	n.want(2, `null endpoint is no neighbour`, "", "link", "down", "dtn:none")
	n.want(75, `link watch: 0 events came within 10ms`, "", "link", "watch", "--timeout", "10ms")
}

func TestLinkWatchTellsWhatIsLost(t *testing.T) {
	e, out, _ := testEnv("")
	peer := bundle.IPN(3, 0)
	for _, ev := range []app.Event{
		{At: 848910365192, Kind: app.EventLinkDown, Peer: &peer, Detail: "gone"}, {At: 848910365193, Kind: app.EventLost, Count: 7},
	} {
		if err := e.showEvent(ev); err != nil {
			t.Fatal(err)
		}
	}
	want := "2026-11-25T08:26:05.192Z  link-down      ipn:3.0  gone\n2026-11-25T08:26:05.193Z  lost           -  7 events\n"
	if out.String() != want {
		t.Errorf("shown as\n%swant\n%s", out, want)
	}
}
