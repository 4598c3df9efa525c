package tcpcl

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"perigee/convergence"
)

var update = flag.Bool("update", false, "write what the scenarios show into testdata")

// TestScenarios runs the sessions in testdata: a line that begins with ">" is
// given to the machine, the lines below are what it shows: events first, then
// what it sends, then its state when that has changed. Lines with # are kept.
//
//	> new active|passive     keepalive 30 s, Segment MRU 10, Transfer MRU 30, 3 transfers, at least
//	                         5 bytes in 2 minutes, acknowledgements within 10; and more words:
//	                         prefer or require TLS, busy, least=N as segment of the peer, only=NODE-ID,
//	                         silent without keepalives
//	> recv MESSAGE...        all in one piece       > trickle MESSAGE...   byte by byte
//	> begin LENGTH           > segment TEXT         > accept N   > refuse N REASON
//	> terminate              > at DURATION          > listening on|off
//	> open                   contact header and SESS_INIT of the peer, keepalive 60 s
//	> secured                > jam on|off   the transport takes nothing
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScenario(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s shows something else; got\n%s", file, got)
			}
		})
	}
}

func runScenario(t *testing.T, script string) string {
	var out strings.Builder
	var s scenario
	for _, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		command, ok := strings.CutPrefix(line, "> ")
		switch {
		case ok:
			fmt.Fprintln(&out, line)
			for _, shown := range s.run(t, strings.Fields(command)) {
				fmt.Fprintf(&out, "    %s\n", shown)
			}
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}

type scenario struct {
	m     *Machine
	now   time.Duration
	state string
	kept  []byte // input that the machine has not used
	shown []string
	jam   bool
}

func (s *scenario) run(t *testing.T, f []string) []string {
	t.Helper()
	s.shown = nil
	arg := func(i int) uint64 {
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		return n
	}
	var err error
	switch f[0] {
	case "new":
		s.now, s.state, s.kept, s.jam = 0, "", nil, false
		s.m = NewMachine(paramsOf(t, f[1:]), 0)
	case "open":
		s.recv(t, []string{"header/4/0", "init/60/8/100/-/ipn:2.0"}, false)
	case "recv", "trickle":
		s.recv(t, f[1:], f[0] == "trickle")
	case "begin":
		_, err = s.m.Begin(arg(1))
	case "segment":
		err = s.m.Segment([]byte(strings.Join(f[1:], " ")))
	case "accept":
		err = s.m.Accept(arg(1))
	case "refuse":
		err = s.m.Refuse(arg(1), convergence.RefuseReason(arg(2)))
	case "terminate":
		s.m.Terminate(TermUnknown)
	case "at":
		if s.now, err = time.ParseDuration(f[1]); err == nil {
			s.m.Tick(s.now)
		}
	case "secured":
		s.m.Secured()
	case "jam":
		s.jam = f[1] == "on"
	case "listening":
		s.m.Listening(f[1] == "on", s.now)
	default:
		t.Fatalf("%q is no command", f[0])
	}
	if err != nil {
		s.show("error: %v", err)
	}
	s.showOutput(t)
	return s.shown
}

// paramsOf reads the words after "new".
func paramsOf(t *testing.T, words []string) Params {
	t.Helper()
	p := Params{
		NodeID: "ipn:1.0", Keepalive: 30, SegmentMRU: 10, TransferMRU: 30, MaxIncoming: 3,
		MinProgress: 5, ProgressTime: 2 * time.Minute, AckTimeout: 10 * time.Minute,
	}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "active", "passive":
			p.Active = name == "active"
		case "prefer":
			p.TLS = TLSPrefer
		case "require":
			p.TLS = TLSRequire
		case "busy":
			p.Busy = true
		case "silent":
			p.Keepalive = 0
		case "least":
			if _, err := fmt.Sscan(value, &p.MinSegmentMTU); err != nil {
				t.Fatal(err)
			}
		case "only":
			p.Authenticate = func(nodeID string) (bool, error) {
				if nodeID != value {
					return false, errors.New("the certificate names " + value)
				}
				return true, nil
			}
		default:
			t.Fatalf("%q says nothing about a machine", word)
		}
	}
	return p
}

func (s *scenario) show(format string, args ...any) {
	s.shown = append(s.shown, fmt.Sprintf(format, args...))
}

func (s *scenario) recv(t *testing.T, words []string, trickle bool) {
	t.Helper()
	in := s.kept
	for _, word := range words {
		b, err := compose(word)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, b...)
	}
	from := len(in)
	if trickle {
		from = min(len(s.kept)+1, len(in))
	}
	used := 0
	for end := from; end <= len(in); end++ {
		for {
			n, ev := s.m.Feed(in[used:end], s.now)
			used += n
			if ev.Kind == EventNone {
				break
			}
			s.show("%s", describeEvent(ev))
			if ev.Kind == EventBlocked {
				break
			}
		}
	}
	s.kept = in[used:]
}

func (s *scenario) showOutput(t *testing.T) {
	t.Helper()
	var out []byte
	if !s.jam {
		out = s.m.TakeOutput(nil)
	}
	if len(out) > 0 {
		s.m.Sent(s.now, true)
	}
	for len(out) > 0 {
		word, n := describe(out)
		if n == 0 {
			t.Fatalf("output is no message: %x", out)
		}
		s.show("send %s", word)
		out = out[n:]
	}
	state := ""
	switch {
	case s.m.Err() != nil:
		state = "failed: " + s.m.Err().Error()
	case s.m.Finished():
		state = "finished"
	}
	if state != s.state {
		s.state = state
		s.show("%s", state)
	}
}
