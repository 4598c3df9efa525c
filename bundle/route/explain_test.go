package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store"
)

// told is an explanation in few words, such as "2 plan taken@102".
func told(candidates []Candidate) []string {
	var list []string
	for _, c := range candidates {
		list = append(list, fmt.Sprintf("%d %s %s@%d", c.Next.NodeNumber(), c.Via, c.Verdict, c.Arrival))
	}
	return list
}

func TestExplain(t *testing.T) {
	unlikely := pass(1, 6, 100, 200, 0)
	unlikely.Confidence = 0.5
	r := New(node(1), tableOf(t, Route{"ipn:9.0", node(4)}, Route{"ipn:9.0", node(5)}, Route{"*", node(8)}, Route{"ipn:7.0", node(3)}))
	r.SetPlan(planOf(t,
		pass(1, 2, 100, 200, 0), pass(2, 5, 100, 200, 0),
		pass(1, 3, 100, 110, 0), pass(1, 3, 300, 400, 0), pass(3, 5, 100, 600, 0),
		pass(1, 4, 100, 200, 0), pass(1, 4, 600, 700, 0), pass(4, 5, 100, 800, 0),
		unlikely, pass(6, 5, 100, 200, 0),
		pass(1, 7, 0, 50, 0),
		pass(1, 8, 100, 200, 0), pass(8, 2, 100, 200, 0),
	))
	fill, err := r.Next(Query{Dest: node(4), Size: 95_000, Priority: bundle.PriorityBulk, Expiry: 250}, 0)
	if err != nil || fill.Next != node(4) {
		t.Fatal(err)
	}
	var booking Booking
	r.Book(&booking, store.Handle(1), &fill)
	ten := Query{Dest: node(5), Size: 9900, Expiry: 650} // 10.197 ms
	for _, c := range []struct {
		name   string
		change func(*Query)
		want   []string
		err    error
	}{
		{"every kind", func(*Query) {}, []string{
			"2 plan taken@122", "3 plan too-small@122", "3 plan later@322", "4 plan full@122", "4 plan later@622",
			"6 plan unlikely@122", "7 plan no-way@0", "8 plan later@133", "8 static passed@0",
		}, nil},
		{"expedited", func(q *Query) { q.Priority = bundle.PriorityExpedited }, []string{
			"2 plan taken@122", "3 plan too-small@122", "3 plan later@322", "4 plan later@122", "6 plan unlikely@122", "7 plan no-way@0",
			"8 plan later@133", "8 static passed@0",
		}, nil},
		{"in a hurry, and excluded", func(q *Query) { q.Expiry, q.Exclude = 300, []bundle.EID{node(2), node(6)} }, []string{
			"2 plan excluded@122", "3 plan too-small@122", "3 plan too-late@322", "4 plan full@122", "4 plan too-late@622",
			"6 plan excluded@122", "7 plan no-way@0", "8 plan taken@133", "8 static passed@0",
		}, nil},
		{"from a neighbour", func(q *Query) { q.Previous = node(2) }, []string{
			"2 plan returns@122", "3 plan too-small@122", "3 plan taken@322", "4 plan full@122", "4 plan later@622",
			"6 plan unlikely@122", "7 plan no-way@0", "8 plan returns@133", "8 static passed@0",
		}, nil},
		{"critical", func(q *Query) { q.Critical = true }, []string{
			"2 plan taken@122", "3 plan too-small@122", "3 plan taken@322", "4 plan full@122", "4 plan taken@622",
			"6 plan taken@122", "7 plan no-way@0", "8 plan taken@133", "8 static passed@0",
		}, nil},
		{"static", func(q *Query) { q.Dest = node(9) }, []string{"4 static taken@0", "5 static passed@0", "8 static passed@0"}, nil},
		{"static, excluded", func(q *Query) { q.Dest, q.Exclude = node(9), []bundle.EID{node(4)} }, []string{
			"4 static excluded@0", "5 static taken@0", "8 static passed@0",
		}, nil},
		{"too large for all", func(q *Query) { q.Dest, q.Size = node(7), 1_000_000 }, []string{
			"3 static too-small@0", "2 plan no-way@0", "3 plan no-way@0", "4 plan no-way@0", "6 plan no-way@0", "7 plan too-small@1030",
			"8 plan no-way@0", "8 static too-small@0",
		}, ErrTooLate},
	} {
		q := ten
		c.change(&q)
		got, err := r.Explain(q, 0)
		if !slices.Equal(told(got), c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, strings.Join(told(got), "\n"), strings.Join(c.want, "\n"))
		}
	}
	r.SetLinked([]bundle.EID{node(5)})
	if got, _ := r.Explain(ten, 0); got[0].Via != ViaDirect || got[0].Verdict != Taken {
		t.Errorf("linked: %v", told(got))
	}
	ten.Exclude = []bundle.EID{node(5)}
	if got, _ := r.Explain(ten, 0); got[0].Via != ViaDirect || got[0].Verdict != Excluded {
		t.Errorf("linked and excluded: %v", told(got))
	}
	if got, err := r.Explain(ask(1), 0); err == nil || got != nil {
		t.Errorf("to itself: %v, %v", told(got), err)
	}
}

func TestExplainManyNeighbours(t *testing.T) {
	r := New(node(1), nil)
	var linked []bundle.EID
	for n := range uint64(200) {
		linked = append(linked, node(10+n))
	}
	r.SetLinked(linked)
	r.SetPlan(planOf(t, pass(190, 5, 100, 200, 0)))
	got, err := r.Explain(ask(5), 0)
	if err != nil || len(got) != maxExplained || !slices.ContainsFunc(got, func(c Candidate) bool { return c.Verdict == Taken && c.Next == node(190) }) {
		t.Errorf("%d candidates, %v: the one that is taken must be among them", len(got), err)
	}
}
