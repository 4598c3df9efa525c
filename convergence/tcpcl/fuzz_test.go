package tcpcl

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perigee/convergence"
)

func FuzzMessages(f *testing.F) {
	for _, c := range codecs() {
		f.Add(c.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range codecs() {
			_, n, err := c.parse(b)
			if n > len(b) || (err == nil) != (n > 0) {
				t.Fatalf("%s: used %d of %d bytes: %v", c.name, n, len(b), err)
			}
		}
		word, n := describe(b)
		if n == 0 {
			return
		}
		// What was parsed encodes to something that parses the same.
		again, err := compose(word)
		if err != nil {
			return // a node ID or data that the notation cannot write
		}
		if second, m := describe(again); m != len(again) || second != word {
			t.Fatalf("%x reads as %q, encodes as %x, reads as %q", b[:n], word, again, second)
		}
	})
}

// FuzzMachine feeds arbitrary bytes to a machine, once in one piece and once
// byte by byte: both must show the same, and hold what every machine promises.
func FuzzMachine(f *testing.F) {
	open := "header/4/0 init/60/8/100/-/ipn:2.0 "
	seeds := []string{"", "hex/47", "header/4/1 init/60/8/100/-/ipn:2.0 keepalive", "header/4/1 init/60/8/100/-/ipn:13.0"}
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files { // the input of the scenarios
		script, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, line := range strings.Split(string(script), "\n") {
			if words, ok := strings.CutPrefix(line, "> recv "); ok {
				seeds = append(seeds, words, open+words, open+words+" "+words)
			}
		}
	}
	for _, seed := range seeds {
		var b []byte
		for _, word := range strings.Fields(seed) {
			part, err := compose(word)
			if err != nil {
				f.Fatal(err)
			}
			b = append(b, part...)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, active bool) {
		whole, parts := newPlay(active), newPlay(active)
		whole.feed(t, b)
		for i := range b {
			parts.feed(t, b[i:i+1])
		}
		if whole.log.String() != parts.log.String() {
			t.Fatalf("in one piece:\n%s\nbyte by byte:\n%s", &whole.log, &parts.log)
		}
		if !bytes.Equal(whole.out, parts.out) {
			t.Fatalf("in one piece sent %x, byte by byte %x", whole.out, parts.out)
		}
		checkOutput(t, whole.out)
	})
}

// A play is a machine with an application that decides by what it gets.
type play struct {
	m       *Machine
	kept    []byte
	out     []byte
	log     strings.Builder
	data    []byte // of the latest transfer
	waiting []uint64
}

func newPlay(active bool) *play {
	p := &play{m: NewMachine(Params{
		Active: active, Keepalive: 30, SegmentMRU: 10, TransferMRU: 30, MaxIncoming: 3, TLS: TLSPrefer,
		Authenticate: func(nodeID string) (bool, error) {
			if nodeID == "ipn:13.0" {
				return false, errors.New("unlucky")
			}
			return true, nil
		},
	}, 0)}
	p.out = p.m.TakeOutput(nil)
	return p
}

func (p *play) feed(t *testing.T, b []byte) {
	p.kept = append(p.kept, b...)
	for {
		n, ev := p.m.Feed(p.kept, 0)
		p.kept = p.kept[n:]
		p.out = append(p.out, p.m.TakeOutput(nil)...)
		switch ev.Kind {
		case EventNone:
			if len(p.kept) > maxMessageHeader {
				t.Fatalf("machine holds back %d bytes", len(p.kept))
			}
			return
		case EventBlocked:
			if len(p.waiting) == 0 {
				t.Fatal("machine waits, yet everything is decided")
			}
			p.decide(t)
		case EventData:
			p.data = append(p.data, ev.Data...)
			if ev.End {
				fmt.Fprintf(&p.log, "bundle %d %q\n", ev.Transfer, p.data)
				p.waiting = append(p.waiting, ev.Transfer)
			}
		case EventSecure:
			fmt.Fprintln(&p.log, describeEvent(ev))
			p.m.Secured()
		case EventEstablished:
			fmt.Fprintln(&p.log, describeEvent(ev))
			p.send(t)
		case EventStart:
			p.data = p.data[:0]
			fmt.Fprintln(&p.log, describeEvent(ev))
		default:
			fmt.Fprintln(&p.log, describeEvent(ev))
		}
		if open := p.m.rx.open.len(); open > 3 {
			t.Fatalf("%d transfers are open, at most 3", open)
		}
	}
}

// send gives the peer something to acknowledge, where it can.
func (p *play) send(t *testing.T) {
	for range 2 {
		if _, err := p.m.Begin(2); err != nil {
			return
		}
		for range 2 / p.m.SegmentSize(2) {
			if err := p.m.Segment([]byte("ab")[:p.m.SegmentSize(2)]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// decide accepts and refuses what waits, the last first.
func (p *play) decide(t *testing.T) {
	for i := len(p.waiting) - 1; i >= 0; i-- {
		n := p.waiting[i]
		var err error
		if n%3 == 1 {
			err = p.m.Refuse(n, convergence.RefuseNoResources)
		} else {
			err = p.m.Accept(n)
		}
		if err != nil && p.m.Err() == nil {
			t.Fatalf("decide bundle %d: %v", n, err)
		}
	}
	p.waiting = p.waiting[:0]
	p.out = append(p.out, p.m.TakeOutput(nil)...)
}

// checkOutput checks that a machine sent whole messages and nothing after
// SESS_TERM that begins a transfer.
func checkOutput(t *testing.T, out []byte) {
	ended := false
	for len(out) > 0 {
		word, n := describe(out)
		if n == 0 {
			t.Fatalf("output is no message: %x", out)
		}
		ended = ended || out[0] == typeSessTerm
		if ended && out[0] == typeXferSegment && out[1]&flagStart != 0 {
			t.Fatalf("%s begins after SESS_TERM", word)
		}
		out = out[n:]
	}
}
