package dtn7

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dtn7/dtn7-go/pkg/bpv7"
	"github.com/dtn7/dtn7-go/pkg/cla"
	"github.com/dtn7/dtn7-go/pkg/discovery"
	"go.uber.org/goleak"

	"perigee/convergence"
	"perigee/convergence/mtcp"
)

func announced(t testing.TB, all ...discovery.Announcement) []byte {
	t.Helper()
	datagram, err := discovery.MarshalAnnouncements(all)
	if err != nil {
		t.Fatal(err)
	}
	return datagram
}

func TestNeighbours(t *testing.T) {
	form, err := wellformed()
	if err != nil {
		t.Fatal(err)
	}
	a, b := bpv7.MustNewEndpointID("dtn://a/"), bpv7.MustNewEndpointID("ipn:7.3")
	datagram := announced(t,
		discovery.Announcement{Type: cla.MTCP, Endpoint: a, Port: 16162},
		discovery.Announcement{Type: cla.TCPCLv4, Endpoint: a, Port: 4556},
		discovery.Announcement{Type: cla.MTCP, Endpoint: b, Port: 65535},
		discovery.Announcement{Type: cla.MTCP, Endpoint: b, Port: 65536},
		discovery.Announcement{Type: cla.MTCP, Endpoint: b, Port: 0},
	)
	for from, want := range map[string][]Neighbour{
		"192.0.2.7": {{"dtn://a/", "192.0.2.7:16162"}, {"ipn:7.3", "192.0.2.7:65535"}},
		"fe80::1":   {{"dtn://a/", "[fe80::1]:16162"}, {"ipn:7.3", "[fe80::1]:65535"}},
	} {
		if got, err := neighbours(form, datagram, net.ParseIP(from)); err != nil || !slices.Equal(got, want) {
			t.Errorf("from %s: got %v, %v, want %v", from, got, err, want)
		}
	}
	ipn2 := []byte{0x81, 0x83, 0x0a, 0x82, 0x02, 0x82, 0x02, 0x00, 0x01} // at ipn:2.0, which no dtn7 node is
	if got, err := neighbours(form, ipn2, net.IPv4(192, 0, 2, 7)); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v, want none", got, err)
	}
	for cut := range datagram {
		if got, err := neighbours(form, datagram[:cut], nil); err == nil {
			t.Errorf("cut to %d bytes it reads as %v", cut, got)
		}
	}
}

// Our announcements are read by dtn7-go.
func TestAnnouncement(t *testing.T) {
	datagram, err := announcement(bpv7.MustNewEndpointID("dtn://a/"), []int{16162, 16163})
	if err != nil {
		t.Fatal(err)
	}
	got, err := discovery.UnmarshalAnnouncements(datagram)
	if err != nil || len(got) != 2 || got[1].Port != 16163 || got[1].Type != cla.MTCP || got[1].Endpoint.String() != "dtn://a/" {
		t.Errorf("dtn7-go reads %v, %v", got, err)
	}
	if _, err := announcement(bpv7.MustNewEndpointID("dtn://a/"), make([]int, 200)); err == nil {
		t.Error("an announcement was made that no datagram holds")
	}
}

// huge says that as many announcements follow as there is memory in no machine.
func huge() []byte { return []byte{0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0} }

// TestManagerWouldPanic shows why dtn7-go's own manager is not used: it reads datagrams
// in a goroutine where nothing recovers.
func TestManagerWouldPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("dtn7-go reads a lying datagram without a panic now; see whether its manager can be used")
		}
	}()
	_, _ = discovery.UnmarshalAnnouncements(huge())
}

func TestHostileAnnouncements(t *testing.T) {
	form, err := wellformed()
	if err != nil {
		t.Fatal(err)
	}
	good := announced(t, discovery.Announcement{Type: cla.MTCP, Endpoint: bpv7.MustNewEndpointID("dtn://a/"), Port: 1})
	long := announced(t, discovery.Announcement{Type: cla.MTCP, Endpoint: bpv7.MustNewEndpointID("dtn://" + strings.Repeat("a", 1500) + "/"), Port: 1})
	many := append([]byte{0x98, 17}, bytes.Repeat(good[1:], 17)...)
	for name, datagram := range map[string][]byte{
		"a lying count":    huge(),
		"a lying text":     {0x81, 0x83, 0x0a, 0x82, 0x01, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00},
		"too long":         long,
		"too many":         many,
		"too deep":         bytes.Repeat([]byte{0x81}, 1000),
		"no length":        append([]byte{0x9f}, append(slices.Clone(good[1:]), 0xff)...),
		"bytes behind it":  append(slices.Clone(good), 0),
		"an unknown layer": {0x81, 0x83, 0x18, 0x63, 0x82, 0x01, 0x00, 0x01},
		"no announcement":  []byte("hello"),
		"nothing":          {},
	} {
		if got, err := neighbours(form, datagram, nil); err == nil {
			t.Errorf("%s reads as %v", name, got)
		}
	}
}

func FuzzNeighbours(f *testing.F) {
	form, err := wellformed()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(announced(f, discovery.Announcement{Type: cla.MTCP, Endpoint: bpv7.MustNewEndpointID("dtn://a/"), Port: 16162}))
	f.Add(announced(f, discovery.Announcement{Type: cla.TCPCLv4, Endpoint: bpv7.MustNewEndpointID("ipn:1.2"), Port: 1}))
	f.Add(huge())
	f.Fuzz(func(t *testing.T, datagram []byte) {
		found, err := neighbours(form, datagram, net.IPv4(192, 0, 2, 1))
		if err != nil {
			return
		}
		for _, n := range found {
			if CheckNode(n.Node) != nil || n.Node == "" {
				t.Errorf("found %q, which dtn7-go cannot read", n.Node)
			}
			if _, _, err := net.SplitHostPort(n.Address); err != nil {
				t.Errorf("found the address %q: %v", n.Address, err)
			}
		}
	})
}

// TestDiscover lets nodes find each other over the loopback interface.
func TestDiscover(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	inbox, err := mtcp.Listen(t.Context(), "127.0.0.1:0", mtcp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	_, text, _ := net.SplitHostPort(inbox.Addr())
	var port int
	fmt.Sscan(text, &port)

	here, err := Discover(t.Context(), DiscoveryConfig{Node: "dtn://here/", Ports: []int{port}, Interval: 5 * time.Millisecond, Interfaces: []string{"lo"}, Dial: noDial})
	if err != nil {
		t.Fatal(err)
	}
	there, err := Discover(t.Context(), DiscoveryConfig{
		Node: "dtn://there/", Ports: []int{port + 1}, Interval: 5 * time.Millisecond, Interfaces: []string{"lo"},
		Wanted: func(node string) bool { return node == "dtn://here/" },
		Dial: func(ctx context.Context, n Neighbour) (convergence.Session, error) {
			if _, p, _ := net.SplitHostPort(n.Address); p != text {
				t.Errorf("dial of %+v, which no one announced", n)
			}
			return mtcp.NewDialer(mtcp.Config{Peer: n.Node}).Dial(ctx, inbox.Addr())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	first, err := there.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.PeerNode() != "dtn://here/" {
		t.Errorf("found %q", first.PeerNode())
	}
	// As long as there is a session, no other is opened.
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := there.Accept(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second session: %v, %v", s, err)
	}
	// What is heard besides changes nothing.
	stranger, err := net.Dial("udp4", Group)
	if err != nil {
		t.Fatal(err)
	}
	for _, datagram := range [][]byte{huge(), {}, make([]byte, 9000)} {
		_, _ = stranger.Write(datagram) // it may have no way to the group
	}
	stranger.Close()
	// Once it has ended it is opened anew.
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := there.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(there.Close(), here.Close(), second.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if _, err := there.Accept(t.Context()); !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for range 2 {
		s, err := inbox.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Close(t.Context())
	}
}

func noDial(context.Context, Neighbour) (convergence.Session, error) {
	return nil, errors.New("nobody is wanted")
}

func TestBadDiscovery(t *testing.T) {
	good := DiscoveryConfig{Node: "dtn://a/", Interfaces: []string{"lo"}, Dial: noDial}
	for name, spoil := range map[string]func(*DiscoveryConfig){
		"node":      func(c *DiscoveryConfig) { c.Node = "ipn:2.0" },
		"ports":     func(c *DiscoveryConfig) { c.Ports = make([]int, 300) },
		"interval":  func(c *DiscoveryConfig) { c.Interval = -1 },
		"limit":     func(c *DiscoveryConfig) { c.MaxNeighbours = -1 },
		"interface": func(c *DiscoveryConfig) { c.Interfaces = []string{"nowhere0"} },
		"dial":      func(c *DiscoveryConfig) { c.Dial = nil },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := Discover(t.Context(), cfg); err == nil {
			t.Errorf("a bad %s was taken", name)
		}
	}
}

// The number of neighbours is bounded, whoever announces.
func TestManyNeighbours(t *testing.T) {
	d, err := newDiscoverer(DiscoveryConfig{Node: "dtn://a/", Interfaces: []string{"lo"}, MaxNeighbours: 3, Dial: noDial})
	if err != nil {
		t.Fatal(err)
	}
	begun := 0
	for i := range 100 {
		if d.begin(fmt.Sprintf("dtn://n%d/", i)) {
			begun++
		}
	}
	if begun != 3 || d.begin("dtn://a/") {
		t.Errorf("%d neighbours were begun with, want 3 and not this node", begun)
	}
}
