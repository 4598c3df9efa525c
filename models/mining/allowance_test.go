package mining

import (
	"strings"
	"testing"

	"perigee/bundle/dtntime"
)

func TestAllowance(t *testing.T) {
	const day = dtntime.Time(dtntime.Day)
	a := Allowance{Period: dtntime.Day, Bytes: 1000, Joule: 100, PerClass: 2, Empty: 1}
	ship := Item{Bytes: 100, Worth: 500, Classes: []int{8}}
	for name, test := range map[string]struct {
		spent Spent
		item  Item
		at    dtntime.Time
		want  string
	}{
		"fresh":                       {Spent{}, ship, 0, ""},
		"too large":                   {Spent{}, Item{Bytes: 1001, Classes: []int{1}}, 0, "0 of the period's 1000 bytes"},
		"just fits":                   {Spent{Bytes: 900, Worth: 4500}, ship, day - 1, ""},
		"used up":                     {Spent{Bytes: 901, Worth: 4500}, ship, day - 1, "901 of"},
		"energy used up":              {Spent{Joule: 100}, ship, 0, "energy"},
		"quota of the class":          {Spent{Classes: map[int]int{8: 2}}, ship, 0, "quota of 2"},
		"quota of one of two classes": {Spent{Classes: map[int]int{8: 2}}, Item{Bytes: 1, Worth: 1, Classes: []int{4, 8}}, 0, ""},
		"quota of nothing":            {Spent{Empty: 1}, Item{Bytes: 1, Worth: 1}, 0, "1 pictures without objects"},
		"ahead of time, worth less":   {Spent{Bytes: 300, Worth: 1800}, ship, day / 10, "worth less"},
		"ahead of time, worth more":   {Spent{Bytes: 300, Worth: 1200}, ship, day / 10, ""},
		"ahead, worth less, smaller":  {Spent{Bytes: 300, Worth: 1800}, Item{Bytes: 50, Worth: 400, Classes: []int{8}}, day / 10, ""},
		"behind time, worth less":     {Spent{Bytes: 300, Worth: 1800}, ship, day / 2, ""},
	} {
		got := a.Objection(test.spent, test.item, test.at)
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := (Allowance{Period: dtntime.Day}).Objection(Spent{Bytes: 1 << 60, Joule: 1e9, Empty: 1e6}, ship, 0); got != "" {
		t.Errorf("without bounds: %q", got)
	}
}

func TestSpentStartsAnewEachPeriod(t *testing.T) {
	a := Allowance{Period: dtntime.Hour}
	at := dtntime.Time(0).Add(5*dtntime.Hour + dtntime.Minute)
	s := a.Renew(Spent{}, at).Take(Item{Bytes: 7, Worth: 3, Joule: 2, Classes: []int{1, 4}}).Take(Item{Bytes: 1, Worth: 1})
	if s.Period != 5 || s.Bytes != 8 || s.Worth != 4 || s.Joule != 2 || s.Empty != 1 || s.Classes[1] != 1 || s.Classes[4] != 1 {
		t.Errorf("spent %+v", s)
	}
	before := s
	after := s.Take(Item{Classes: []int{1}})
	if before.Classes[1] != 1 || after.Classes[1] != 2 {
		t.Errorf("taking changed what was: %+v, then %+v", before, after)
	}
	if got := a.Renew(s, at.Add(30*dtntime.Minute)); got.Bytes != 8 {
		t.Errorf("within the period it is %+v", got)
	}
	for _, other := range []dtntime.Time{at.Add(dtntime.Hour), 0} {
		if got := a.Renew(s, other); got.Bytes != 0 || got.Classes != nil {
			t.Errorf("at %v it is %+v", other, got)
		}
	}
}

// TestBytesAreSpreadAndGoToTheBest lets pictures of chance worth ask for a tenth of
// what they need.
func TestBytesAreSpreadAndGoToTheBest(t *testing.T) {
	a := Allowance{Period: dtntime.Day, Bytes: 100_000}
	s := a.Renew(Spent{}, 0)
	const pictures = 1000
	taken, worth, late := 0, 0, 0
	for i := range pictures {
		now := dtntime.Time(uint64(dtntime.Day) * uint64(i) / pictures)
		item := Item{Bytes: 1000, Worth: uint32(1 + scatter(uint64(i))%MaxWorth), Classes: []int{1}}
		if a.Objection(s, item, now) != "" {
			continue
		}
		s = s.Take(item)
		taken++
		worth += int(item.Worth)
		if i > pictures/2 {
			late++
		}
	}
	if taken < 95 || taken > 100 || worth/taken < 520 || late < 40 {
		t.Errorf("%d samples of worth %d on average, %d of them in the second half", taken, worth/max(1, taken), late)
	}
}
