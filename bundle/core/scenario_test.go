package core_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
)

// TestScenarios runs the scripts of testdata. A script is read line by line; what
// follows # is a comment. Times are seconds from the beginning. First come
//
//	contact A B START END KBITS     both ways, every 100 s from START on
//	node [unaware] [always] [via NEXT] [resident N]  the next node: 1, 2, ...; N bundles in memory
//
// and then
//
//	at T                            lets time pass until T
//	send NAME A B [plain] [divisible] [size N] [lifetime S] [priority P]
//	                                 B 0 stands for a non-singleton endpoint
//	register N K, unregister N K    application K of node N at that endpoint
//	lose A B bundle|signal          what A transmits to B next vanishes
//	crash N, boot N, forget N       forget loses the counters
//	power N before|after put|delete|update
//	                                 cuts the power around the next such commit
//	full N yes|no                   whether the store has room
//	room N BYTES                    for custody alone; 0: without limit
//	plan N A B START END            gives N a wrong plan of that contact alone
//	hold N M yes|no                 the operator of N holds its link with M down
//	want NAME custody N,N|-         who has it in custody
//	want NAME delivered K           how often it was delivered
//	want NAME sent A B K            how many transfers of it began
//	want NAME pieces A B K          how many transfers of parts of it began
//	want NAME refused               its sender was told that it is not taken
//	want NAME taken N K yes|no      whether application K of node N has it
//	want NAME left N TEXT|gone      what is left to be done with it there
//	news N KIND K                   how many such events a node told of
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) { runScript(t, file) })
	}
}

// script is a scenario under way.
type script struct {
	t        *testing.T
	w        *world
	contacts []contact.Contact
	names    map[string]*fate
	lose     []loss
	started  bool
}

type loss struct {
	from, to int
	admin    bool
}

func runScript(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &script{t: t, w: newWorld(t, 1, nil), names: make(map[string]*fate)}
	s.w.faults.drop = s.drop
	var history []string
	s.w.log = func(line string) { history = append(history, line) }
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := s.command(words); err != nil {
			t.Errorf("%s:%d: %s: %v", file, n, strings.TrimSpace(line), err)
		}
		if t.Failed() {
			t.Log("history:\n" + strings.Join(history, "\n"))
			return
		}
	}
}

// args reads the numbers that a command ends with.
func args(words []string) []int {
	list := make([]int, max(8, len(words)))
	for i := range words {
		list[i], _ = strconv.Atoi(words[i])
	}
	return list
}

func moment(seconds int) dtntime.Time { return start.Add(dtntime.Duration(seconds) * second) }

func (s *script) command(words []string) error {
	n := args(words[1:])
	switch words[0] {
	case "contact":
		s.contacts = append(s.contacts, between(n[0], n[1], n[2], n[3], n[4])...)
		return nil
	case "node":
		s.addNode(words[1:])
		return nil
	}
	s.begin()
	switch words[0] {
	case "at":
		s.w.run(moment(n[0]), nil)
	case "send":
		return s.send(words[1:])
	case "register":
		s.node(n[0]).register(core.Registration{Number: uint64(n[1]), Endpoint: fleet})
	case "unregister":
		s.node(n[0]).unregister(uint64(n[1]))
	case "lose":
		s.lose = append(s.lose, loss{n[0], n[1], words[3] == "signal"})
	case "crash":
		s.node(n[0]).crash()
	case "boot":
		s.node(n[0]).boot()
	case "forget":
		clear(s.node(n[0]).counters)
	case "power":
		s.power(s.node(n[0]), words[2] == "after", words[3])
	case "full":
		s.node(n[0]).full = words[2] == "yes"
	case "room":
		s.node(n[0]).room = int64(n[1])
	case "plan":
		plan, err := contact.New(between(n[1], n[2], n[3], n[4], 1000))
		if err != nil {
			return err
		}
		s.w.inform(s.node(n[0]), plan)
	case "hold":
		s.node(n[0]).hold(eid(n[1]), words[3] == "yes")
	case "want":
		return s.want(words[1:])
	case "news":
		return s.news(s.node(n[0]), words[2], n[2])
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

func (s *script) node(n int) *machine { return s.w.nodes[n-1] }

// between makes contacts both ways that come again every 100 s for some hours.
func between(a, b, from, to, kbits int) []contact.Contact {
	var list []contact.Contact
	for again := 0; again < 20_000; again += 100 {
		for _, pair := range [][2]int{{a, b}, {b, a}} {
			list = append(list, contact.Contact{
				From: eid(pair[0]), To: eid(pair[1]), Start: moment(from + again), End: moment(to + again),
				Rate: contact.BitRate(kbits) * contact.KilobitPerSecond,
			})
		}
	}
	return list
}

func (s *script) addNode(words []string) {
	o := options{unaware: slices.Contains(words, "unaware"), always: slices.Contains(words, "always")}
	if i := slices.Index(words, "via"); i >= 0 {
		o.routes = []route.Route{{To: "*", Next: eid(args(words[i+1:])[0])}}
	}
	if i := slices.Index(words, "resident"); i >= 0 {
		o.resident = args(words[i+1:])[0]
	}
	s.w.add(o)
}

// begin starts all nodes.
func (s *script) begin() {
	if s.started {
		return
	}
	s.started = true
	plan, err := contact.New(s.contacts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.w.truth = plan
	for _, m := range s.w.nodes {
		m.plan = plan
		m.boot()
	}
}

func (s *script) drop(t *transfer) bool {
	i := slices.Index(s.lose, loss{t.from.number, t.to.number, t.admin})
	if i < 0 {
		return false
	}
	s.lose = slices.Delete(s.lose, i, i+1)
	return true
}

func (s *script) power(m *machine, after bool, kind string) {
	m.power = func(ops []store.Op, now bool) bool {
		got := ""
		switch ops[len(ops)-1].(type) {
		case store.Put:
			got = "put"
		case store.Update:
			got = "update"
		case store.Delete:
			got = "delete"
		}
		if now != after || got != kind {
			return false
		}
		m.power = nil
		return true
	}
}

func (s *script) send(words []string) error {
	n := args(words[1:])
	size, opts := 1000, []bundletest.Option{bundletest.Lifetime(5 * dtntime.Hour)}
	for i := 3; i+1 < len(words); i++ {
		value := args(words[i+1:])[0]
		switch words[i] {
		case "size":
			size = value
		case "lifetime":
			opts = append(opts, bundletest.Lifetime(dtntime.Duration(value)*second))
		case "priority":
			opts = append(opts, bundletest.Priority(bundle.Priority(value)))
		}
	}
	if slices.Contains(words, "divisible") {
		opts = append(opts, divisible)
	}
	s.names[words[0]] = s.node(n[0]).send(n[1], !slices.Contains(words, "plain"), size, opts...)
	return nil
}

func (s *script) want(words []string) error {
	f := s.names[words[0]]
	n := args(words[2:])
	switch words[1] {
	case "custody":
		var who []string
		for _, m := range s.w.nodes {
			if trace, _ := m.store.Find(f.id); trace.Live != nil && trace.Live.Custodial {
				who = append(who, strconv.Itoa(m.number))
			}
		}
		if got := strings.Join(who, ","); got != strings.Trim(words[2], "-") {
			return fmt.Errorf("it is in the custody of %q", got)
		}
	case "delivered":
		if f.delivered != n[0] {
			return fmt.Errorf("delivered %d times", f.delivered)
		}
	case "sent":
		if got := s.w.transfers[fmt.Sprintf("%s %d->%d", f.id, n[0], n[1])]; got != n[2] {
			return fmt.Errorf("%d transfers", got)
		}
	case "pieces":
		got := 0
		for what, times := range s.w.transfers {
			if strings.HasPrefix(what, f.id.String()+"+") && strings.HasSuffix(what, fmt.Sprintf(" %d->%d", n[0], n[1])) {
				got += times
			}
		}
		if got != n[2] {
			return fmt.Errorf("%d transfers", got)
		}
	case "taken":
		if taken := f.taker(seat{n[0], uint64(n[1])}).done; taken != (words[4] == "yes") {
			return fmt.Errorf("taken: %v", taken)
		}
	case "left":
		left := "gone"
		if trace, _ := s.node(n[0]).store.Find(f.id); trace.Live != nil {
			left = string(trace.Live.Spread)
		}
		if want := strings.Join(words[3:], " "); left != want {
			return fmt.Errorf("left: %s", left)
		}
	case "refused":
		if f.refused == nil {
			return fmt.Errorf("it was taken")
		}
	default:
		return fmt.Errorf("no such wish")
	}
	return nil
}

func (s *script) news(m *machine, kind string, want int) error {
	got := 0
	for _, e := range m.news {
		if string(e.Kind) == kind {
			got++
		}
	}
	if got != want {
		return fmt.Errorf("told %d times", got)
	}
	return nil
}
