package route

import (
	"errors"
	"slices"
	"testing"

	"perigee/bundle"
)

func eid(t testing.TB, s string) bundle.EID {
	t.Helper()
	e, err := bundle.ParseEID(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLookupPrefersTheClosest(t *testing.T) {
	var routes []Route
	for i, to := range []string{
		"*", "ipn:*", "dtn:*", "dtn://sat-*", "dtn://sat-1*", "ipn:5.*", "ipn:5.12", "ipn:5.0",
		"dtn://sat-17/", "dtn://sat-17/models", "ipn:977000.*.*", "ipn:977000.5.*", "ipn:5.12",
	} {
		routes = append(routes, Route{To: to, Next: bundle.IPN(uint64(100+i), 7)})
	}
	table, err := NewTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	for dest, want := range map[string][]uint64{
		"ipn:5.12":             {106, 112, 105, 107, 101, 100},
		"ipn:5.0":              {105, 107, 101, 100},
		"ipn:5.1":              {105, 107, 101, 100},
		"ipn:55.12":            {101, 100},
		"ipn:977000.5.12":      {111, 110, 101, 100},
		"ipn:977000.6.12":      {110, 101, 100},
		"dtn://sat-17/models":  {109, 108, 104, 103, 102, 100},
		"dtn://sat-17/models2": {108, 104, 103, 102, 100},
		"dtn://sat-2/x":        {103, 102, 100},
		"dtn://gs/":            {102, 100},
	} {
		var got []uint64
		for next := range table.Lookup(eid(t, dest)) {
			if next.Service() != 0 {
				t.Errorf("%s: next hop %s is no node ID", dest, next)
			}
			got = append(got, next.NodeNumber())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", dest, got, want)
		}
	}
	for range (*Table)(nil).Lookup(eid(t, "ipn:5.1")) {
		t.Error("an empty table has a route")
	}
}

func TestNewTableRefuses(t *testing.T) {
	next := bundle.IPN(7, 0)
	for _, to := range []string{
		"", "x", "ipn:5", "ipn:5*", "ipn:5.1*", "ipn:*.*", "ipn:x.*.*", "ipn:4294967296.*.*", "ipn:5.6.7.*",
		"dtn:none", "ipn:0.0", "ipn:0.*", "http:*", "dtn:x*", "dtn://a*b*", "**",
	} {
		if _, err := NewTable([]Route{{To: to, Next: next}}); !errors.Is(err, ErrTable) {
			t.Errorf("%q: got %v", to, err)
		}
	}
	for _, bad := range []bundle.EID{{}, bundle.DTN("a", "~all")} {
		if _, err := NewTable([]Route{{To: "*", Next: bad}}); !errors.Is(err, ErrTable) {
			t.Errorf("via %s: got %v", bad, err)
		}
	}
	if _, err := NewTable(make([]Route, MaxRoutes+1)); !errors.Is(err, ErrTable) {
		t.Errorf("too many: got %v", err)
	}
}
