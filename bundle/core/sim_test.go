package core_test

import (
	"fmt"
	"math/rand"
	"os"
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

// Lengths of a simulation.
const (
	troubled = 40 * dtntime.Minute // while things go wrong
	period   = 4 * dtntime.Minute  // of the contact plan
	horizon  = 6 * dtntime.Hour    // of the contact plan, for what remains to drain
)

// steady is the highest number of the applications that stay registered all the time.
const steady = 2

// twice is how often a seed is run twice, to see that its history is the same.
const twice = 16

// TestSimulation runs random worlds with random faults and checks their
// histories. SEEDS says how many and SEED_BASE with which to begin. A seed that
// fails shows the end of its history; run alone, with SEEDS=1, all of it.
func TestSimulation(t *testing.T) {
	seeds, base := fromEnv("SEEDS", defaultSeeds), fromEnv("SEED_BASE", 1)
	for seed := base; seed < base+seeds; seed++ {
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			t.Parallel()
			w := makeSimulation(t, int64(seed))
			if seeds == 1 {
				w.log = func(line string) { t.Log(line) }
			}
			simulate(w)
			if t.Failed() {
				if seeds > 1 {
					t.Logf("the end of its history:\n%s", strings.Join(w.lastLines(), "\n"))
				}
				t.Logf("run it again with: make test-sim SEEDS=1 SEED_BASE=%d", seed)
				return
			}
			if seed%twice != 0 {
				return
			}
			again := makeSimulation(t, int64(seed))
			if simulate(again); again.trace.Sum64() != w.trace.Sum64() {
				t.Errorf("two runs of seed %d gave the histories %x and %x", seed, w.trace.Sum64(), again.trace.Sum64())
			}
		})
	}
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// simulation is a world with its faults to come.
type simulation struct {
	*world
	edges []pair
}

// makeSimulation makes a world of 3 to 6 nodes.
func makeSimulation(t testing.TB, seed int64) *simulation {
	rng := rand.New(rand.NewSource(seed))
	n := 3 + rng.Intn(4)
	edges := topology(rng, n)
	w := &simulation{newWorld(t, seed+1, randomPlan(rng, edges)), edges}
	for _, e := range edges {
		if rng.Intn(6) == 0 {
			w.standing[e] = true
		}
	}
	reports := rng.Intn(3) == 0
	resident := []int{0, 0, 8, 16, 64}[rng.Intn(5)]
	for i := range n {
		o := options{resident: resident, unaware: i > 0 && i < n-1 && rng.Intn(5) == 0, reports: reports && rng.Intn(4) > 0}
		if next := neighbours(edges, i+1); len(next) == 1 && rng.Intn(2) == 0 {
			o.routes = []route.Route{{To: "*", Next: eid(next[0])}}
		}
		m := w.add(o)
		if rng.Intn(3) == 0 {
			m.drift = (rng.Float64() - 0.5) / 10_000
		}
		for k := range rng.Intn(3) {
			m.registrations = append(m.registrations, core.Registration{Number: uint64(k + 1), Endpoint: fleet})
		}
	}
	for c := range w.truth.All() {
		a, b := w.node(c.From), w.node(c.To)
		w.at(c.End, func() { w.sever(a, b) })
	}
	return w
}

// topology returns the links of n nodes: a chain, a ring, a star or a mesh, all
// connected. Numbers are dealt anew, so that the first node may stand anywhere.
func topology(rng *rand.Rand, n int) []pair {
	names := rng.Perm(n)
	set := make(map[pair]bool)
	join := func(a, b int) {
		a, b = names[a]+1, names[b]+1
		set[pair{min(a, b), max(a, b)}] = true
	}
	shape := rng.Intn(4)
	for i := 1; i < n; i++ {
		if shape == 2 {
			join(0, i)
		} else {
			join(i-1, i)
		}
	}
	switch shape {
	case 1:
		join(n-1, 0)
	case 3:
		for range 1 + rng.Intn(n) {
			if a, b := rng.Intn(n), rng.Intn(n); a != b {
				join(a, b)
			}
		}
	}
	var edges []pair
	for a := 1; a <= n; a++ {
		for b := a + 1; b <= n; b++ {
			if set[pair{a, b}] {
				edges = append(edges, pair{a, b})
			}
		}
	}
	return edges
}

// neighbours returns the nodes that have a link with one.
func neighbours(edges []pair, node int) []int {
	var list []int
	for _, e := range edges {
		switch node {
		case e[0]:
			list = append(list, e[1])
		case e[1]:
			list = append(list, e[0])
		}
	}
	return list
}

// randomPlan makes a plan of contacts between the given nodes that repeats itself.
func randomPlan(rng *rand.Rand, edges []pair) *contact.Plan {
	var list []contact.Contact
	for _, e := range edges {
		from, length := rng.Intn(int(period)-60_000), 20_000+rng.Intn(40_000)
		up, down, light := randomRate(rng), randomRate(rng), randomLight(rng)
		for at := start.Add(dtntime.Duration(from)); at < start.Add(horizon); at = at.Add(period) {
			end := at.Add(dtntime.Duration(length))
			list = append(list,
				contact.Contact{From: eid(e[0]), To: eid(e[1]), Start: at, End: end, Rate: up, Light: light},
				contact.Contact{From: eid(e[1]), To: eid(e[0]), Start: at, End: end, Rate: down, Light: light})
		}
	}
	plan, err := contact.New(list)
	if err != nil {
		panic(err)
	}
	return plan
}

func randomRate(rng *rand.Rand) contact.BitRate {
	return []contact.BitRate{64, 256, 10_000}[rng.Intn(3)] * contact.KilobitPerSecond
}

// randomLight stays below what the guard leaves for an acknowledgement. With more,
// a bundle that just fits into its contact is sent in each one, for its
// acknowledgement comes when the contact is over.
func randomLight(rng *rand.Rand) dtntime.Duration {
	return []dtntime.Duration{2, 5, 5, 20, 80}[rng.Intn(5)]
}

// simulate runs a world through its troubles and out of them, and checks that
// nothing remains.
func simulate(w *simulation) {
	for _, m := range w.nodes {
		m.boot()
	}
	w.plagues()
	for range 10 + w.rng.Intn(30) {
		w.within(troubled, w.sendSomething)
	}
	w.run(start.Add(troubled), nil)
	w.checkCustody()
	w.heal()
	w.run(start.Add(horizon), w.isDrained)
	w.pass(10 * second) // for what is under way
	w.run(start.Add(horizon), w.isDrained)
	w.checkOutcome()
}

// within lets something happen at a random time from now on.
func (w *world) within(d dtntime.Duration, what func()) {
	w.after(dtntime.Duration(w.rng.Int63n(int64(d))), what)
}

func (w *world) anyone() *machine { return w.nodes[w.rng.Intn(len(w.nodes))] }

func (w *world) sendSomething() {
	m, to := w.anyone(), w.anyone().number
	if !m.up {
		return
	}
	if w.rng.Intn(6) == 0 {
		to = 0
	}
	lifetime := 12 * dtntime.Hour
	if w.rng.Intn(6) == 0 {
		lifetime = dtntime.Duration(1+w.rng.Intn(20)) * dtntime.Minute
	}
	size := []int{10, 1000, 60_000}[w.rng.Intn(3)] + w.rng.Intn(1000)
	opts := []bundletest.Option{bundletest.Lifetime(lifetime), bundletest.Priority(bundle.Priority(w.rng.Intn(3)))}
	if w.rng.Intn(3) == 0 {
		opts = append(opts, bundletest.ReportTo(w.anyone().id, reportFlags[w.rng.Intn(len(reportFlags))]))
	}
	if w.rng.Intn(3) == 0 {
		opts = append(opts, bundletest.ReportTo(m.id, 0), asksFor(bundle.ReportingFlags(1+w.rng.Intn(63))))
	}
	if w.rng.Intn(3) == 0 {
		opts = append(opts, bundletest.Age(0))
	}
	if w.rng.Intn(3) == 0 {
		opts = append(opts, bundletest.Hops(64, 0))
	}
	custody := to != 0 && w.rng.Intn(4) > 0
	if !custody && to != 0 && w.rng.Intn(2) == 0 {
		opts = append(opts, divisible)
		size *= 1 + w.rng.Intn(8)
	}
	m.send(to, custody, size, opts...)
}

// reportFlags are the reports that a bundle may ask for.
var reportFlags = []bundle.Flags{
	bundle.FlagReportReception, bundle.FlagReportForwarded, bundle.FlagReportDelivered, bundle.FlagReportDeleted,
	bundle.FlagStatusTime | bundle.FlagReportReception | bundle.FlagReportForwarded | bundle.FlagReportDelivered | bundle.FlagReportDeleted,
}

// mustLeave tells whether a stored bundle must find its way out of the store before
// it expires. Without custody it may have strayed to where no route leads on. And
// a relay without custody that still has a copy under an older number discards the
// newer one, so the destination may answer a custodian that has handed custody on:
// then what was delivered long ago can go round until it expires. Nor does anybody
// answer for what an operator removed. A bundle for several must have gone to all
// applications and to all neighbours that can be reached.
func (w *simulation) mustLeave(m *machine, r store.Record) bool {
	f := w.sent[r.ID]
	if r.Duty == store.DutyGroup {
		return w.isOwed(m, r.Spread)
	}
	if f != nil && f.removed {
		return false
	}
	if f != nil && f.delivered > 0 && slices.ContainsFunc(w.nodes, func(m *machine) bool { return m.options.unaware }) {
		return false
	}
	return r.Custodial || r.Duty == store.DutyDeliver
}

// isDrained tells whether everything that must leave has left.
func (w *simulation) isDrained() bool {
	for _, m := range w.nodes {
		if !m.up {
			return false
		}
		if m.store.Stats().Bundles == 0 {
			continue
		}
		records, err := m.store.Scan(0, 1<<20)
		if err != nil || slices.ContainsFunc(records, func(r store.Record) bool { return w.mustLeave(m, r) }) {
			return false
		}
	}
	return true
}

// isOwed tells whether somebody of a spread can be served.
func (w *simulation) isOwed(m *machine, s store.Spread) bool {
	registrations, peers, err := s.Parse()
	if err != nil {
		w.t.Fatal(err)
	}
	return len(registrations) > 0 || slices.ContainsFunc(peers, func(peer bundle.EID) bool {
		return slices.Contains(w.edges, linkOf(m, w.node(peer)))
	})
}

// checkGroup checks that a bundle for several reached every application that was
// registered all the time.
func (w *simulation) checkGroup(f *fate) {
	if !f.accepted || f.spoiled || f.expired || f.removed || w.now >= f.expiry {
		return
	}
	for _, m := range w.nodes {
		for _, r := range m.registrations {
			if t := f.takers[seat{m.number, r.Number}]; r.Number <= steady && (t == nil || !t.done) {
				w.fail("%s did not reach application %d of %s", f.id, r.Number, m.id)
			}
		}
	}
}

// checkOutcome checks that what was accepted in custody was delivered or expired,
// and that nobody still holds anything.
func (w *simulation) checkOutcome() {
	for _, id := range w.order {
		f := w.sent[id]
		if f.isGroup() {
			w.checkGroup(f)
		}
		if f.accepted && f.custody && f.delivered == 0 && !f.expired && !f.removed && w.now < f.expiry {
			w.fail("%s was accepted in custody, but neither delivered nor has it expired", id)
		}
	}
	for _, m := range w.nodes {
		records, err := m.store.Scan(0, 100)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range records {
			if w.mustLeave(m, r) {
				w.fail("%s still holds %s to %s: %s", m.id, r.ID, r.Destination, r.Duty)
			}
		}
	}
	if t := w.tally; !t.failed && t.records > recordsPerBundle*(t.bundles+freeRecords) {
		w.fail("%d transfers of bundles made %d of administrative records", t.bundles, t.records)
	}
}

// How many administrative records may cross the links, for each transfer of a
// bundle.
const (
	recordsPerBundle = 6
	freeRecords      = 100
)
