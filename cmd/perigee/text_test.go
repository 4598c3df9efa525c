package main

import (
	"math"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

func TestFileNames(t *testing.T) {
	parse := func(s string) bundle.ID {
		t.Helper()
		id, err := bundle.ParseID(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if got, want := fileName(parse("ipn:2.9@834.1")), "ipn_2.9_834.1"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	seen := map[string]string{}
	for _, text := range []string{
		"ipn:2.9@834.1", "ipn:2.9@834.11", "ipn:2.9@834.1+0/5", "ipn:2.98@34.1", "ipn:977000.2.9@834.1",
		"dtn://a/b@1.1", "dtn://a/_b@1.1", "dtn://a_/b@1.1", "dtn://a/../../etc/passwd@1.1",
		"dtn://a/" + strings.Repeat("x", 1000) + "@1.1", "dtn://a/" + strings.Repeat("x", 1000) + "@1.2",
	} {
		name := fileName(parse(text))
		if other := seen[name]; other != "" {
			t.Errorf("%s and %s both become %s", text, other, name)
		}
		if len(name) > 200 || strings.ContainsAny(name, "/: ") || strings.HasPrefix(name, ".") {
			t.Errorf("%.60s becomes %s, which is no harmless file name", text, name)
		}
		seen[name] = text
	}
}

func TestPeopleText(t *testing.T) {
	now := dtntime.Time(1_000_000)
	for _, test := range [][2]string{
		{rateText(100_000), "100 kbit/s"},
		{rateText(1_000_000_000), "1 Gbit/s"},
		{rateText(999), "999 bit/s"},
		{rateText(math.MaxUint64), "1.845e+07 Tbit/s"},
		{until(now, now.Add(90*dtntime.Second)), "1m30s"},
		{until(now, now-1), "now"},
		{until(now, 0), "-"},
		{until(now, dtntime.Forever), "never"},
		{ago(now, now-5000), "5s"},
		{ago(now, 0), "-"},
		{bytesText(int64(-5)), "0 B"},
		{bytesText(uint64(35_434_956)), "35 MB"},
	} {
		if test[0] != test[1] {
			t.Errorf("got %q, want %q", test[0], test[1])
		}
	}
}
